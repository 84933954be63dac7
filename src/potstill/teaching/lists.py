"""Lists to learn from: a query, one of its positives, and some of its mined negatives, drawn anew each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..students.tokens import Tokens
from ..teachers.pair_tokens import PairIds, PairTokenizer


@dataclass(frozen=True)
class Lists:
    """The lists of one epoch.

    Attributes:
        queries: `(n,)` row of each list's query.
        documents: `(n, 1 + k)` rows of documents: the positive, then negatives; -1 where there are fewer.
    """

    queries: np.ndarray
    documents: np.ndarray


@dataclass
class TeachingSet:
    """All that training reads; rows of queries and documents are those of the two token tables.

    Every (query, positive) is a list of its own. What is drawn in an epoch depends on `(seed, epoch)` alone.

    Args:
        queries: tokens of the queries, without special ones.
        documents: tokens of all documents in question, likewise.
        pairs: the `PairTokenizer` that joins them, or the `ApartTokenizer` of texts that are read apart.
        positives: `(p, 2)` (query, document), in any order.
        negatives: `(q, c)` mined documents of each query, -1 where there are fewer; none is a positive of its query.
        count: negatives of a list.
        per_query: most lists of a query in an epoch; None: one for each positive.
        most: most lists in an epoch; None: all.
        seed: of all draws.
    """

    queries: Tokens
    documents: Tokens
    pairs: Any
    positives: np.ndarray
    negatives: np.ndarray
    count: int
    per_query: int | None = None
    most: int | None = None
    seed: int = 0
    _drawn: tuple[int, Lists] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        known = self.positives[:, 0] * len(self.documents) + self.positives[:, 1]
        mined = np.arange(len(self.negatives))[:, None] * len(self.documents) + self.negatives
        if (np.isin(mined, known) & (self.negatives >= 0)).any():
            raise ValueError("a positive is among the negatives of its query")
        if len(self.positives) and not (self.negatives[self.positives[:, 0]] >= 0).any(axis=1).all():
            raise ValueError("a list has no negative")
        counts = np.bincount(self.positives[:, 0], minlength=len(self.queries))
        held = int(np.minimum(counts, self.per_query or counts.max(initial=0)).sum())
        self._lists = held if self.most is None else min(held, self.most)

    def __len__(self) -> int:
        """Lists of an epoch."""
        return self._lists

    def drawn(self, epoch: int) -> Lists:
        """The lists of an epoch: which positives, which negatives."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, self._draw(np.random.default_rng([self.seed, epoch])))
        return self._drawn[1]

    def lengths(self, epoch: int) -> np.ndarray:
        """`(n,)` tokens that each list costs when its pairs are padded to its longest."""
        lists = self.drawn(epoch)
        there = lists.documents >= 0
        own = np.repeat(self.queries.lengths[lists.queries, None], there.shape[1], axis=1)
        tokens = np.where(there, self.pairs.lengths(own, self.documents.lengths[lists.documents]), 0)
        longest: np.ndarray = tokens.max(axis=1) * there.sum(axis=1)
        return longest

    def joined(self, lists: Lists) -> tuple[PairIds, np.ndarray]:
        """The pairs of some lists, one after another, and the mask `(n, 1 + k)` of those that are there."""
        there = lists.documents >= 0
        own = np.repeat(lists.queries[:, None], there.shape[1], axis=1)[there]
        return joined(self.queries, self.documents, self.pairs, own, lists.documents[there]), there

    def _draw(self, random: np.random.Generator) -> Lists:
        order = random.permutation(len(self.positives))
        if self.per_query is not None:
            # The first `per_query` of each query in this order.
            by_query = order[np.argsort(self.positives[order, 0], kind="stable")]
            query = self.positives[by_query, 0]
            place = np.arange(len(query)) - np.searchsorted(query, query)
            order = random.permutation(by_query[place < self.per_query])
        chosen = self.positives[np.sort(order[: len(self)])]
        lots = random.random((len(chosen), self.negatives.shape[1]), dtype=np.float32)
        mined = self.negatives[chosen[:, 0]]
        lots[mined < 0] = np.inf
        taken = np.argsort(lots, axis=1, kind="stable")[:, : self.count]
        return Lists(chosen[:, 0], np.concatenate([chosen[:, 1:], np.take_along_axis(mined, taken, axis=1)], axis=1))


def joined(
    queries: Tokens, documents: Tokens, pairs: PairTokenizer, query_rows: np.ndarray, document_rows: np.ndarray
) -> PairIds:
    """Pairs `(query_rows[i], document_rows[i])`."""
    return pairs.join([queries[row] for row in query_rows.tolist()], [documents[row] for row in document_rows.tolist()])
