"""Exact search with NumPy: the ground truth for every other index, and an index of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation import Ranking, Rows, exact_search
from .index import EffortName, Index, IndexMetric, checked_queries


class ExactIndex:
    """Every query against every document; see `Index`.

    Args:
        rows: the vectors.
        ids: their ids.
        dimensions: their width.
        metric: how they are compared.
        path: where they come from.
        about: what `index.json` says.
        lossy: whether they are approximations.
    """

    kind = "exact"
    effort_name: EffortName = "none"
    effort: int | None = None
    most: int | None = None

    def __init__(
        self,
        rows: Rows,
        ids: Sequence[str],
        dimensions: int,
        metric: IndexMetric,
        path: Path,
        about: dict[str, Any] | None = None,
        lossy: bool = False,
    ) -> None:
        self._rows, self.ids, self.dimensions, self.metric = rows, ids, dimensions, metric
        self.path, self.about, self.lossy = path, about or {}, lossy

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self) -> Rows:
        """The vectors by row."""
        return self._rows

    def search(self, queries: np.ndarray, k: int, effort: int | None = None) -> Ranking:
        """The `k` best documents of each query; effort means nothing here."""
        return exact_ranking(self, queries, k)


def exact_ranking(index: Index, queries: np.ndarray, k: int) -> Ranking:
    """The truly best `k` documents of each query among the index's vectors, by its metric.

    Scores are inner products, cosines, or negative squared distances.

    Args:
        index: any index.
        queries: `(n, d)` float32.
        k: documents a query.

    Raises:
        InputError: queries of another width, or numbers that are not finite.
    """
    queries = checked_queries(index, queries, k, None)
    if index.metric != "l2":
        return exact_search(queries, index.vectors(), k, metric=index.metric)
    # |q - v|^2 = |q|^2 - 2 (q v - |v|^2 / 2): nearest is the largest inner product with one more number.
    wide = np.hstack([queries, np.ones((len(queries), 1), dtype=np.float32)])
    found = exact_search(wide, _lengthened(index.vectors()), k)
    squares = np.square(queries, dtype=np.float64).sum(axis=1, keepdims=True)
    return Ranking(found.rows, (2.0 * found.scores - squares).astype(np.float32), found.documents)


def _lengthened(chunks: Rows) -> Iterator[np.ndarray]:
    for chunk in chunks:
        half = np.square(chunk, dtype=np.float64).sum(axis=1, keepdims=True) / 2
        yield np.hstack([chunk, -half]).astype(np.float32)
