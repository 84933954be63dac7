"""The systems of an ensemble: each gives scores of candidates, from the store or anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..candidates import list_scores
from ..collection import Collection
from ..errors import InputError
from ..evaluation.search import Metric
from ..recipe.comparing import MemberSpec
from ..recipe.teachers import LISTED
from ..signals import pair_text
from ..teachers import VectorTeacher, open_scorer, open_teacher
from .list_scorers import ListScorer, open_list_scorer
from .pair_scores import AnyScorer, candidate_texts, pair_scores
from .scorers import tell_cut
from .vectors import document_vectors, query_vectors, text_vectors


@dataclass(frozen=True)
class Lists:
    """Candidates of n queries.

    Attributes:
        ids: the queries'.
        texts: theirs.
        rows: `(n, c)` documents, -1 where there is none.
        documents: text of each document that occurs, by row.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    rows: np.ndarray
    documents: dict[int, str]

    @classmethod
    def of(cls, collection: Collection, ids: Sequence[str], rows: np.ndarray) -> Lists:
        """Look the texts up."""
        return cls(ids, [collection.queries[i] for i in ids], rows, candidate_texts(collection, rows))

    @property
    def document_texts(self) -> list[str]:
        """Texts of the documents that occur, by rising row."""
        return [self.documents[row] for row in sorted(self.documents)]

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where documents stand in `document_texts`."""
        return np.searchsorted(np.array(sorted(self.documents), dtype=np.int64), rows)


class Member(Protocol):
    """One system.

    Attributes:
        name: what reports call it.
        kind: as a recipe says it.
        parameters: stored numbers; None where it cannot be known.
    """

    name: str
    kind: str
    parameters: int | None

    def scores(self, lists: Lists, signals: Path | None) -> np.ndarray:
        """`(n, c)` float32; NaN where there is none."""

    def anew(self, lists: Lists) -> Callable[[int], object] | None:
        """What scores list `i` from its texts, without the store; None: it only looks scores up."""


def open_member(spec: MemberSpec, collection: Collection) -> Member:
    """Open a member.

    Raises:
        InputError: its model or file is wrong.
    """
    if spec.vectors is not None:
        return OfVectors(spec.name, open_teacher(spec.vectors), collection)
    assert spec.scorer is not None
    if spec.scorer.kind in LISTED:
        return OfScores(spec.name, open_list_scorer(spec.scorer, collection))
    return OfScores(spec.name, open_scorer(spec.scorer))


class OfScores:
    """A scorer."""

    def __init__(self, name: str, scorer: AnyScorer) -> None:
        self.name, self.kind, self.scorer = name, scorer.kind, scorer
        self.parameters = scorer.parameters

    def scores(self, lists: Lists, signals: Path | None) -> np.ndarray:
        """See `Member`."""
        found = pair_scores(self.scorer, lists.texts, lists.documents, lists.rows, signals, f"{self.name}: scores")
        tell_cut(self.name, found.truncated, found.pairs)
        return found.scores

    def anew(self, lists: Lists) -> Callable[[int], object] | None:
        """See `Member`."""
        scorer = self.scorer
        if isinstance(scorer, ListScorer):
            if scorer.kind == "file":
                return None
            return lambda i: scorer.of_lists([lists.texts[i]], lists.rows[i : i + 1])
        source = scorer.source("scores")
        forget: Callable[[], None] = getattr(scorer, "forget", lambda: None)

        def score(i: int) -> object:
            forget()
            rows = lists.rows[i]
            pairs = [pair_text(lists.texts[i], lists.documents[row]) for row in rows[rows >= 0].tolist()]
            return source.encode(pairs, "pair")

        return score


class OfVectors:
    """A teacher of vectors, whose documents are in its index: what it costs is the query."""

    kind = "vectors"

    def __init__(self, name: str, teacher: VectorTeacher, collection: Collection) -> None:
        self.name, self.teacher, self.collection = name, teacher, collection
        self.parameters = teacher.parameters

    def scores(self, lists: Lists, signals: Path | None) -> np.ndarray:
        """See `Member`."""
        teacher = self.teacher
        queries = query_vectors(teacher, lists.texts, signals, f"{self.name}: queries", lists.ids).all()
        return list_scores(queries, self._gather(lists, signals), lists.rows, teacher.metric)

    def _gather(self, lists: Lists, signals: Path | None) -> Callable[[np.ndarray], np.ndarray]:
        teacher = self.teacher
        if teacher.index is not None:
            return document_vectors(teacher, self.collection, signals).gather
        held = text_vectors(teacher, lists.document_texts, "document", signals, f"{self.name}: candidates")
        return lambda rows: held.gather(lists.places(rows))

    def anew(self, lists: Lists) -> Callable[[int], object] | None:
        """See `Member`."""
        teacher = self.teacher
        if not teacher.can_encode_queries:
            return None
        return lambda i: teacher.encode([lists.texts[i]], "query")


class OfStudent:
    """A student that encodes texts, on documents of its own or on its teacher's."""

    kind = "student"

    def __init__(self, name: str, folder: str) -> None:
        from ..students import load

        self.name, self.student = name, load(folder)
        self.parameters = self.student.queries.parameters
        self.metric: Metric = self.student.note.get("metric", "cosine")

    def scores(self, lists: Lists, signals: Path | None) -> np.ndarray:
        """See `Member`."""
        held = self.student.encode_documents(lists.document_texts)
        queries = self.student.encode_queries(lists.texts)
        return list_scores(queries, lambda rows: held[lists.places(rows)], lists.rows, self.metric)

    def anew(self, lists: Lists) -> Callable[[int], object] | None:
        """See `Member`."""
        return lambda i: self.student.encode_queries([lists.texts[i]])


def open_student(spec: MemberSpec, folder: Path, collection: Collection) -> Any:
    """Open a student: a ranker as any scorer, else one that encodes texts.

    Raises:
        InputError: there is none.
    """
    if spec.kind != "vectors":
        return open_member(spec, collection)
    try:
        return OfStudent(spec.name, str(folder))
    except InputError as error:
        raise InputError(error.message, where=f"--student {folder}", fix=error.fix) from None
