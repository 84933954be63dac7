"""From batches of vectors to whole shards: the checks, the conversion to the store's precision, the cutting."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .table import VectorTable

SHARD_ROWS = 65_536
SHARD_BYTES = 128 * 2**20  # wide vectors get fewer rows a shard
_WORST_ROUNDING = 0.01  # step between numbers, by a vector's largest entry; 0.001 in float16 unless numbers are tiny


def shard_rows(table: VectorTable) -> int:
    """Rows of a full shard of this table."""
    return max(1, min(SHARD_ROWS, SHARD_BYTES // (table.dimensions * table.dtype.itemsize)))


def checked(table: VectorTable, names: Sequence[str], vectors: object, source: str) -> np.ndarray:
    """Vectors in the table's precision, or an error that names the first bad text.

    Args:
        table: where they shall go.
        names: the text or id of each row, for messages.
        vectors: what the source gave, (n, d).
        source: who gave it, for messages.

    Raises:
        InputError: wrong shape, not finite, or beyond the reach of the table's precision.
    """
    wanted = (len(names), table.dimensions)
    shape = getattr(vectors, "shape", None)
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f" or shape != wanted:
        got = f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        first = f"; the first of the {table.unit} is {table.quoted(names[0])}" if names else ""
        raise InputError(
            f"{source} gave {got} where a float array {wanted} was due{first}",
            where=str(table.folder),
            fix=f"check the model's output width and that it gives one {table.row} for each of the {table.unit}",
        )
    peak = np.abs(vectors).max(axis=1)  # not finite where any number of the row is not
    _refuse(table, names, ~np.isfinite(peak), f"{source} gave a {table.row} that is not finite", _NOT_FINITE)
    reach = np.finfo(table.dtype)
    _refuse(table, names, peak > reach.max, f"{source} gave a number too large for {table.dtype}", _WIDER)
    small = (peak > 0) & (peak < reach.smallest_subnormal / _WORST_ROUNDING)
    _refuse(table, names, small, f"{source} gave numbers too small for {table.dtype}", _WIDER)
    return vectors.astype(table.dtype, copy=False)


_NOT_FINITE = "look at what is quoted, and at the model's precision: float16 models overflow where float32 ones do not"
_WIDER = 'keep this source in float32: SignalStore(dtype="float32")'


def _refuse(table: VectorTable, names: Sequence[str], bad: np.ndarray, message: str, fix: str) -> None:
    if bad.any():
        first, count = table.quoted(names[int(np.argmax(bad))]), int(bad.sum())
        raise InputError(f"{message} for {first} ({count} such {table.unit})", where=str(table.folder), fix=fix)


class ShardWriter:
    """Collects rows and closes a shard when it is full or old enough, so that a crash costs little.

    Args:
        table: gets the shards.
        recomputable: whether the vectors could be made again.
        rows: rows of a full shard; None: by the table's width.
        seconds: a shard is closed this long after its first row at the latest.
    """

    def __init__(
        self, table: VectorTable, *, recomputable: bool, rows: int | None = None, seconds: float = float("inf")
    ) -> None:
        self.table, self.recomputable, self.seconds = table, recomputable, seconds
        self.limit = rows or shard_rows(table)
        self.written = 0
        self._keys: list[np.ndarray] = []
        self._vectors: list[np.ndarray] = []
        self._held = 0
        self._since = 0.0

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Take in checked rows: distinct keys (2, n) that the table does not hold, vectors (n, d)."""
        if not self._held:
            self._since = time.monotonic()
        self._keys.append(keys)
        self._vectors.append(vectors)
        self._held += len(vectors)
        if self._held >= self.limit or time.monotonic() - self._since >= self.seconds:
            self.close_shard()

    def close_shard(self) -> None:
        """Write what is held as one shard."""
        if not self._held:
            return
        keys, vectors = np.concatenate(self._keys, axis=1), np.concatenate(self._vectors)
        self._keys, self._vectors, self._held = [], [], 0
        self.table.append(keys, vectors, recomputable=self.recomputable)
        self.written += 1
