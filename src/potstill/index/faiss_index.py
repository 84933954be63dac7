"""Indexes of faiss: those that Potstill builds (flat, HNSW, IVF-PQ), and any other that can give its vectors back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..candidates.approximate import require_faiss
from ..errors import InputError
from ..evaluation import Ranking, Rows
from .index import EffortName, IndexMetric, checked_queries, held_rows, ranked

FILE = "index.faiss"
_WHOLE = {"IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat", "IndexIVFFlat"}
_TRAINED_ON = 64  # vectors a list or a code, at most


class FaissIndex:
    """An index of faiss; see `Index`. A search sets the effort on the library's object: one search at a time.

    Args:
        native: faiss's own index, without a map of ids around it.
        ids: the documents' ids, by row.
        path: the file or folder.
        metric: what the vectors were put in for; None: what faiss says.
        kind: what to call it; None: faiss's own name.
        whole: the vectors as they were put in, where they are kept beside a lossy index.
        about: what `index.json` says.
    """

    def __init__(
        self,
        native: Any,
        ids: Sequence[str],
        path: Path,
        *,
        metric: IndexMetric | None = None,
        kind: str | None = None,
        whole: np.ndarray | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        faiss = require_faiss()
        self.native, self.ids, self.path, self._whole = native, ids, path, whole
        self.owner = native
        self.kind, self.about, self.dimensions = kind or type(native).__name__, about or {}, int(native.d)
        said: IndexMetric = "dot" if native.metric_type == faiss.METRIC_INNER_PRODUCT else "l2"
        self.metric: IndexMetric = metric or said
        self._distances = said == "l2"
        if len(ids) != native.ntotal:
            raise InputError(
                f"{len(ids):,} ids for {native.ntotal:,} vectors",
                where=str(path),
                fix="give one id for each vector, in the order in which they were added",
            )
        self.lossy = whole is None and type(native).__name__ not in _WHOLE
        self.effort_name: EffortName = "none"
        self.effort: int | None = None
        self.most: int | None = None
        self._lists = faiss.try_extract_index_ivf(native)
        if self._lists is not None:
            self.effort_name, self.effort, self.most = "nprobe", int(self._lists.nprobe), int(self._lists.nlist)
        elif hasattr(native, "hnsw"):
            self.effort_name, self.effort, self.most = "efSearch", int(native.hnsw.efSearch), len(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self) -> Rows:
        """The vectors by row; those of a lossy index are what it can give back.

        Raises:
            InputError: this index cannot give its vectors back.
        """
        if self._whole is not None:
            return held_rows(self._whole)
        table = _GivenBack(self.native)
        try:
            if self._lists is not None:
                self._lists.make_direct_map()
            table.gather(np.arange(min(1, len(self))))
        except RuntimeError as error:
            raise InputError(
                f"faiss cannot give the vectors of a {self.kind} back: {str(error).splitlines()[-1]}",
                where=str(self.path),
                fix="give the vectors as .npy or Parquet instead",
            ) from None
        return Rows(table, np.arange(len(self)))

    def search(self, queries: np.ndarray, k: int, effort: int | None = None) -> Ranking:
        """The about `k` best; faiss looks at `max(efSearch, k)` in a graph."""
        queries = checked_queries(self, queries, k, effort)
        chosen = effort or self.effort
        if self._lists is not None:
            self._lists.nprobe = chosen
        elif self.effort_name == "efSearch":
            self.native.hnsw.efSearch = chosen
        scores, rows = self.native.search(queries, min(k, max(1, len(self))))
        return ranked(rows, -scores if self._distances else scores, k, len(self))


class _GivenBack:
    """Vectors that faiss gives back when they are asked for."""

    def __init__(self, native: Any) -> None:
        self.native = native

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float32 of these rows."""
        return np.asarray(self.native.reconstruct_batch(np.asarray(rows, dtype=np.int64)), dtype=np.float32)


def open_faiss(path: Path, ids: Sequence[str] | None, metric: IndexMetric | None) -> FaissIndex:
    """Open a file that `faiss.write_index` wrote. An `IndexIDMap` has ids of its own.

    Raises:
        MissingExtra: faiss is not installed.
        InputError: the file is not faiss's; it lacks ids; the metric is another.
    """
    faiss = require_faiss()
    try:
        native = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(
            f"faiss cannot read this file: {str(error).splitlines()[-1]}",
            where=str(path),
            fix="give a file that faiss.write_index wrote",
        ) from None
    owner = native
    if hasattr(native, "id_map"):
        own = [str(number) for number in faiss.vector_to_array(native.id_map).tolist()]
        native, ids = faiss.downcast_index(native.index), ids or own
    if ids is None:
        raise InputError("the index has no ids", where=str(path), fix="name a file of ids, one a line, with --ids")
    found = FaissIndex(native, ids, path)
    found.owner = owner  # the map around an index frees it when it goes
    if metric is not None and metric != found.metric and not (metric == "cosine" and found.metric == "dot"):
        raise InputError(
            f"the index compares by {found.metric}, not by {metric}", where=str(path), fix="leave --metric out"
        )
    found.metric = metric or found.metric
    if found.effort_name == "nprobe":
        found.vectors()  # lists may hold numbers that are no rows, and then nothing found would be what it says
    return found


def build_faiss(rows: Rows, dimensions: int, kind: str, metric: IndexMetric, settings: Mapping[str, Any]) -> Any:
    """Faiss's index of these vectors, which are at unit length already where the metric is cosine.

    One thread builds it unless told otherwise: a graph that several threads build is another one each time.
    """
    faiss = require_faiss()
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    if kind == "faiss-flat":
        native: Any = faiss.IndexFlat(dimensions, measure)
    elif kind == "faiss-hnsw":
        native = faiss.IndexHNSWFlat(dimensions, settings["m"], measure)
        native.hnsw.efConstruction, native.hnsw.efSearch = settings["ef_construction"], settings["ef_search"]
    else:
        native = _trained(rows, dimensions, measure, settings)
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(settings.get("threads", 1))
        for chunk in rows:
            native.add(np.ascontiguousarray(chunk))
    finally:
        faiss.omp_set_num_threads(threads)
    return native


def _trained(rows: Rows, dimensions: int, measure: int, settings: Mapping[str, Any]) -> Any:
    faiss = require_faiss()
    lists, bits = settings["nlist"], settings["bits"]
    coarse = faiss.IndexFlat(dimensions, measure)
    native = faiss.IndexIVFPQ(coarse, dimensions, lists, settings["m_pq"], bits, measure)
    native.own_fields = True
    coarse.this.disown()
    native.cp.seed = native.pq.cp.seed = settings["seed"]
    # Small collections are welcome: faiss would otherwise complain once for every part of a vector.
    native.cp.min_points_per_centroid = native.pq.cp.min_points_per_centroid = 1
    wanted = min(len(rows), _TRAINED_ON * max(lists, 2**bits))
    drawn = np.sort(np.random.default_rng(settings["seed"]).choice(len(rows), wanted, replace=False))
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        native.train(np.ascontiguousarray(rows.gather(drawn)))
    finally:
        faiss.omp_set_num_threads(threads)
    native.nprobe = min(settings["nprobe"], lists)
    return native
