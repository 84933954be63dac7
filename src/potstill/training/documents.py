"""The documents that the queries of a batch are compared with, and the scores of both sides."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..objectives.functional import keep_wrong
from ..objectives.prefixes import AtPrefixes
from ..objectives.scores import inner_scores
from ..recipe import VECTORS
from .ballot import heard, labels_of, voted
from .data import TrainingSet
from .layer_terms import LayerTerm
from .terms import ScoreTerm, VoteTerm


class Candidates:
    """Distinct documents for one score term and one batch.

    Attributes:
        documents: `(u,)` distinct document numbers.
        columns: `(q, c)` places among them of each query's own candidates, None: all documents for all queries.
        mask: `(q, c)` True where a candidate counts, None: all.
        positives: `(q,)` column of a document that the query was judged to fit, -1: none is known; None: not needed.
        target: `(q, c)` a scorer's scores, None: inner products of the teacher's vectors.
        voices: `(k, q, c)` what several teachers say, NaN where one has no score; None: nobody votes.
        rivals: `(q, c)` False at documents that are known to fit beside the positive; None: none are.
        all: whether these are simply all documents there are.
    """

    def __init__(self, documents: np.ndarray, *, own: np.ndarray | None = None, every: bool = False) -> None:
        self.documents, self.all = documents, every
        self.columns: Tensor | None = None
        self.mask: Tensor | None = None
        self.positives: Tensor | None = None
        self.target: Tensor | None = None
        self.rivals: Tensor | None = None
        self.voices: Tensor | None = None
        if own is not None:
            self.mask = torch.from_numpy(own >= 0)
            self.columns = torch.from_numpy(np.searchsorted(documents, np.maximum(own, documents[:1])))
        self._teacher: Tensor | None = None
        self._places: Tensor | None = None

    def know(self, positive: np.ndarray, others: np.ndarray) -> None:
        """Note which column fits each query, and leave other documents known to fit out of its comparison.

        Args:
            positive: `(q,)` document number, -1 where none is known.
            others: `(q, p)` all documents known to fit, padded with -1.
        """
        if self.columns is not None:  # a list of its own: the positive stands first, and no other is in it
            first = self.documents[self.columns[:, 0].numpy()]
            self.positives = torch.from_numpy(np.where((positive >= 0) & (first == positive), 0, -1))
            return
        places = np.searchsorted(self.documents, np.maximum(others, 0)).clip(max=max(len(self.documents) - 1, 0))
        there = (others >= 0) & (self.documents[places] == others)
        own = np.searchsorted(self.documents, np.maximum(positive, 0)).clip(max=max(len(self.documents) - 1, 0))
        known = (positive >= 0) & (self.documents[own] == positive)
        mask = np.ones((len(positive), len(self.documents)), dtype=bool)
        row, column = np.nonzero(there)
        mask[row, places[row, column]] = False
        mask[np.flatnonzero(known), own[known]] = True
        self.mask = torch.from_numpy(mask)
        self.positives = torch.from_numpy(np.where(known, own, -1))

    def listen(self, scores: np.ndarray) -> None:
        """Take a scorer's `(q, c)` scores as the target; candidates without one do not count."""
        assert self.mask is not None
        self.target = torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))
        self.mask = self.mask & ~self.target.isnan()

    def hear(self, scores: list[np.ndarray | None]) -> None:
        """Take several teachers' `(q, c)` scores; None stands for the teacher of vectors, whose own are taken later."""
        shape = next((each.shape for each in scores if each is not None), (0, 0))
        if self.columns is not None:
            shape = tuple(self.columns.shape)
        blank = np.zeros(shape, dtype=np.float32)
        said = [blank if each is None else np.asarray(each, dtype=np.float32) for each in scores]
        self.voices = torch.from_numpy(np.stack(said))

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

    @property
    def places(self) -> Tensor:
        """`(u,)` where these documents are among those that the student encoded."""
        assert self._places is not None
        return self._places

    def rate(self, student: Tensor, documents: Tensor, *, cosine: bool) -> Tensor:
        """The student's `(q, c)` scores, given its vectors of queries and of the documents it encoded."""
        ours = documents[self.places]
        if cosine:
            student, ours = F.normalize(student, dim=1), F.normalize(ours, dim=1)
        return self._own(inner_scores(student, ours))

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
        if isinstance(term, VoteTerm):
            ballot = self.ballot(term, teacher, student, documents, cosine=cosine)
            return voted(term, *ballot, labels=self._labels(term))
        teacher, theirs, student, ours = self._sides(teacher, student, documents, cosine=cosine)
        learned = term.objective.objective if isinstance(term.objective, AtPrefixes) else term.objective
        mask = self.mask
        if not learned.signals:  # a contrastive term: judgments are all it learns from
            assert self.positives is not None
            target = self.positives
        else:
            target = self.target if self.target is not None else self._own(inner_scores(teacher, theirs))
            mask = self._kept(target, term)
            if learned.needs_positives:
                assert self.positives is not None
                known = (self.positives == 0).unsqueeze(1)
                mask = known.expand_as(target) if mask is None else mask & known
        if isinstance(term.objective, AtPrefixes):
            per_query = ours if self.columns is None else ours[self.columns]
            return term.objective(student, target, documents=per_query, mask=mask)
        return term.objective(self._own(inner_scores(student, ours)), target, mask=mask)

    def ballot(
        self, term: VoteTerm, teacher: Tensor, student: Tensor, documents: Tensor | None, *, cosine: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is voted on; arguments as for `value`.

        Returns:
            The student's scores `(q, c)`, the voters' `(v, q, c)` on one scale, and where there is one.
        """
        assert self.voices is not None
        teacher, theirs, student, ours = self._sides(teacher, student, documents, cosine=cosine)
        vectors = self._own(inner_scores(teacher, theirs))
        voices = [vectors if name == VECTORS else said for name, said in zip(term.teachers, self.voices, strict=True)]
        return self._own(inner_scores(student, ours)), *heard(term, torch.stack(voices), self.mask)

    def _labels(self, term: VoteTerm) -> Tensor | None:
        """Labels of the lists, for terms that read them."""
        if not term.objective.needs_positives:
            return None
        assert self.positives is not None
        assert self.mask is not None
        return labels_of(self.positives, self.mask)

    def _sides(
        self, teacher: Tensor, student: Tensor, documents: Tensor | None, *, cosine: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries and documents of the teacher and of the student, as they are compared."""
        assert self._teacher is not None
        theirs = ours = self._teacher
        if self._places is not None:
            assert documents is not None
            ours = documents[self._places]
        if not cosine:
            return teacher, theirs, student, ours
        return (
            F.normalize(teacher, dim=1),
            F.normalize(theirs, dim=1),
            F.normalize(student, dim=1),
            F.normalize(ours, dim=1),
        )

    def _kept(self, target: Tensor, term: ScoreTerm) -> Tensor | None:
        """The mask, less the lists that the error filter drops."""
        if term.keep_wrong is None:
            return self.mask
        assert self.positives is not None
        counted = self.rivals if self.mask is None else self.mask
        kept = keep_wrong(target, self.positives, term.keep_wrong, mask=counted).unsqueeze(1)
        return kept.expand_as(target) if self.mask is None else self.mask & kept

    def _own(self, scores: Tensor) -> Tensor:
        return scores if self.columns is None else scores.gather(1, self.columns)

    def _to(self, device: torch.device) -> None:
        for name in ("columns", "mask", "positives", "target", "rivals", "voices"):
            held = getattr(self, name)
            if held is not None:
                setattr(self, name, held.to(device))


def candidates(
    term: ScoreTerm | LayerTerm,
    data: TrainingSet,
    queries: np.ndarray,
    fitting: np.ndarray,
    random: np.random.Generator,
) -> Candidates:
    """The documents of one term for these queries.

    `batch`: a document that each query of the batch fits; `sample`: `count` drawn at random; `mined`: each query's
    first `count`; `pooled`: those of all of them together, for each; `all`: every document.

    Args:
        term: says which.
        data: where they are.
        queries: `(q,)` query numbers.
        fitting: `(q,)` a document that each query fits, -1 where none is known; the same for all terms of a batch.
        random: of the sample.
    """
    assert data.documents is not None
    judged = data.positives[queries] if data.positives is not None else np.full((len(queries), 1), -1, dtype=np.int64)
    own: np.ndarray | None = None
    if term.documents == "batch":
        documents = np.unique(fitting)
        documents = documents[documents >= 0]
    elif term.documents == "sample":
        count = min(term.count, len(data.documents))
        documents = np.sort(random.choice(len(data.documents), count, replace=False, shuffle=False))
    elif term.documents in ("mined", "pooled"):
        assert data.mined is not None
        lists = np.asarray(data.mined[queries])[:, : term.count]
        own = lists if term.documents == "mined" else None
        documents = np.unique(lists)
        documents = documents[documents >= 0]
    else:
        documents = np.arange(len(data.documents))
    needs = term.objective.needs_positives or term.keep_wrong is not None
    if needs and own is None:
        wanted = np.unique(fitting[judged[:, 0] >= 0])
        documents = documents if term.documents == "all" else np.union1d(documents, wanted)
    if own is not None and not len(documents):
        own = None
    chosen = Candidates(documents, own=own, every=term.documents == "all")
    if needs and len(documents):
        positive = judged[:, 0] if own is not None else np.where(judged[:, 0] >= 0, fitting, -1)
        chosen.know(positive, judged)
        if term.objective.signals and own is None:
            # Scores of a teacher say themselves that other documents fit; that they do is no error of the teacher.
            chosen.rivals, chosen.mask = chosen.mask, None
    if isinstance(term, VoteTerm) and term.documents == "all":
        chosen.hear([None if name == VECTORS else data.whole[name](queries) for name in term.teachers])
    if isinstance(term, VoteTerm) and own is not None:
        chosen.hear(
            [None if name == VECTORS else data.pair_scores[name][queries][:, : term.count] for name in term.teachers]
        )
    if term.teacher is not None and own is not None and not term.live:
        chosen.listen(data.pair_scores[term.teacher][queries][:, : term.count])
    return chosen
