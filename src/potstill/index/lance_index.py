"""Tables of LanceDB, the embedded vector database: built here, or the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from ..evaluation import Ranking, Rows
from .index import EffortName, IndexMetric, checked_queries, held_rows, ranked

FOLDER, TABLE = "lancedb", "vectors"
_IDS = ("id", "_id", "doc_id", "document_id")
_NPROBE = 20  # what LanceDB looks at unless told otherwise


def require_lancedb() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import lancedb
        import pyarrow  # noqa: F401 - LanceDB cannot do without
    except ImportError:
        raise MissingExtra("lancedb", "lancedb") from None
    return lancedb


class LanceIndex:
    """A table of LanceDB; see `Index`. Its vectors are kept in full, whatever index is built on them.

    Args:
        path: `DATABASE/TABLE.lance`, or `DATABASE/TABLE`.
        metric: how vectors are compared; None: as the table's own index says.
        at: the folder to name instead of the table's.
        about: what `index.json` says.

    Raises:
        MissingExtra: LanceDB is not installed.
        InputError: no such table; no column of vectors or of ids; null, repeated or unequal values; another metric.
    """

    kind = "lancedb"
    lossy = False

    def __init__(
        self,
        path: Path,
        metric: IndexMetric | None = None,
        *,
        at: Path | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        lancedb = require_lancedb()
        self.path, self.about = at or path, about or {}
        try:
            self._table = lancedb.connect(str(path.parent)).open_table(path.name.removesuffix(".lance"))
        except (ValueError, OSError, RuntimeError) as error:
            raise InputError(
                f"LanceDB cannot open this table: {str(error).splitlines()[0]}",
                where=str(path),
                fix="give DATABASE/TABLE.lance",
            ) from None
        self._vector, self._id = _columns(self._table.schema, path)
        held = self._table.to_arrow()
        ids, vectors = held.column(self._id).combine_chunks(), held.column(self._vector).combine_chunks()
        if ids.null_count or vectors.null_count:
            raise InputError(
                f"{ids.null_count + vectors.null_count:,} ids or vectors are null",
                where=str(path),
                fix="remove these rows, or fill them",
            )
        self.ids: Sequence[str] = [str(value) for value in ids.to_pylist()]
        self.dimensions = int(vectors.type.list_size)
        self._array = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.dimensions).astype(np.float32)
        self._row = {name: row for row, name in enumerate(self.ids)}
        self.effort_name: EffortName = "none"
        self.effort: int | None = None
        self.most: int | None = None
        said = self._own_index()
        if metric is not None and said is not None and said != metric:
            raise InputError(
                f"the table's index compares by {said}, not by {metric}", where=str(path), fix="leave --metric out"
            )
        self.stated: IndexMetric | None = said or metric
        self.metric: IndexMetric = self.stated or "cosine"

    def _own_index(self) -> IndexMetric | None:
        """The metric of the index on the vectors, where there is one; sets the effort."""
        for made in self._table.list_indices():
            if list(made.columns) == [self._vector]:
                stats = self._table.index_stats(made.name)
                self.effort_name = "nprobe"
                self.effort = int(self.about.get("settings", {}).get("nprobe", _NPROBE))
                self.most = self.about.get("settings", {}).get("nlist")
                names: dict[str, IndexMetric] = {"dot": "dot", "cosine": "cosine", "l2": "l2"}
                return names.get(str(stats.distance_type).lower())
        return None

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self) -> Rows:
        """The vectors by row."""
        return held_rows(self._array)

    def search(self, queries: np.ndarray, k: int, effort: int | None = None) -> Ranking:
        """The about `k` best: by the table's own index, or exhaustively where it has none."""
        queries = checked_queries(self, queries, k, effort)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        chosen = effort or self.effort
        for place, query in enumerate(queries):
            asked = self._table.search(query, vector_column_name=self._vector).distance_type(self.metric).limit(k)
            if chosen is not None:
                asked = asked.nprobes(chosen)
            found = asked.select([self._id, "_distance"]).to_arrow()
            names = [str(value) for value in found.column(self._id).to_pylist()]
            away = found.column("_distance").to_numpy()
            rows[place, : len(names)] = [self._row[name] for name in names]
            scores[place, : len(names)] = -away if self.metric == "l2" else 1.0 - away
        return ranked(rows, scores, k, len(self))


def build_lance(
    folder: Path, ids: Sequence[str], rows: Rows, dimensions: int, metric: IndexMetric, settings: Mapping[str, Any]
) -> None:
    """Write a database with one table, `vectors`, and the index that the settings ask for."""
    lancedb = require_lancedb()
    import pyarrow as arrow

    schema = arrow.schema([("id", arrow.string()), ("vector", arrow.list_(arrow.float32(), dimensions))])

    def batches() -> Iterator[Any]:
        start = 0
        for chunk in rows:
            names = arrow.array(list(ids[start : start + len(chunk)]), arrow.string())
            flat = arrow.array(np.ascontiguousarray(chunk).reshape(-1))
            yield arrow.RecordBatch.from_arrays(
                [names, arrow.FixedSizeListArray.from_arrays(flat, dimensions)], schema=schema
            )
            start += len(chunk)

    table = lancedb.connect(str(folder)).create_table(TABLE, data=batches(), schema=schema)
    if settings["index"] == "none":
        return
    from lancedb.index import IvfFlat, IvfPq

    shared = {"distance_type": metric, "num_partitions": settings["nlist"]}
    if settings["index"] == "ivf-flat":
        config: Any = IvfFlat(**shared)
    else:
        config = IvfPq(**shared, num_sub_vectors=settings["m_pq"], num_bits=settings["bits"])
    table.create_index("vector", config=config)


def _columns(schema: Any, path: Path) -> tuple[str, str]:
    """Names of the columns of vectors and of ids."""
    import pyarrow as arrow

    listed = [
        field.name
        for field in schema
        if arrow.types.is_fixed_size_list(field.type) and arrow.types.is_floating(field.type.value_type)
    ]
    if len(listed) != 1 and "vector" not in listed:
        raise InputError(
            f"{len(listed)} columns hold vectors of floats{': ' if listed else ''}{', '.join(listed)}",
            where=str(path),
            fix="call the one to search `vector`",
        )
    words = [field.name for field in schema if arrow.types.is_string(field.type) or arrow.types.is_integer(field.type)]
    known = [name for name in _IDS if name in words]
    if not known and len(words) != 1:
        raise InputError(
            f"no column is known to hold ids; the columns are {', '.join(schema.names)}",
            where=str(path),
            fix="call the column of ids `id`",
        )
    return ("vector" if "vector" in listed else listed[0]), (known or words)[0]
