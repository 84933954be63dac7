"""Approximate nearest documents by faiss, for corpora where comparing every query with all documents takes too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from .mining import Search
from .nearest import nearest
from .scoring import pair_scores
from .vectors import Metric, Vectors, gatherer, in_chunks, unit

_TRAINED_ON = 64  # documents a list, to place its centre by
_ITERATIONS = 10
_LEAST_PROBES = 16
_QUERIES_AT_ONCE = 1024
_MEASURED_ON = 100


class ApproximateIndex:
    """Documents in lists of neighbours (IVF-Flat); a query is compared with those of the nearest sixteenth of lists.

    m documents are put into four times the square root of m lists, whose centres are searched through a graph (HNSW)
    where they are many. All vectors are held in memory, in full, and what is found is scored exactly. Equal documents,
    seed and number of threads give an equal index.

    Args:
        documents: (m, d) vectors.
        metric: inner product, or cosine.
        seed: decides which documents the centres are placed by, and where these begin.
        graph_from: this many lists or more are searched through a graph.

    Attributes:
        settings: JSON values for the provenance.

    Raises:
        MissingExtra: faiss is not installed.
        InputError: no documents, or vectors that are not finite.
    """

    def __init__(self, documents: Vectors, metric: Metric = "dot", *, seed: int = 0, graph_from: int = 16_384) -> None:
        try:
            import faiss
        except ImportError:
            raise MissingExtra("faiss", "faiss") from None
        if not len(documents):
            raise InputError("no documents to search", where="candidates", fix="give a collection with documents")
        self._documents, self._metric = documents, metric
        count = len(documents)
        lists = min(count, max(1, round(4 * count**0.5)))
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(count, min(count, _TRAINED_ON * lists), replace=False))
        sample = self._prepared(gatherer(documents)(drawn), "documents drawn to learn from")
        width = sample.shape[1]
        means: Any = faiss.Kmeans(
            width,
            lists,
            niter=_ITERATIONS,
            seed=seed % 2**31,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=_TRAINED_ON,
        )
        means.train(sample)
        graph = lists >= graph_from
        centres: Any = faiss.IndexFlatIP(width)
        if graph:
            centres = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        self._centres = centres  # the index only borrows it
        threads = faiss.omp_get_max_threads()
        try:
            faiss.omp_set_num_threads(1)  # a graph that several threads build is another one each time
            centres.add(means.centroids)
        finally:
            faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexIVFFlat(centres, width, lists, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = min(lists, max(_LEAST_PROBES, lists // 16))
        if graph:
            centres.hnsw.efSearch = 2 * self._index.nprobe
        self._index.train(sample)  # the centres are there; this marks it as trained
        start = 0
        for chunk in in_chunks(documents):
            self._index.add(self._prepared(chunk, f"documents from row {start}"))
            start += len(chunk)
        self.settings: dict[str, Any] = {
            "search": "approximate",
            "index": "IVF-Flat, centres in HNSW" if graph else "IVF-Flat",
            "lists": lists,
            "probes": self._index.nprobe,
            "seed": seed,
            "faiss": faiss.__version__,
        }

    def __len__(self) -> int:
        return len(self._documents)

    def search(
        self, queries: np.ndarray, k: int, exclude: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find about the `k` best documents of every query; arguments and result as of `nearest`."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        left_out = exclude if exclude is not None else [np.empty(0, dtype=np.int64)] * len(queries)
        if len(left_out) != len(queries):
            raise ValueError(f"exclude names rows for {len(left_out)} queries, but there are {len(queries)}")
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            self._search(queries[part], left_out[part], rows[part], scores[part])
        return rows, scores

    def recall(self, queries: np.ndarray, k: int, *, seed: int = 0) -> float:
        """Which share of the `k` truly best documents is found, over at most 100 queries drawn by the seed."""
        count = min(_MEASURED_ON, len(queries))
        if not count:
            return 1.0
        drawn = np.sort(np.random.default_rng(seed).choice(len(queries), count, replace=False))
        true, _ = nearest(queries[drawn], in_chunks(self._documents), k, metric=self._metric)
        found, _ = self.search(queries[drawn], k)
        hits = sum(np.isin(wanted[wanted >= 0], there).sum() for wanted, there in zip(true, found, strict=True))
        return float(hits / (true >= 0).sum())

    def _search(self, queries: np.ndarray, exclude: Sequence[np.ndarray], rows: np.ndarray, scores: np.ndarray) -> None:
        """Fill the rows and scores of a block of queries."""
        k = rows.shape[1]
        # As many more as could have to be left out.
        wanted = min(len(self), k + max(len(left_out) for left_out in exclude))
        _, found = self._index.search(self._prepared(queries, "queries"), wanted)
        for i, left_out in enumerate(exclude):
            if len(left_out):
                found[i][np.isin(found[i], left_out)] = -1
        query, column = np.nonzero(found >= 0)
        values = np.full(found.shape, -np.inf, dtype=np.float32)
        values[query, column] = pair_scores(
            queries, gatherer(self._documents), query, found[query, column], self._metric
        )
        order = np.lexsort((found, -values), axis=1)[:, :k]
        rows[:, : order.shape[1]] = np.take_along_axis(found, order, axis=1)
        scores[:, : order.shape[1]] = np.take_along_axis(values, order, axis=1)

    def _prepared(self, vectors: np.ndarray, name: str) -> np.ndarray:
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
        if not np.isfinite(matrix).all():
            raise InputError(f"{name}: NaN or infinite vectors", where="mining", fix="make the teacher's vectors anew")
        return unit(matrix) if self._metric == "cosine" else matrix


def by_vectors_approximately(queries: np.ndarray, index: ApproximateIndex) -> Search:
    """Search by a teacher's vectors, approximately; see `ApproximateIndex`."""
    return lambda k, exclude: index.search(queries, k, exclude)
