"""From vectors and ids to an index in a folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing_folder, write_json
from ..candidates.approximate import require_faiss
from ..errors import InputError
from ..evaluation import Rows
from ..progress import meter, warn
from ..version import __version__
from .faiss_index import FILE, build_faiss
from .files import ABOUT, FORMAT, IDS, VECTORS, digest, write_ids
from .index import IndexMetric, held_rows, unit
from .lance_index import FOLDER, build_lance, require_lancedb
from .settings import settled


def build_index(
    out: Path,
    ids: Sequence[str],
    vectors: Rows,
    *,
    kind: str = "exact",
    metric: IndexMetric = "cosine",
    settings: Sequence[str] | Mapping[str, Any] = (),
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build an index and write it to a folder that Potstill, and the library behind it, can open.

    An index of cosines keeps vectors at unit length and compares inner products. A zero vector has no direction: it is
    kept, counted and told. Beside a lossy index (IVF-PQ) the vectors are kept in full, as the truth to measure it by.

    Args:
        out: the folder; one that holds an index is replaced, any other that is not empty is refused.
        ids: an id a vector, none twice.
        vectors: the vectors, in the order of the ids; gathered chunk by chunk.
        kind: one of `KINDS`.
        metric: `dot`, `cosine` or `l2`.
        settings: see `settled`.
        about: more for `index.json`: the teacher, the collection.

    Returns:
        What `index.json` says.

    Raises:
        InputError: ids repeated or of another number, vectors that are not finite, wrong settings, a folder in use.
        MissingExtra: faiss or LanceDB is not installed.
    """
    check_ids(ids, len(vectors), str(out))
    dimensions = int(vectors.gather(np.arange(1)).shape[1])
    values, versions = check_plan(out, kind, metric, settings, len(ids), dimensions)
    with replacing_folder(out) as folder:
        held = np.lib.format.open_memmap(folder / VECTORS, mode="w+", dtype=np.float32, shape=(len(ids), dimensions))
        zeros, start = 0, 0
        for chunk in _prepared(vectors, ids, metric, str(out)):
            held[start : start + len(chunk)] = chunk
            zeros += int((~chunk.any(axis=1)).sum())
            start += len(chunk)
        held.flush()
        if zeros:
            warn(f"{zeros:,} of {len(ids):,} vectors are all zero: no query finds them for what they say")
        write_ids(folder / IDS, ids)
        rows = held_rows(held)
        if kind.startswith("faiss"):
            native = build_faiss(rows, dimensions, kind, metric, values)
            require_faiss().write_index(native, str(folder / FILE))
        elif kind == "lancedb":
            build_lance(folder / FOLDER, ids, rows, dimensions, metric, values)
        if kind not in ("exact", "faiss-ivfpq"):
            (folder / VECTORS).unlink()  # the library holds them in full
        record = {
            "format": FORMAT,
            "kind": kind,
            "metric": metric,
            "dimensions": dimensions,
            "count": len(ids),
            "zero_vectors": zeros,
            "settings": values,
            **(about or {}),
            "versions": versions,
            "digest": digest(folder),
        }
        write_json(folder / ABOUT, record)
    return record


def check_plan(
    out: Path,
    kind: str,
    metric: str,
    settings: Sequence[str] | Mapping[str, Any],
    count: int,
    dimensions: int,
) -> tuple[dict[str, int | str | None], dict[str, str]]:
    """All that can be known before there are vectors: the settings in full, and the versions that build the index.

    Raises:
        InputError: wrong settings, or a folder in use.
        MissingExtra: faiss or LanceDB is not installed.
    """
    if out.exists() and not (out / ABOUT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("this is there already, and no index", where=str(out), fix="give another --out")
    if metric not in ("dot", "cosine", "l2"):
        raise InputError(f"there is no metric {metric!r}", where="--metric", fix="choose dot, cosine or l2")
    values = settled(kind, settings, count, dimensions)
    versions = {"potstill": __version__}
    if kind.startswith("faiss"):
        versions["faiss"] = require_faiss().__version__
    elif kind == "lancedb":
        versions["lancedb"] = require_lancedb().__version__
    return values, versions


def check_ids(ids: Sequence[str], vectors: int, where: str) -> None:
    """Refuse ids of another number than vectors, none at all, or the same id twice.

    Raises:
        InputError: see above.
    """
    if len(ids) != vectors:
        raise InputError(f"{len(ids):,} ids for {vectors:,} vectors", where=where, fix="give one id for each vector")
    if not vectors:
        raise InputError("there are no vectors", where=where, fix="give at least one document")
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name in first:
            raise InputError(
                f"id {name!r} is given twice, in rows {first[name]} and {row}",
                where=where,
                fix="keep one vector for each id",
            )
        first[name] = row


def _prepared(vectors: Rows, ids: Sequence[str], metric: IndexMetric, where: str) -> Iterator[np.ndarray]:
    start = 0
    with meter("index: vectors", total=len(ids), unit="vectors") as shown:
        for chunk in vectors:
            bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
            if len(bad):
                raise InputError(
                    f"the vector of id {ids[start + int(bad[0])]!r} has numbers that are not finite"
                    + (f", and {len(bad) - 1} more near it" if len(bad) > 1 else ""),
                    where=where,
                    fix="encode that document again",
                )
            yield unit(chunk) if metric == "cosine" else chunk
            start += len(chunk)
            shown.advance(len(chunk))
