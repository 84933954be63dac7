"""Teacher, scorers and student re-rank the teacher's first documents: what is kept of a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_json
from ..candidates import list_scores
from ..candidates.vectors import Gather
from ..evaluation import FIRST_STAGE, Evaluation, evaluate_reranking, parse_measures, retention
from ..evaluation.search import Metric
from ..recipe import EvaluateSpec
from .judged import Judged
from .pair_scores import candidate_texts, pair_scores
from .scorers import Panel, tell_cut

STUDENT = "student"
FILE = "reranking.json"


def rerank_with(
    panel: Panel,
    evaluation: Evaluation,
    judged: Judged,
    spec: EvaluateSpec,
    *,
    query_ids: Sequence[str],
    texts: Sequence[str],
    student_queries: np.ndarray,
    student_documents: Gather,
    metric: Metric,
    signals: Path | None,
    run: Path | None,
) -> dict[str, Any]:
    """Evaluate every scorer and the student on the first `spec.rerank` documents that the teacher finds.

    Args:
        panel: the scorers; all of them score the lists, whether or not the student learned from them.
        evaluation: of teacher and student; gives the teacher's ranking.
        judged: the documents, and the judgments to measure by.
        spec: measures, depth.
        query_ids: `n`, in the order of the student's query vectors.
        texts: theirs.
        student_queries: `(n, d)`.
        student_documents: gives the vectors of documents that the student searches, by row.
        metric: how they are compared.
        signals: the signal store.
        run: gets the measures of every query as `reranking.json`; None: nowhere.

    Returns:
        What `evaluation.json` holds as `reranking`: `systems`, `intervals`, and the student's `retention` of each.
    """
    assert evaluation.split is not None
    names = parse_measures(spec.measures)
    place = {query_id: row for row, query_id in enumerate(query_ids)}
    chosen = np.array([place[query_id] for query_id in evaluation.ranked], dtype=np.int64)
    rows = evaluation.rankings["teacher"].rows[:, : spec.rerank]
    asked = [texts[i] for i in chosen]
    held = candidate_texts(judged.collection, rows)
    systems: dict[str, np.ndarray] = {}
    for name, scorer in panel.scorers.items():
        found = pair_scores(scorer, asked, held, rows, signals, f"{name}: scores of {evaluation.split} lists")
        tell_cut(name, found.truncated, found.pairs)
        systems[name] = found.scores
    systems[STUDENT] = list_scores(student_queries[chosen], student_documents, rows, metric)
    reranked = evaluate_reranking(
        judged,
        evaluation.split,
        query_ids=evaluation.ranked,
        document_ids=judged.document_ids,
        candidates=rows,
        systems=systems,
        measures=names,
        exclude_self=spec.exclude_self,
    )
    whole = reranked.as_json()
    kept = kept_of(reranked, STUDENT, (FIRST_STAGE, *panel.scorers), names)
    if run is not None:
        queries = sorted(row["query_id"] for row in reranked.per_query)
        values = {
            system: {name: [reranked.values(system, name)[query] for query in queries] for name in names}
            for system in reranked.systems
        }
        write_json(run / FILE, {"queries": queries, "systems": values})
    return {
        "depth": int(rows.shape[1]),
        "systems": whole["systems"],
        "intervals": whole["intervals"],
        "retention": {STUDENT: kept},
        "notes": whole["notes"],
    }


def kept_of(found: Evaluation, student: str, others: Sequence[str], measures: Sequence[str]) -> dict[str, Any]:
    """What a student keeps of each other system, by measure."""
    return {
        other: {name: retention(found.values(student, name), found.values(other, name)).as_json() for name in measures}
        for other in others
    }
