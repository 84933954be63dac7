"""Approximate nearest documents by faiss, for corpora where comparing every query with all documents takes too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from .mining import Search
from .nearest import nearest
from .scoring import list_scores
from .vectors import Metric, Vectors, gatherer, in_chunks, unit

_TRAINED_ON = 64  # documents a list, to place its centre by
_ITERATIONS = 10
_LEAST_PROBES = 16
_QUERIES_AT_ONCE = 1024
_MEASURED_ON = 100


def require_faiss() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtra("faiss", "faiss") from None
    return faiss


class ApproximateIndex:
    """Documents in lists of neighbours (IVF-Flat); a query is compared with those of the nearest lists alone.

    m documents are put into four times the square root of m lists, whose centres are searched through a graph (HNSW)
    where they are many. A sixteenth of the lists is looked at, or as many as `tune` finds that it takes. All vectors
    are held in memory, in full, and what is found is scored exactly. Equal documents, seed and number of threads give
    an equal index.

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
        faiss = require_faiss()
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
        self._index.train(sample)  # the centres are there; this marks it as trained
        start = 0
        for chunk in in_chunks(documents):
            self._index.add(self._prepared(chunk, f"documents from row {start}"))
            start += len(chunk)
        self.settings: dict[str, Any] = {
            "search": "approximate",
            "index": "IVF-Flat, centres in HNSW" if graph else "IVF-Flat",
            "lists": lists,
            "seed": seed,
            "faiss": faiss.__version__,
        }
        self._graph = graph
        self._look_at(max(_LEAST_PROBES, lists // 16))

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

    def tune(self, queries: np.ndarray, k: int, *, recall: float = 0.95, seed: int = 0) -> float:
        """Look at more lists, twice as many each time, until enough of the `k` truly best documents are found.

        Args:
            queries: (n, d) vectors; at most 100, drawn by the seed, are searched exactly as well.
            k: documents a query.
            recall: the share of them that is enough.
            seed: decides the draw.

        Returns:
            The share that is found, which goes into `settings` too; 1 where there are no queries.
        """
        drawn = np.random.default_rng(seed).permutation(len(queries))[:_MEASURED_ON]
        asking = queries[np.sort(drawn)]
        true, _ = nearest(asking, in_chunks(self._documents), k, metric=self._metric)
        while True:
            found, _ = self.search(asking, k)
            hits = sum(int(np.isin(best[best >= 0], line).sum()) for best, line in zip(true, found, strict=True))
            share = hits / max(1, int((true >= 0).sum())) if len(asking) else 1.0
            if share >= recall or self._index.nprobe == self._index.nlist:
                break
            self._look_at(2 * self._index.nprobe)
        self.settings |= {"recall": round(share, 4), "recall_at": k}
        return share

    def _look_at(self, lists: int) -> None:
        """Let a query look at so many lists."""
        self._index.nprobe = self.settings["probes"] = min(lists, self._index.nlist)
        if self._graph:
            self._centres.hnsw.efSearch = 2 * self._index.nprobe

    def _search(self, queries: np.ndarray, exclude: Sequence[np.ndarray], rows: np.ndarray, scores: np.ndarray) -> None:
        """Fill the rows and scores of a block of queries."""
        k = rows.shape[1]
        # As many more as could have to be left out.
        wanted = min(len(self), k + max(len(left_out) for left_out in exclude))
        _, found = self._index.search(self._prepared(queries, "queries"), wanted)
        for i, left_out in enumerate(exclude):
            if len(left_out):
                found[i][np.isin(found[i], left_out)] = -1
        values = list_scores(queries, gatherer(self._documents), found, self._metric, empty=-np.inf)
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
