"""Vectors that come from outside, an existing index say: taken in once, never computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..progress import warn
from .keys import sorted_order, text_keys
from .pairs import quoted
from .table import VectorTable
from .writer import ShardWriter, checked

_PIECE = 4096  # rows checked and converted at a time


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
    origin = table.fingerprint.model
    if len(keys) != len(vectors):
        raise InputError(
            f"{len(keys):,} keys for {len(vectors):,} vectors",
            where=origin,
            fix="give exactly one id or text for each row of the matrix",
        )
    words = text_keys(map(identity, keys) if by_id else keys)
    _refuse_repetition(words, keys, origin)
    table.refresh()
    for error in [*table.broken.values(), *table.check(table.rows_of_keys(words))]:
        warn(f"{error.where}: {error.reason}; the shard is dropped, its vectors are imported anew")
        table.drop(error.name)
    absent = np.flatnonzero(table.rows_of_keys(words) < 0)
    if not len(absent):
        return 0
    table.prepare()
    writer = ShardWriter(table, recomputable=False)
    for start in range(0, len(absent), _PIECE):
        some = absent[start : start + _PIECE]
        piece = checked(table, [keys[i] for i in some], np.asarray(vectors[some]), origin)
        writer.add(words[:, some], piece)
    writer.close_shard()
    return len(absent)


def _refuse_repetition(words: np.ndarray, keys: Sequence[str], origin: str) -> None:
    order = sorted_order(words)
    ranked = words[:, order]
    again = np.flatnonzero((ranked[:, 1:] == ranked[:, :-1]).all(axis=0)) + 1
    if len(again):
        first = quoted(keys[int(order[again].min())])
        raise InputError(
            f"{len(again):,} keys come twice; the first is {first}", where=origin, fix="keep one row for each key"
        )
