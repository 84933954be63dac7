"""What goes with the figures of an evaluation: notes for the reader and one row per query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .agreement import overlap
from .exclusion import Exclusion
from .measures import cutoff
from .result import TOP, Comparison
from .search import Ranking


def notes(
    qrels: Mapping[str, Mapping[str, int]],
    searched: Sequence[str],
    names: Sequence[str],
    depth: int,
    hidden: Exclusion,
    comparisons: Mapping[str, Comparison],
    lack: str = "vector",
) -> list[str]:
    """Say what a reader of the figures must know."""
    told = []
    if len(searched) < len(qrels):
        told.append(f"{len(qrels) - len(searched)} judged queries have no {lack}; they count 0 for every system")
    fruitless = sum(1 for row in qrels.values() if not any(grade > 0 for grade in row.values()))
    if fruitless:
        told.append(f"{fruitless} judged queries have no relevant document; they count 0 for every system")
    uncut = [name for name in names if cutoff(name) is None]
    if uncut:
        told.append(f"{', '.join(uncut)}: over the first {depth} documents of each query")
    if hidden.count:
        told.append(f"{hidden.count} documents that are their own query were left out of its ranking")
    for system, comparison in comparisons.items():
        for name, kept in comparison.retention.items():
            if kept.value is None:
                told.append(f"{name}: the reference's mean is 0, so {system} has no retention")
            elif kept.low is None:
                told.append(f"{name}: too few queries where the reference is above 0 for an interval of {system}")
    return told


def per_query(
    qrels: Mapping[str, Mapping[str, int]],
    texts: Mapping[str, str],
    rankings: Mapping[str, Ranking],
    prefixes: Mapping[str, int],
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    searched: Sequence[str],
    document_ids: Sequence[str],
) -> list[dict[str, Any]]:
    """Give one row a judged query: texts, values, overlap with the reference, and each system's first documents.

    The reference is the first ranking; systems in `prefixes`, which are another one cut, show no documents.
    """
    reference, *others = rankings
    main = others[0] if others else reference
    shared = dict(zip(searched, overlap(rankings[reference], rankings[main], TOP).tolist(), strict=True))
    tops = {
        system: ranking.run(searched, document_ids, TOP)
        for system, ranking in rankings.items()
        if system not in prefixes
    }
    return [
        {
            "query_id": query_id,
            "text": texts.get(query_id, ""),
            "measures": {system: {name: row[query_id] for name, row in values[system].items()} for system in rankings},
            f"overlap@{TOP}": shared.get(query_id),
            **{f"{system}_top": [list(pair) for pair in run.get(query_id, [])] for system, run in tops.items()},
            "relevant": {document: grade for document, grade in row.items() if grade > 0},
        }
        for query_id, row in qrels.items()
    ]
