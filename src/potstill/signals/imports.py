"""Vectors that come from outside, an existing index say: taken in once, never computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..progress import warn
from .table import VectorTable, quoted
from .writer import ShardWriter, checked, shard_rows


def identity(id: str) -> str:
    """Name a document or query by its id where its text is not known; look it up as if it were a text."""
    return f"id:{id}"


def import_vectors(table: VectorTable, keys: Sequence[str], vectors: np.ndarray, *, by_id: bool = False) -> int:
    """Put the rows of a matrix into a table; what the table holds already is left as it is.

    A memory-mapped matrix of any size is copied piece by piece. Killed and called again, it goes on. Broken shards are
    made anew from the matrix.

    Args:
        table: its fingerprint should name the file and carry its digest as `revision`.
        keys: (n,) the text of each row, or its id.
        vectors: (n, d) float16, float32 or float64.
        by_id: the keys are ids; each is held as `identity(id)`.

    Returns:
        Number of rows taken in.

    Raises:
        InputError: counts differ, a key comes twice, a vector is not finite or has another width.
    """
    if len(keys) != len(vectors):
        raise InputError(
            f"{len(keys):,} keys for {len(vectors):,} vectors",
            where=table.fingerprint.model,
            fix="give exactly one id or text for each row of the matrix",
        )
    names = [identity(key) for key in keys] if by_id else list(keys)
    position = {name: i for i, name in enumerate(names)}
    if len(position) < len(names):
        again = next(name for i, name in enumerate(names) if position[name] != i)
        raise InputError(
            f"{len(names) - len(position):,} keys come twice; the first is {quoted(again)}",
            where=table.fingerprint.model,
            fix="keep one row for each key",
        )
    table.refresh()
    for error in [*table.broken.values(), *table.check(table.rows(names))]:
        warn(f"{error.where}: {error.reason}; the shard is dropped, its vectors are imported anew")
        table.drop(error.name)
    absent = np.flatnonzero(table.rows(names) < 0)
    if not len(absent):
        return 0
    table.prepare()
    size = shard_rows(table)
    writer = ShardWriter(table, recomputable=False, rows=size)
    for start in range(0, len(absent), size):
        some = absent[start : start + size]
        chosen = [names[i] for i in some]
        writer.add(chosen, checked(table, chosen, np.asarray(vectors[some]), table.fingerprint.model))
    writer.close_shard()
    return len(absent)
