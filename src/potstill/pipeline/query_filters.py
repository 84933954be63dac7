"""Generated queries under the teacher's eye: those go that lead it astray, or that it could do without.

It stands between the teacher's vectors and training, so that what falls costs the student nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection as AnyOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..candidates import list_scores
from ..candidates.vectors import Gather
from ..errors import InputError
from ..evaluation import exact_search
from ..evaluation.coverage import Coverage, coverage
from ..progress import say
from ..queries import GENERATED, TrainingQueries
from ..queries.filters import TEMPERATURE, disagreement, entropy, found_again, picked, teacher_right, with_source
from ..recipe import QueriesSpec
from .vectors import Vectors

if TYPE_CHECKING:
    from ..students import Tokens
    from ..training.task import Task

CANDIDATES = 16  # documents that scores are compared over


@dataclass(frozen=True)
class VectorScores:
    """Scores from vectors, the teacher's or a student's.

    Attributes:
        queries: vectors of training queries by row.
        documents: vectors of documents by row.
        metric: how they are compared.
    """

    queries: Gather
    documents: Gather
    metric: Literal["dot", "cosine"]

    def __call__(self, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Scores (n, c) float32 of documents `candidates` (n, c) for training queries `rows` (n,); -inf for row -1."""
        return list_scores(self.queries(rows), self.documents, candidates, self.metric, empty=-np.inf)


def needs_student(spec: QueriesSpec) -> bool:
    """Whether the filters of a recipe ask what a student makes of the queries."""
    return spec.pick in ("disagreement", "teacher-right")


def filtered(
    queries: TrainingQueries,
    spec: QueriesSpec,
    documents: Vectors,
    targets: Vectors,
    metric: Literal["dot", "cosine"],
    *,
    student: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    round_trip_of: AnyOf[str] = (GENERATED,),
    temperature: float = TEMPERATURE,
) -> tuple[TrainingQueries, Vectors]:
    """Drop the generated queries that `spec.round_trip` and `spec.pick` drop; what is held out stays as it is.

    Args:
        queries: with more generated queries than there is room for, where `spec.pick` is set.
        spec: the filters.
        documents: the teacher's vectors of every document.
        targets: the teacher's vectors of every training query.
        metric: how they are compared.
        student: (rows of training queries (n,), documents (n, c)) -> scores (n, c); `VectorScores` of its vectors. For
            `disagreement` and `teacher-right` alone.
        round_trip_of: sources whose queries must lead back; others with a document ("spans", ...) may be named too.
        temperature: of the softmax over candidates.

    Returns:
        The queries that are left, and their vectors.

    Raises:
        InputError: too few are left to train on.
    """
    if spec.round_trip is None and spec.pick is None:
        return queries, targets
    if student is None and needs_student(spec):
        raise ValueError(f"pick: {spec.pick} compares the teacher with a student, and none was given")
    teacher = VectorScores(targets.gather, documents.gather, metric)
    excluded: dict[str, int] = {}
    keep = np.ones(len(queries.texts), dtype=bool)
    sources = np.array(queries.sources, dtype=object)
    if spec.round_trip is not None:
        rows = np.flatnonzero(np.isin(sources, list(round_trip_of)) & (queries.documents >= 0))
        found = exact_search(targets.gather(rows), documents, spec.round_trip, metric=metric).rows
        lost = rows[~found_again(found, queries.documents[rows])]
        keep[lost] = False
        excluded[f"the teacher does not find their document among its best {spec.round_trip}"] = len(lost)
    if spec.pick is not None and queries.room is not None:
        rows = np.flatnonzero((sources == GENERATED) & keep)
        scores = _worth(spec.pick, rows, queries.documents[rows], documents, targets, teacher, student, temperature)
        chosen = rows[picked(scores, queries.room)]
        keep[rows] = False
        keep[chosen] = True
        excluded[f"others were picked for their {spec.pick}"] = len(rows) - len(chosen)
    kept = np.flatnonzero(keep)
    if len(kept) < 20:
        raise InputError(
            f"the filters leave {len(kept)} of {len(queries.texts):,} training queries",
            where="queries.round_trip",
            fix="raise it, give another generator, or allow queries that are cut from documents",
        )
    for reason, count in excluded.items():
        say(f"queries: {count:,} generated queries left out: {reason}")
    told = {f"generated: {reason}": count for reason, count in excluded.items()}
    return queries.taken(kept, told), Vectors(targets.table, targets.rows[kept], targets.texts_cut)


def _worth(
    pick: Literal["entropy", "disagreement", "teacher-right"],
    rows: np.ndarray,
    sources: np.ndarray,
    documents: Vectors,
    targets: Vectors,
    teacher: VectorScores,
    student: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    temperature: float,
) -> np.ndarray:
    """How informative each of these queries (n,) is; higher is better."""
    depth = min(CANDIDATES, len(documents))
    found = exact_search(targets.gather(rows), documents, depth, metric=teacher.metric).rows
    candidates, columns = with_source(found, sources)
    said = teacher(rows, candidates)
    if pick == "entropy":
        return entropy(said, temperature)
    assert student is not None
    thought = student(rows, candidates)
    if pick == "disagreement":
        return disagreement(said, thought, temperature)
    return teacher_right(said, thought, columns, temperature)


def student_scores(task: Task, queries: TrainingQueries, documents: Vectors, held: Tokens | None) -> VectorScores:
    """What a student, trained or not, makes of training queries; an asymmetric one has the teacher's documents.

    Args:
        task: the student.
        queries: the training queries.
        documents: the teacher's vectors of every document.
        held: every document as the student reads it; None where the documents are the teacher's.
    """
    from .fitting import encode

    tokens = task.query_tower.tokens(queries.texts, "query")
    tower = task.document_tower
    if tower is None or held is None:
        return VectorScores(lambda rows: encode(task.query_tower, tokens.select(rows)), documents.gather, task.metric)
    return VectorScores(
        lambda rows: encode(task.query_tower, tokens.select(rows)),
        lambda rows: encode(tower, held.select(rows)),
        task.metric,
    )


def query_coverage(queries: TrainingQueries, targets: Vectors, held_out: Vectors) -> Coverage | None:
    """How far the made training queries lie from real ones, in training or held out; None without one or the other."""
    real = np.array([source == "real" for source in queries.sources], dtype=bool)
    apart = np.array([source == "real" for source in queries.held_out_sources], dtype=bool)
    known = np.concatenate([targets.gather(np.flatnonzero(real)), held_out.gather(np.flatnonzero(apart))])
    made = np.flatnonzero(~real)
    return coverage(known, targets.gather(made), [queries.sources[i] for i in made])
