"""Retrieval measures by name, through ir-measures: nDCG@10, RR@10, R@100, AP and all others it computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Sequence[tuple[str, float]]]  # query id -> (document id, score), best first
DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
_FIX = "write measures as ir-measures prints them, such as nDCG@10, RR@10, R@100, AP, P@5 or Success@1"


def parse_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of measures and give them as ir-measures prints them, in order, each once (`MAP` becomes `AP`).

    Raises:
        InputError: a name that is unknown, misspelled, lacks its cutoff, needs a provider that is not installed, or is
            no mean over queries (counts such as NumRet).
        MissingExtra: ir-measures is not installed.
    """
    return tuple(dict.fromkeys(str(_parse(name)) for name in names))


def cutoff(name: str) -> int | None:
    """Give the rank at which a measure stops reading, None where it reads all."""
    found = re.search(r"@(\d+)$", name)
    return int(found.group(1)) if found else None


def measure(run: Run, qrels: Qrels, measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure a run on every judged query.

    The order of each query's list is what is measured: scores only go along with it, so that equal scores are not
    reordered by document id, as measuring tools otherwise do. A judged query that the run lacks counts 0.

    Args:
        run: query id -> (document id, score), best first. Queries without judgments are left out.
        qrels: query id -> document id -> grade.
        measures: names of measures.

    Returns:
        measure (as ir-measures prints it) -> query id, in the order of `qrels` -> value.

    Raises:
        InputError: see `parse_measures`.
    """
    parsed = {str(m): m for m in map(_parse, measures)}
    ranked = {
        query: {document: float(-rank) for rank, (document, _) in enumerate(run[query])}
        for query in qrels
        if run.get(query)
    }
    judged = {query: {document: int(grade) for document, grade in row.items()} for query, row in qrels.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in parsed}
    if judged and parsed:
        for metric in _ir_measures().iter_calc(list(parsed.values()), judged, ranked):
            values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def mean(values: Mapping[str, float]) -> float:
    """Average one measure over its queries; NaN where there are none."""
    return float(np.mean(list(values.values()))) if values else float("nan")


def _parse(name: str) -> Any:
    ir_measures = _ir_measures()
    where = f"measure {name!r}"
    try:
        parsed = ir_measures.parse_measure(name.strip())
    except (NameError, ValueError) as error:
        raise InputError(_reason(error), where=where, fix=_FIX) from None
    limit = parsed.params.get("cutoff")
    # Checked here because trec_eval ends the whole process at a cutoff of 0.
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise InputError(f"the cutoff must be a whole number from 1, not {limit!r}", where=where, fix=_FIX)
    if not isinstance(parsed.aggregator(), ir_measures.MeanAgg):
        raise InputError("is not a mean over queries, so it cannot be compared by ratio", where=where, fix=_FIX)
    try:  # what a provider refuses shows only when it is asked to compute
        list(ir_measures.iter_calc([parsed], {"q": {"d": 1, "e": 0}}, {"q": {"d": 2.0, "e": 1.0}}))
    except Exception as error:
        raise InputError(f"cannot be computed: {_reason(error)}", where=where, fix=_FIX) from None
    return parsed


def _reason(error: Exception) -> str:
    """Give the first line of an error without the addresses of objects."""
    text = str(error).strip() or type(error).__name__
    return re.sub(r"=?<object object at 0x[0-9a-f]+>", " is missing", text.splitlines()[0])


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError:
        raise MissingExtra("ir-measures", "train") from None
    return ir_measures
