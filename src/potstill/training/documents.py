"""The documents that the queries of a batch are compared with, and the scores of both sides."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .data import TrainingSet
from .terms import ScoreTerm


class Candidates:
    """Distinct documents for one score term and one batch.

    Attributes:
        documents: `(u,)` distinct document numbers.
        columns: `(q, c)` places among them of each query's own candidates, None: all documents for all queries.
        mask: `(q, c)` True where a candidate counts, None: all.
        all: whether these are simply all documents there are.
    """

    def __init__(self, documents: np.ndarray, *, own: np.ndarray | None = None, every: bool = False) -> None:
        self.documents, self.all = documents, every
        self.columns: Tensor | None = None
        self.mask: Tensor | None = None
        if own is not None:
            self.mask = torch.from_numpy(own >= 0)
            self.columns = torch.from_numpy(np.searchsorted(documents, np.maximum(own, documents[:1])))
        self._teacher: Tensor | None = None
        self._places: Tensor | None = None

    def load(self, data: TrainingSet, device: torch.device, every: Tensor | None) -> None:
        """Asymmetric: look up the teacher's vectors, which serve both sides; `every` has them all already."""
        if every is None:
            assert data.documents is not None
            every = torch.from_numpy(data.documents.gather(self.documents)).to(device)
        self._teacher = every
        self._to(device)

    def place(self, encoded: np.ndarray, targets: Tensor) -> None:
        """Not asymmetric: note where ours are among the (sorted) documents `encoded`; `targets` are the teacher's."""
        self._places = torch.from_numpy(np.searchsorted(encoded, self.documents)).to(targets.device)
        self._teacher = targets[self._places]
        self._to(targets.device)

    def scores(
        self,
        teacher_queries: Tensor,
        student_queries: Tensor,
        student_documents: Tensor | None,
        *,
        width: int,
        metric: Literal["dot", "cosine"],
    ) -> tuple[Tensor, Tensor]:
        """Scores `(q, c)` of teacher and student at the first `width` dimensions.

        The student's queries meet its own vectors of the documents where it has some, else the teacher's.
        """
        assert self._teacher is not None
        documents = self._teacher
        if self._places is not None:
            assert student_documents is not None
            documents = student_documents[self._places]
        return (
            self._compare(teacher_queries, self._teacher, width, metric),
            self._compare(student_queries, documents, width, metric),
        )

    def _compare(self, queries: Tensor, documents: Tensor, width: int, metric: str) -> Tensor:
        queries, documents = queries[:, :width], documents[:, :width]
        if metric == "cosine":
            queries, documents = F.normalize(queries, dim=1), F.normalize(documents, dim=1)
        scores = queries @ documents.T
        return scores if self.columns is None else scores.gather(1, self.columns)

    def _to(self, device: torch.device) -> None:
        if self.columns is not None and self.mask is not None:
            self.columns, self.mask = self.columns.to(device), self.mask.to(device)


def candidates(term: ScoreTerm, data: TrainingSet, queries: np.ndarray, random: np.random.Generator) -> Candidates:
    """The documents of one term for these queries.

    `batch`: the sources of the batch's queries; `sample`: `count` drawn at random; `mined`: each query's own list;
    `all`: every document.
    """
    assert data.documents is not None
    if term.documents == "batch":
        assert data.sources is not None
        sources = np.unique(data.sources[queries])
        return Candidates(sources[sources >= 0])
    if term.documents == "sample":
        count = min(term.count, len(data.documents))
        return Candidates(np.sort(random.choice(len(data.documents), count, replace=False, shuffle=False)))
    if term.documents == "mined":
        assert data.mined is not None
        own = np.asarray(data.mined[queries])
        distinct = np.unique(own)
        distinct = distinct[distinct >= 0]
        return Candidates(distinct, own=own if len(distinct) else None)
    return Candidates(np.arange(len(data.documents)), every=True)
