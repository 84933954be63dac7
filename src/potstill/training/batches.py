"""Token-budget batches: which rows are trained together, as a pure function of lengths, seed and epoch.

A batch is as many texts as fit a budget of tokens, not a fixed number of them. Where texts are padded to the longest
of their batch (transformers), rows are shuffled, sorted by length within pools of many batches, cut, and the batches
shuffled again, so that a batch holds texts of nearly one length and hardly any padding. Where nothing is padded
(static tables) rows are simply shuffled and cut.

Nothing is carried from batch to batch: `(epoch, position)` says all that is needed to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BATCHES_PER_POOL = 64


@dataclass(frozen=True)
class Plan:
    """The batches of one epoch: `order` is a permutation of the rows, `bounds` cuts it."""

    order: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, position: int) -> np.ndarray:
        """Row numbers (int64) of the batch at `position`."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.order[self.bounds[position] : self.bounds[position + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[position] for position in range(len(self)))


class Batches:
    """Batches of `n` rows within a budget of tokens; each row is in exactly one batch of an epoch.

    Args:
        lengths: `(n,)` tokens of each row, or `(n, k)` when a row brings k texts that are padded apart (a query and
            its document). The cost of a batch is its number of rows times the longest of each column where texts are
            `padded`, else the sum of all lengths. A text of no tokens costs one.
        tokens_per_batch: the budget. A row that is longer than the budget makes a batch of its own.
        max_texts: most rows of a batch.
        seed: with the epoch, decides the order.
        padded: whether the student pads the texts of a batch to one length.
    """

    def __init__(
        self, lengths: np.ndarray, *, tokens_per_batch: int, max_texts: int, seed: int, padded: bool = True
    ) -> None:
        lengths = np.asarray(lengths, dtype=np.int64)
        self.lengths = np.maximum(lengths[:, None] if lengths.ndim == 1 else lengths, 1)
        if tokens_per_batch < 1 or max_texts < 1:
            raise ValueError("tokens_per_batch and max_texts must be at least 1")
        self.tokens_per_batch, self.max_texts = tokens_per_batch, max_texts
        self.seed, self.padded = seed, padded

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    def plan(self, epoch: int) -> Plan:
        """The batches of an epoch (0, 1, ...), the same whenever asked."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self))
        if not self.padded:
            return Plan(order, self._cut(order))
        total = self.lengths.sum(axis=1)
        per_batch = min(self.max_texts, max(1.0, self.tokens_per_batch / total.mean())) if len(self) else 1
        pool = max(1, int(per_batch * _BATCHES_PER_POOL))
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(-total[part], kind="stable")]
        bounds = self._cut(order)
        shuffled = random.permutation(len(bounds) - 1)
        pieces = [order[bounds[i] : bounds[i + 1]] for i in shuffled]
        sizes = np.diff(bounds)[shuffled]
        return Plan(np.concatenate([*pieces, order[:0]]), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    def _cut(self, order: np.ndarray) -> np.ndarray:
        bounds = [0]
        while bounds[-1] < len(order):
            window = self.lengths[order[bounds[-1] : bounds[-1] + self.max_texts]]
            if self.padded:
                cost = np.maximum.accumulate(window, axis=0).sum(axis=1) * np.arange(1, len(window) + 1)
            else:
                cost = window.sum(axis=1).cumsum()
            bounds.append(bounds[-1] + max(1, int(np.searchsorted(cost, self.tokens_per_batch, side="right"))))
        return np.asarray(bounds, dtype=np.int64)
