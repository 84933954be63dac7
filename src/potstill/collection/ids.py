"""Document ids in order, held in a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Ids(Sequence[str]):
    """A sequence of ids with look-up by id: one run of UTF-8 bytes, an offset and a hash each.

    32 bytes beside the id's own text, a quarter of what a list and a dictionary take. Hashes only find candidates; the
    ids themselves decide, so that a collision does no harm.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        self._hashes = array("q")
        self._order: np.ndarray | None = None
        self._sorted: np.ndarray | None = None
        for name in ids:
            self.append(name)

    def append(self, name: str) -> None:
        """Add an id at the end."""
        self._bytes += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))
        self._hashes.append(hash(name))
        self._order = self._sorted = None

    def __len__(self) -> int:
        return len(self._hashes)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} ids")
        return self._bytes[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.rows([name])[0] >= 0)

    def __repr__(self) -> str:
        return f"Ids({len(self):,})"

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers (n,) int64 of the ids, -1 where there is none."""
        order, hashes = self._index()
        wanted = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
        first = np.searchsorted(hashes, wanted, side="left")
        after = np.searchsorted(hashes, wanted, side="right")
        rows = np.full(len(ids), -1, dtype=np.int64)
        for i in np.flatnonzero(after > first).tolist():
            for row in order[first[i] : after[i]].tolist():
                if self[row] == ids[i]:
                    rows[i] = row
                    break
        return rows

    def first_repeat(self) -> tuple[int, int] | None:
        """The earliest row whose id an earlier row has too, as (earlier row, row); None where all are distinct."""
        order, hashes = self._index()
        suspects = np.flatnonzero(hashes[1:] == hashes[:-1])
        seen: dict[str, int] = {}
        for row in np.unique(order[np.concatenate([suspects, suspects + 1])]).tolist():
            earlier = seen.setdefault(self[row], row)
            if earlier != row:
                return earlier, row
        return None

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        if self._order is None or self._sorted is None:
            hashes = np.array(self._hashes, dtype=np.int64)
            self._order = np.argsort(hashes, kind="stable")
            self._sorted = hashes[self._order]
        return self._order, self._sorted
