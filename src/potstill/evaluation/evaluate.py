"""Systems on one collection: the same queries, documents and search for all; the first system is the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import InputError
from . import details, exclusion
from .agreement import Source, mean_overlap, overlap
from .exclusion import Collection, Mode
from .measures import DEFAULT_MEASURES, cutoff, measure, parse_measures
from .result import TOP, Comparison, Evaluation
from .search import Documents, Metric, Ranking
from .significance import Interval, Retention, compare, mean_intervals
from .systems import System, check_queries, cut, search_system

_DEPTH = 100
Pool = Literal["all", "judged"]
Qrels = Mapping[str, Mapping[str, int]]
_Values = Mapping[str, Mapping[str, Mapping[str, float]]]  # system -> measure -> query id -> value


def evaluate_pair(
    collection: Collection,
    split: str,
    *,
    document_ids: Sequence[str],
    documents: Documents,
    teacher_queries: np.ndarray,
    student_queries: np.ndarray,
    student_documents: Documents | None = None,
    query_ids: Sequence[str],
    measures: Sequence[str] = DEFAULT_MEASURES,
    exclude_self: Mode = "auto",
    candidates: Pool = "all",
    depth: int = _DEPTH,
    metric: Metric = "dot",
    prefixes: Sequence[int] = (),
    seed: int = 0,
) -> Evaluation:
    """Evaluate a teacher and its student on a judged split.

    Args:
        collection: gives judgments, texts and names.
        split: name of a judged split.
        document_ids: `m` ids, in the order of the vectors.
        documents: the teacher's document vectors, see `System`.
        teacher_queries: `(n, d)`.
        student_queries: `(n, d)`, or of another width with `student_documents`.
        student_documents: the student's own document vectors; None: it searches the teacher's.
        query_ids: `n` ids, in the order of the query vectors; those not judged are ignored.
        measures: names of measures.
        exclude_self: see the function of that name.
        candidates: `all` documents are ranked, or `judged`: each query's judged ones alone, zeros included (what a
            re-ranking set means).
        depth: documents ranked per query; raised to the largest cutoff of a measure.
        metric: how vectors are compared.
        prefixes: widths at which the student is measured too, against the teacher at full width; vectors are cut
            and, where documents are of length 1 at full width, compared by cosine.
        seed: of resampling.

    Raises:
        InputError: unknown measure or split, vectors that do not fit, no judged query.
    """
    theirs = documents if student_documents is None else student_documents
    systems = _pair(System(teacher_queries, documents, metric), System(student_queries, theirs, metric), prefixes)
    return evaluate_systems(
        collection,
        split,
        document_ids=document_ids,
        systems=systems,
        query_ids=query_ids,
        measures=measures,
        exclude_self=exclude_self,
        candidates=candidates,
        depth=depth,
        seed=seed,
    )


def evaluate_systems(
    collection: Collection,
    split: str,
    *,
    document_ids: Sequence[str],
    systems: Mapping[str, System],
    query_ids: Sequence[str],
    measures: Sequence[str] = DEFAULT_MEASURES,
    exclude_self: Mode = "auto",
    candidates: Pool = "all",
    depth: int = _DEPTH,
    seed: int = 0,
) -> Evaluation:
    """Evaluate any number of systems on a judged split; all are compared with the first.

    Args and errors are those of `evaluate_pair`; `systems` are in order, the reference first.
    """
    names = parse_measures(measures)
    for name, system in systems.items():
        check_queries(name, system, query_ids)
    qrels = collection.qrels(split)
    place = {query_id: row for row, query_id in enumerate(query_ids)}
    searched = [query_id for query_id in qrels if query_id in place]
    if not searched:
        raise InputError(
            f"split {split!r} has {len(qrels)} judged queries, and none of them has a vector",
            where=collection.name,
            fix="evaluate on a split whose queries are in the collection",
        )
    depth = max([depth, TOP, *(cutoff(name) or 0 for name in names)])
    hidden = exclusion.exclude_self(collection, searched, exclude_self)
    chosen = np.array([place[query_id] for query_id in searched], dtype=np.int64)
    only = _judged(qrels, searched, document_ids) if candidates == "judged" else None
    rankings = {
        name: search_system(
            name, replace(system, queries=system.queries[chosen]), document_ids, depth, hidden.rows, only
        )
        for name, system in systems.items()
    }
    values = {name: measure(found.run(searched, document_ids), qrels, names) for name, found in rankings.items()}
    comparisons = _compare(systems, rankings, values, names, "judged queries", seed)
    return Evaluation(
        collection=collection.name,
        split=split,
        documents=len(document_ids),
        queries=len(qrels),
        systems={name: _means(values[name]) for name in systems},
        comparisons=comparisons,
        intervals=_intervals(values, names, seed),
        excluded_self=hidden.count,
        depth=depth,
        notes=[
            *(["each query ranks its judged documents alone"] if only is not None else []),
            *details.notes(qrels, searched, names, depth, hidden, comparisons),
        ],
        per_query=details.per_query(qrels, collection.queries, systems, rankings, values, searched, document_ids),
        rankings=rankings,
        ranked=searched,
    )


def evaluate_unjudged(
    collection: Collection,
    texts: Sequence[str],
    *,
    document_ids: Sequence[str],
    documents: Documents,
    teacher_queries: np.ndarray,
    student_queries: np.ndarray,
    student_documents: Documents | None = None,
    metric: Metric = "dot",
    prefixes: Sequence[int] = (),
    seed: int = 0,
) -> Evaluation:
    """Compare teacher and student without judgments: how far they agree on held-out generated queries.

    Args:
        collection: gives the name.
        texts: the `n` held-out queries.
        document_ids: as in `evaluate_pair`, as are all that follow.
        documents: the teacher's.
        teacher_queries: `(n, d)`.
        student_queries: `(n, d)`.
        student_documents: the student's own.
        metric: how vectors are compared.
        prefixes: widths at which the student is compared too.
        seed: of resampling.

    Returns:
        An evaluation without split, systems and retention.

    Raises:
        InputError: there are no queries, or vectors do not fit.
    """
    if not texts:
        raise InputError(
            "there are no held-out queries to compare on", where=collection.name, fix="hold out at least one"
        )
    theirs = documents if student_documents is None else student_documents
    systems = _pair(System(teacher_queries, documents, metric), System(student_queries, theirs, metric), prefixes)
    ids = [f"held-out-{number}" for number in range(len(texts))]
    for name, system in systems.items():
        check_queries(name, system, ids)
    rankings = {name: search_system(name, system, document_ids, TOP) for name, system in systems.items()}
    values: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    return Evaluation(
        collection=collection.name,
        split=None,
        documents=len(document_ids),
        queries=0,
        systems={},
        comparisons=_compare(systems, rankings, values, (), "held-out generated queries", seed),
        depth=TOP,
        notes=["nothing was judged: only the agreement with the teacher is known"],
        per_query=details.per_query(
            {key: {} for key in ids}, dict(zip(ids, texts, strict=True)), systems, rankings, values, ids, document_ids
        ),
        rankings=rankings,
        ranked=ids,
    )


def _judged(qrels: Qrels, searched: Sequence[str], document_ids: Sequence[str]) -> list[np.ndarray]:
    """Row numbers of each query's judged documents."""
    wanted = {document_id for query_id in searched for document_id in qrels[query_id]}
    row_of = {document_id: row for row, document_id in enumerate(document_ids) if document_id in wanted}
    return [np.array([row_of[i] for i in qrels[query_id] if i in row_of], dtype=np.int64) for query_id in searched]


def _pair(teacher: System, student: System, prefixes: Sequence[int]) -> dict[str, System]:
    cuts = {f"student@{width}": cut(student, width) for width in prefixes}
    return {"teacher": teacher, "student": student, **cuts}


def _compare(
    systems: Mapping[str, System],
    rankings: Mapping[str, Ranking],
    values: _Values,
    names: Sequence[str],
    source: Source,
    seed: int,
) -> dict[str, Comparison]:
    """Compare every system with the first, all over the same resampled queries."""
    reference, *others = systems
    kept: dict[str, dict[str, Retention]] = {name: {} for name in others}
    if names and others:
        theirs = np.hstack([_table(values[name], names) for name in others])
        found = compare(theirs, np.tile(_table(values[reference], names), len(others)), seed=seed)
        for number, name in enumerate(others):
            own = found[number * len(names) : (number + 1) * len(names)]
            kept[name] = dict(zip(names, own, strict=True))
    shared = {name: overlap(rankings[reference], rankings[name], TOP) for name in others}
    return {
        name: Comparison(kept[name], mean_overlap(shared[name], source, seed=seed), systems[name].prefix)
        for name in others
    }


def _intervals(values: _Values, names: Sequence[str], seed: int) -> dict[str, dict[str, Interval]]:
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
