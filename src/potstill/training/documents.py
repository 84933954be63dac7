"""The documents that the queries of a batch are compared with, and the scores of both sides."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..objectives.prefixes import AtPrefixes
from ..objectives.scores import inner_scores
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

    def value(
        self, term: ScoreTerm, teacher: Tensor, student: Tensor, documents: Tensor | None, *, cosine: bool
    ) -> Tensor:
        """The term's value for this batch.

        Args:
            term: the one these candidates were chosen for.
            teacher: `(q, d)` the teacher's vectors of the queries.
            student: `(q, d)` the student's.
            documents: `(u, d)` the student's vectors of the documents it encoded; None: the teacher's serve both sides.
            cosine: whether vectors are compared by angle, not by inner product.
        """
        assert self._teacher is not None
        theirs = ours = self._teacher
        if self._places is not None:
            assert documents is not None
            ours = documents[self._places]
        if cosine:
            teacher, student = F.normalize(teacher, dim=1), F.normalize(student, dim=1)
            ours = F.normalize(ours, dim=1)
            theirs = F.normalize(theirs, dim=1)
        target = self._own(inner_scores(teacher, theirs))
        if isinstance(term.objective, AtPrefixes):
            per_query = ours if self.columns is None else ours[self.columns]
            return term.objective(student, target, documents=per_query, mask=self.mask)
        return term.objective(self._own(inner_scores(student, ours)), target, mask=self.mask)

    def _own(self, scores: Tensor) -> Tensor:
        return scores if self.columns is None else scores.gather(1, self.columns)

    def _to(self, device: torch.device) -> None:
        if self.columns is not None and self.mask is not None:
            self.columns, self.mask = self.columns.to(device), self.mask.to(device)


def candidates(term: ScoreTerm, data: TrainingSet, queries: np.ndarray, random: np.random.Generator) -> Candidates:
    """The documents of one term for these queries.

    `batch`: the sources of the batch's queries; `sample`: `count` drawn at random; `mined`: each query's first `count`;
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
        own = np.asarray(data.mined[queries])[:, : term.count]
        distinct = np.unique(own)
        distinct = distinct[distinct >= 0]
        return Candidates(distinct, own=own if len(distinct) else None)
    return Candidates(np.arange(len(data.documents)), every=True)
