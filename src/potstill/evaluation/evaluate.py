"""Systems on one collection: the same queries, documents and search for all; the first system is the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import InputError
from . import details, exclusion
from .exclusion import Collection, Mode
from .guarantee import evaluate_guarantee
from .judging import compare_rankings, judge, judged_queries
from .measures import DEFAULT_MEASURES, cutoff, parse_measures
from .result import TOP, Evaluation
from .search import Documents, Metric
from .systems import System, check_queries, cut, search_system

_DEPTH = 100
Pool = Literal["all", "judged"]
Qrels = Mapping[str, Mapping[str, int]]


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
    found = evaluate_systems(
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
    if student_documents is None:
        row_of = {query_id: row for row, query_id in enumerate(query_ids)}
        # In the order of their ids: the order of the judgments must not change the intervals.
        places = np.array(sorted(range(len(found.ranked)), key=found.ranked.__getitem__), dtype=np.int64)
        rows = np.array([row_of[found.ranked[place]] for place in places], dtype=np.int64)
        top = found.rankings["teacher"].take(places)
        found.guarantee = evaluate_guarantee(
            documents, teacher_queries[rows], student_queries[rows], top, metric=metric, seed=seed
        )
    return found


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
    place = {query_id: row for row, query_id in enumerate(query_ids)}
    searched = judged_queries(collection, split, query_ids)
    depth = max([depth, TOP, *(cutoff(name) or 0 for name in names)])
    hidden = exclusion.exclude_self(collection, searched, exclude_self)
    chosen = np.array([place[query_id] for query_id in searched], dtype=np.int64)
    only = _judged(collection.qrels(split), searched, document_ids) if candidates == "judged" else None
    rankings = {
        name: search_system(
            name, replace(system, queries=system.queries[chosen]), document_ids, depth, hidden.rows, only
        )
        for name, system in systems.items()
    }
    return judge(
        collection,
        split,
        document_ids=document_ids,
        searched=searched,
        rankings=rankings,
        measures=names,
        depth=depth,
        hidden=hidden,
        prefixes=_prefixes(systems),
        notes=["each query ranks its judged documents alone"] if only is not None else [],
        seed=seed,
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
    # What can be guaranteed is about more of the teacher's documents than are compared.
    deep = search_system("teacher", systems["teacher"], document_ids, _DEPTH)
    rankings = {
        name: deep.top(TOP) if name == "teacher" else search_system(name, system, document_ids, TOP)
        for name, system in systems.items()
    }
    values: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    cuts = _prefixes(systems)
    rows = details.per_query(
        {key: {} for key in ids}, dict(zip(ids, texts, strict=True)), rankings, cuts, values, ids, document_ids
    )
    return Evaluation(
        collection=collection.name,
        split=None,
        documents=len(document_ids),
        queries=0,
        systems={},
        comparisons=compare_rankings(rankings, values, (), "held-out generated queries", cuts, seed),
        depth=TOP,
        notes=["nothing was judged: only the agreement with the teacher is known"],
        guarantee=None
        if student_documents is not None
        else evaluate_guarantee(documents, teacher_queries, student_queries, deep, metric=metric, seed=seed),
        per_query=rows,
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


def _prefixes(systems: Mapping[str, System]) -> dict[str, int]:
    return {name: system.prefix for name, system in systems.items() if system.prefix is not None}
