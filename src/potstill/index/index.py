"""What every index can do, and the small things that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ..errors import InputError
from ..evaluation import Ranking, Rows

IndexMetric = Literal["dot", "cosine", "l2"]
EffortName = Literal["efSearch", "nprobe", "none"]
KINDS = ("exact", "faiss-flat", "faiss-hnsw", "faiss-ivfpq", "lancedb")


class Index(Protocol):
    """Vectors of documents, and a search among them. `open_index` gives one.

    Attributes:
        kind: one of `KINDS`, or what an index that Potstill did not build calls itself.
        path: the folder or file that it was opened from.
        ids: the documents' ids, by row.
        dimensions: width of the vectors.
        metric: how they are compared; an index of cosines brings queries to unit length itself.
        lossy: whether `vectors()` are approximations of those that were put in (product quantisation).
        effort_name: what makes a search longer and better; `none` where the search is exact.
        effort: what it is unless told otherwise; None where there is no such thing.
        most: beyond which more effort changes nothing; None where that is not known.
        about: JSON values: what `index.json` says; {} for an index that Potstill did not build.
    """

    kind: str
    path: Path
    ids: Sequence[str]
    dimensions: int
    metric: IndexMetric
    lossy: bool
    effort_name: EffortName
    effort: int | None
    most: int | None
    about: dict[str, Any]

    def __len__(self) -> int:
        """How many documents there are."""

    def vectors(self) -> Rows:
        """The vectors by row: iterate over chunks (m, d) float32, or `gather(rows)`."""

    def search(self, queries: np.ndarray, k: int, effort: int | None = None) -> Ranking:
        """The about `k` best documents of each query.

        Args:
            queries: `(n, d)` float32.
            k: documents a query.
            effort: `efSearch` or `nprobe` for this search; None: the index's own.

        Raises:
            InputError: queries of another width, or numbers that are not finite.
        """


class Held:
    """Vectors in an array, in memory or mapped, as a table that `Rows` can gather from."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float32 of these rows."""
        return np.asarray(self.array[rows], dtype=np.float32)


def held_rows(array: np.ndarray) -> Rows:
    """All rows of an array, in order."""
    return Rows(Held(array), np.arange(len(array)))


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, d) float32 at length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def checked_queries(index: Index, queries: np.ndarray, k: int, effort: int | None) -> np.ndarray:
    """The queries as contiguous float32, at unit length where the index compares cosines."""
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2:
        raise ValueError(f"queries must be a matrix (n, d), not of shape {queries.shape}")
    if k < 1 or (effort is not None and effort < 1):
        raise InputError(
            f"k and effort count from 1, not {k} and {effort}", where=str(index.path), fix="give a number from 1"
        )
    if queries.shape[1] != index.dimensions:
        raise InputError(
            f"the queries' vectors have {queries.shape[1]} numbers, those of the index {index.dimensions}",
            where=str(index.path),
            fix="search with the student that was distilled for this index's teacher, or build an index of its own",
        )
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise InputError(
            f"the vector of query {bad[0]} holds numbers that are not finite", where=str(index.path), fix="encode again"
        )
    return unit(queries) if index.metric == "cosine" else queries


def ranked(rows: np.ndarray, scores: np.ndarray, k: int, documents: int) -> Ranking:
    """What a library found, as a ranking: `k` columns, best first, lower rows first among equal scores."""
    wide = np.full((len(rows), k), -1, dtype=np.int64)
    values = np.full((len(rows), k), -np.inf, dtype=np.float32)
    found = min(k, rows.shape[1])
    wide[:, :found] = rows[:, :found]
    values[:, :found] = np.where(rows[:, :found] >= 0, scores[:, :found], -np.inf)
    order = np.lexsort((np.where(wide < 0, documents, wide), -values), axis=1)
    return Ranking(np.take_along_axis(wide, order, axis=1), np.take_along_axis(values, order, axis=1), documents)
