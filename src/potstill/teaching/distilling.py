"""The task: a ranker that learns each query's list from scores, of one teacher or of several, and from judgments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..recipe import VECTORS
from ..students.tokens import Tokens
from ..teachers.pair_tokens import PairIds, PairTokenizer
from ..training.ballot import heard, labels_of, voted
from ..training.identity import tokens_digest
from ..training.terms import ScoreTerm, VoteTerm, learned_with
from ..training.trainable import Losses, Trainable
from ..training.vote_report import vote_report
from .lists import joined
from .listwise import rows_digest
from .rankers import CrossEncoderModel

_PARTS = 4  # of a batch, by length


@dataclass
class RankingSet:
    """Lists with what teachers say of them; rows of queries and documents are those of the two token tables.

    Args:
        queries: tokens of the queries, without special ones.
        documents: tokens of all documents in question, likewise.
        pairs: joins them.
        lists: `(q, c)` documents of each query, a known positive first, -1 where there are fewer.
        scores: teacher -> `(q, c)`, NaN where it has none.
        positives: `(q,)` column of a known positive, -1 where none is known.
    """

    queries: Tokens
    documents: Tokens
    pairs: PairTokenizer
    lists: np.ndarray
    scores: Mapping[str, np.ndarray]
    positives: np.ndarray

    def __post_init__(self) -> None:
        self.trained = np.flatnonzero((self.lists >= 0).sum(axis=1) >= 2)
        there = self.lists >= 0
        own = np.repeat(self.queries.lengths[:, None], there.shape[1], axis=1)
        tokens = np.where(there, self.pairs.lengths(own, self.documents.lengths[np.maximum(self.lists, 0)]), 0)
        self.costs: np.ndarray = tokens.sum(axis=1)[self.trained]

    def keep(self, count: int) -> None:
        """Train on the first `count` queries alone."""
        kept = self.trained < count
        self.trained, self.costs = self.trained[kept], self.costs[kept]

    def __len__(self) -> int:
        """Lists of two candidates or more."""
        return len(self.trained)


@dataclass
class RankingBatch:
    """Pairs of n lists one after another, where they stand, and what is known of them.

    Attributes:
        pairs: the texts, in parts of like length.
        places: of each part's pairs among all, list by list.
        there: `(n, c)` True where there is a pair.
        scores: teacher -> `(n, c)`.
        positives: `(n,)`.
    """

    pairs: list[PairIds]
    places: list[Tensor]
    there: Tensor
    scores: dict[str, Tensor]
    positives: Tensor


class RankingTask(Trainable[RankingSet]):
    """Trains a ranker on score terms (`scores`, `vote`, `ensemble`, `contrastive`) over each query's own list."""

    unit = "lists"

    def __init__(self, ranker: CrossEncoderModel, terms: Sequence[ScoreTerm], kind: str) -> None:
        super().__init__()
        self.ranker, self.terms, self._kind = ranker, tuple(terms), kind
        self.learned_objectives = learned_with(self.terms)

    @property
    def model(self) -> CrossEncoderModel:
        """What is trained."""
        return self.ranker

    @property
    def kind(self) -> str:
        """Row of the defaults."""
        return self._kind

    @property
    def term_names(self) -> tuple[str, ...]:
        """The terms'."""
        return tuple(term.name for term in self.terms)

    def lengths(self, data: RankingSet, epoch: int) -> np.ndarray:
        """Tokens of each list; its pairs are not padded to its longest."""
        return data.costs

    def prepare(self, data: RankingSet, rows: np.ndarray, step: int, epoch: int) -> RankingBatch:
        """Join the pairs of these lists; columns that none of them has are left out."""
        chosen = data.trained[rows]
        width = int((data.lists[chosen] >= 0).sum(axis=1).max())
        lists = data.lists[chosen][:, :width]
        there = lists >= 0
        query, _ = np.nonzero(there)
        own, rows = chosen[query], lists[there]
        lengths = data.pairs.lengths(data.queries.lengths[own], data.documents.lengths[rows])
        # Pairs of like length go together: a batch padded to its longest pair would be padding for the most part.
        parts = [part for part in np.array_split(np.argsort(lengths, kind="stable"), _PARTS) if len(part)]
        pairs = [joined(data.queries, data.documents, data.pairs, own[part], rows[part]) for part in parts]
        places = [torch.from_numpy(part).to(self.device) for part in parts]

        def held(table: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(table)).to(self.device)

        scores = {name: held(table[chosen][:, :width].astype(np.float32)) for name, table in data.scores.items()}
        return RankingBatch(pairs, places, held(there), scores, held(data.positives[chosen]))

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits `(n, c)` float32, 0 where there is no pair."""
        parts = torch.cat([self.ranker.logits(pairs) for pairs in batch.pairs])
        logits = torch.empty_like(parts).index_copy(0, torch.cat(batch.places), parts)
        table = torch.zeros(batch.there.shape, dtype=torch.float32, device=logits.device)
        return table.masked_scatter(batch.there, logits)

    def losses(self, outputs: Tensor, batch: RankingBatch) -> Losses:
        """Every term, and their weighted sum."""
        found = {term.name: self._value(term, outputs, batch) for term in self.terms}
        total = torch.stack([term.weight * found[term.name] for term in self.terms]).sum()
        return Losses(total, found)

    def gradient_norms(self, losses: Losses, outputs: Tensor) -> dict[str, float]:
        """Norm of each weighted term's gradient with respect to the logits of the batch."""
        found = {}
        for term in self.terms:
            value = losses.terms[term.name]
            if not value.requires_grad:
                found[term.name] = 0.0
                continue
            (gradient,) = torch.autograd.grad(term.weight * value, [outputs], retain_graph=True)
            found[term.name] = float(gradient.double().norm())
        return found

    def details(self, outputs: Tensor, batch: RankingBatch) -> dict[str, Any]:
        """How votes go."""
        votes = {
            term.name: vote_report(term, outputs.detach(), *self._ballot(term, batch))
            for term in self.terms
            if isinstance(term, VoteTerm) and term.objective.family == "vote"
        }
        return {"votes": votes} if votes else {}

    def identity(self, data: RankingSet) -> dict[str, Any]:
        """What is read: texts, lists, scores."""
        return {
            "tokens": tokens_digest(data.queries, data.documents),
            "lists": rows_digest(data.lists, data.positives),
            "scores": rows_digest(*(table.astype(np.float32).view(np.int32) for table in data.scores.values())),
            "model": self.kind,
        }

    def _ballot(self, term: VoteTerm, batch: RankingBatch) -> tuple[Tensor, Tensor]:
        return heard(term, torch.stack([batch.scores[name] for name in term.teachers]), batch.there)

    def _value(self, term: ScoreTerm, outputs: Tensor, batch: RankingBatch) -> Tensor:
        mask, objective = batch.there, term.objective
        if isinstance(term, VoteTerm):
            labels = labels_of(batch.positives, mask) if objective.needs_positives else None
            return voted(term, outputs, *self._ballot(term, batch), labels=labels)
        if not objective.signals:  # judgments are all that it learns from
            return objective(outputs, batch.positives, mask=mask)
        target = batch.scores[term.teacher or VECTORS]
        mask = mask & ~target.isnan()
        if objective.needs_positives:
            mask = mask & (batch.positives == 0).unsqueeze(1)
        return objective(outputs, target, mask=mask)
