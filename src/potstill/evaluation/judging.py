"""Rankings against judgments, whoever made them: means with intervals, each system against the first, notes, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from . import details
from .agreement import Source, mean_overlap, overlap
from .exclusion import Collection, Exclusion
from .measures import measure
from .result import TOP, Comparison, Evaluation
from .search import Ranking
from .significance import Interval, Retention, compare, mean_intervals

Values = Mapping[str, Mapping[str, Mapping[str, float]]]  # system -> measure -> query id -> value


def judge(
    collection: Collection,
    split: str,
    *,
    document_ids: Sequence[str],
    searched: Sequence[str],
    rankings: Mapping[str, Ranking],
    measures: Sequence[str],
    depth: int,
    hidden: Exclusion,
    prefixes: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    lack: str = "vector",
    seed: int = 0,
) -> Evaluation:
    """Measure rankings on a judged split and compare all with the first.

    Args:
        collection: gives judgments, texts and names.
        split: name of a judged split.
        document_ids: ids in the order of the documents' rows.
        searched: ids of the queries in the rows of the rankings, in the order of the judgments.
        rankings: by system, the reference first; each at least `TOP` columns wide.
        measures: names as `parse_measures` gives them.
        depth: documents ranked per query.
        hidden: what was left out of rankings.
        prefixes: width of the vectors of those systems that are another one cut.
        notes: more that a reader must know, told first.
        lack: what judged queries that were not searched do not have.
        seed: of resampling.
    """
    qrels, cuts = collection.qrels(split), prefixes or {}
    values = {name: measure(found.run(searched, document_ids), qrels, measures) for name, found in rankings.items()}
    comparisons = compare_rankings(rankings, values, measures, "judged queries", cuts, seed)
    return Evaluation(
        collection=collection.name,
        split=split,
        documents=len(document_ids),
        queries=len(qrels),
        systems={name: _means(values[name]) for name in rankings},
        comparisons=comparisons,
        intervals=_intervals(values, measures, seed),
        excluded_self=hidden.count,
        depth=depth,
        notes=[*notes, *details.notes(qrels, searched, measures, depth, hidden, comparisons, lack)],
        per_query=details.per_query(qrels, collection.queries, rankings, cuts, values, searched, document_ids),
        rankings=dict(rankings),
        ranked=list(searched),
    )


def judged_queries(collection: Collection, split: str, query_ids: Sequence[str], lack: str = "vector") -> list[str]:
    """Give the judged queries among `query_ids`, in the order of the judgments.

    Raises:
        InputError: there is none; the message says what the judged ones `lack`.
    """
    known = set(query_ids)
    qrels = collection.qrels(split)
    searched = [query_id for query_id in qrels if query_id in known]
    if not searched:
        raise InputError(
            f"split {split!r} has {len(qrels)} judged queries, and none of them has a {lack}",
            where=collection.name,
            fix="evaluate on a split whose queries are in the collection",
        )
    return searched


def compare_rankings(
    rankings: Mapping[str, Ranking],
    values: Values,
    names: Sequence[str],
    source: Source,
    prefixes: Mapping[str, int],
    seed: int,
) -> dict[str, Comparison]:
    """Compare every system with the first, all over the same resampled queries."""
    reference, *others = rankings
    kept: dict[str, dict[str, Retention]] = {name: {} for name in others}
    if names and others:
        theirs = np.hstack([_table(values[name], names) for name in others])
        found = compare(theirs, np.tile(_table(values[reference], names), len(others)), seed=seed)
        for number, name in enumerate(others):
            own = found[number * len(names) : (number + 1) * len(names)]
            kept[name] = dict(zip(names, own, strict=True))
    shared = {name: overlap(rankings[reference], rankings[name], TOP) for name in others}
    return {
        name: Comparison(kept[name], mean_overlap(shared[name], source, seed=seed), prefixes.get(name))
        for name in others
    }


def _intervals(values: Values, names: Sequence[str], seed: int) -> dict[str, dict[str, Interval]]:
    if not names:
        return {name: {} for name in values}
    found = iter(mean_intervals(np.hstack([_table(row, names) for row in values.values()]), seed=seed))
    return {system: {name: next(found) for name in names} for system in values}


def _table(values: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    """Give `(queries, measures)` values, queries in the order of their ids: file order must not change results."""
    queries = sorted(values[names[0]])
    return np.array([[values[name][query] for name in names] for query in queries], dtype=np.float64)


def _means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean(list(row.values()))) for name, row in values.items()}
