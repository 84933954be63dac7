"""`open_index`: whatever holds vectors, as an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..candidates.approximate import require_faiss
from ..errors import InputError
from ..evaluation import Rows
from ..teachers.precomputed import PrecomputedIndex
from ..teachers.vector_files import ids_beside, read_id_file
from .building import check_ids
from .exact import ExactIndex
from .faiss_index import FILE, FaissIndex, open_faiss
from .files import ABOUT, IDS, VECTORS, read_about, read_ids
from .index import Index, IndexMetric, held_rows
from .lance_index import FOLDER, TABLE, LanceIndex

_FILES = (".npy", ".safetensors", ".parquet")
_UNIT = 5e-3  # float16 rounds the length of a unit vector by less


def open_index(
    path: str | Path,
    *,
    ids: str | Path | None = None,
    metric: IndexMetric | None = None,
    fallback: IndexMetric | None = None,
    verify: bool = True,
) -> Index:
    """Open an index: a folder that Potstill built, a file of faiss, a table of LanceDB, or a file of vectors.

    Args:
        path: the folder of a built index; `NAME.npy`, `.safetensors` or `.parquet`; `DATABASE/TABLE.lance` or
            `DATABASE/TABLE`; any other file is taken for one of faiss.
        ids: a text file (one id a line) or a JSON list; None: beside the file. Parquet, LanceDB and built folders have
            their own.
        metric: how vectors are compared, where the index does not say; vectors of unit length need none.
        fallback: the metric where neither the index nor `metric` says one.
        verify: whether the files of a built folder are compared with their digest.

    Raises:
        InputError: there is no such index; it is malformed or has changed; ids are missing, repeated or of another
            number; the metric is unknown or another; vectors are not finite.
        MissingExtra: faiss or LanceDB is not installed.
    """
    path = Path(path).expanduser()
    own = (path / ABOUT).is_file() or _is_table(path)
    if own and ids is not None:
        raise InputError("this index has ids of its own", where=str(ids), fix="leave the ids out")
    if (path / ABOUT).is_file():
        index = _built(path, verify)
        if metric is not None and metric != index.metric:
            raise InputError(
                f"the index compares by {index.metric}, not by {metric}", where=str(path), fix="leave --metric out"
            )
    elif path.suffix in _FILES:
        index = _file(path, None if ids is None else Path(ids), metric or fallback)
    elif _is_table(path):
        index = _table(path, metric, fallback)
    elif path.is_file():
        index = open_faiss(path, _ids_of(path, ids), metric)
    else:
        raise InputError(
            "there is no index here" if path.is_dir() else "there is no such file or folder",
            where=str(path),
            fix="give a folder that `potstill index build` wrote, a file of faiss, DATABASE/TABLE.lance, or a file of"
            " vectors (.npy, .safetensors, .parquet)",
        )
    check_ids(index.ids, len(index), str(path))
    return index


def _built(folder: Path, verify: bool) -> Index:
    about = read_about(folder, verify)
    kind, metric = about["kind"], about["metric"]
    if kind == "lancedb":
        return LanceIndex(folder / FOLDER / f"{TABLE}.lance", metric, at=folder, about=about)
    ids = read_ids(folder / IDS)
    held = np.load(folder / VECTORS, mmap_mode="r") if (folder / VECTORS).is_file() else None
    if kind.startswith("faiss"):
        native = require_faiss().read_index(str(folder / FILE))
        return FaissIndex(native, ids, folder, metric=metric, kind=kind, whole=held, about=about)
    if held is None:
        raise InputError("the index lacks its vectors", where=str(folder / VECTORS), fix="build it again")
    return ExactIndex(held_rows(held), ids, int(about["dimensions"]), metric, folder, about)


def _file(path: Path, ids: Path | None, metric: IndexMetric | None) -> Index:
    found = PrecomputedIndex(path, ids)
    rows = Rows(found, np.arange(len(found)))
    return ExactIndex(rows, found.ids, found.dimensions, _known(metric, found.unit, path), path)


def _table(path: Path, metric: IndexMetric | None, fallback: IndexMetric | None) -> Index:
    index = LanceIndex(path, metric)
    for chunk in index.vectors():
        if not np.isfinite(chunk).all():
            raise InputError("some vectors have numbers that are not finite", where=str(path), fix="encode them again")
    if index.stated is None:
        lengths = np.concatenate([np.linalg.norm(chunk, axis=1) for chunk in index.vectors()] or [np.ones(1)])
        index.metric = _known(fallback, bool((np.abs(lengths - 1) < _UNIT).all()), path)
    return index


def _is_table(path: Path) -> bool:
    return path.suffix == ".lance" or (path.parent / f"{path.name}.lance").is_dir()


def _known(metric: IndexMetric | None, unit: bool, path: Path) -> IndexMetric:
    if metric is None and not unit:
        raise InputError(
            "nothing says how these vectors are compared, and they are not of unit length",
            where=str(path),
            fix="say so with --metric dot, cosine or l2",
        )
    return metric or "dot"


def _ids_of(path: Path, ids: str | Path | None) -> list[str] | None:
    """Ids that are named, or lie beside a file of faiss; None where there are none."""
    if ids is not None:
        return read_id_file(Path(ids).expanduser())
    try:
        beside = ids_beside(path)
    except InputError:
        return None
    return read_id_file(beside)
