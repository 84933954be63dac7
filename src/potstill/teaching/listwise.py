"""The task: rankers trained by listwise softmax, the positive of a list against its negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..teachers.pair_tokens import PairIds
from ..training.identity import tokens_digest
from ..training.trainable import Losses, Trainable
from .lists import Lists, TeachingSet
from .rankers import Ranker

TERM = "listwise"


@dataclass
class ListBatch:
    """Pairs of n lists one after another, and `(n, 1 + k)` where they stand: the positive first, False for none."""

    pairs: PairIds
    there: Tensor


class ListwiseTask(Trainable[TeachingSet]):
    """Trains a ranker: -log softmax(logits of a list)[its positive], the mean over lists (EmbedDistill's one-hot)."""

    unit = "lists"

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.ranker = ranker

    @property
    def model(self) -> Ranker:
        """What is trained."""
        return self.ranker

    @property
    def kind(self) -> str:
        """The ranker's."""
        return self.ranker.kind

    @property
    def term_names(self) -> tuple[str, ...]:
        """One term."""
        return (TERM,)

    def lengths(self, data: TeachingSet, epoch: int) -> np.ndarray:
        """Tokens of each list, all its pairs."""
        return data.lengths(epoch)

    def prepare(self, data: TeachingSet, rows: np.ndarray, step: int, epoch: int) -> ListBatch:
        """Join the pairs of these lists."""
        lists = data.drawn(epoch)
        pairs, there = data.joined(Lists(lists.queries[rows], lists.documents[rows]))
        return ListBatch(pairs, torch.from_numpy(there).to(self.device))

    def forward(self, batch: ListBatch) -> Tensor:
        """Logits `(n, 1 + k)` float32, -inf where there is no pair."""
        logits = self.ranker.logits(batch.pairs)
        table = torch.full(batch.there.shape, -torch.inf, dtype=torch.float32, device=logits.device)
        return table.masked_scatter(batch.there, logits)

    def losses(self, outputs: Tensor, batch: ListBatch) -> Losses:
        """The one term."""
        value = (torch.logsumexp(outputs, dim=1) - outputs[:, 0]).mean()
        return Losses(value, {TERM: value})

    def gradient_norms(self, losses: Losses, outputs: Tensor) -> dict[str, float]:
        """Norm of the gradient with respect to the logits of the batch."""
        (gradient,) = torch.autograd.grad(losses.terms[TERM], [outputs], retain_graph=True)
        return {TERM: float(gradient.double().norm())}

    def identity(self, data: TeachingSet) -> dict[str, Any]:
        """What is read, and which lists can be drawn from it."""
        rows = tokens_digest(data.queries, data.documents)
        return {
            "tokens": rows,
            "pairs": rows_digest(data.positives, data.negatives),
            "model": self.kind,
        }


def rows_digest(*arrays: np.ndarray) -> str:
    """Digest of arrays of rows, shapes included."""
    import hashlib

    said = hashlib.blake2b(digest_size=16)
    for array in arrays:
        said.update(repr(array.shape).encode())
        said.update(np.ascontiguousarray(array, dtype=np.int64).data)
    return said.hexdigest()
