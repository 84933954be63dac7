"""What was made of texts, kept in memory up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import numpy as np

from ..recipe import Role
from ..texts import digest

_ENTRY_BYTES = 300  # what an entry takes beside its numbers

Arrays = TypeVar("Arrays", bound=tuple[np.ndarray, ...])


class VectorCache(Generic[Arrays]):
    """Arrays by role and text, up to so many bytes; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._held: OrderedDict[tuple[Role, bytes], Arrays] = OrderedDict()

    def get(self, role: Role, text: str) -> Arrays | None:
        """What is held of a text in its role, if anything is."""
        key = (role, digest(text))
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, role: Role, text: str, arrays: Arrays) -> None:
        """Hold arrays of a text of which none are held yet."""
        self._held[role, digest(text)] = arrays
        self._bytes += _size(arrays)
        while self._bytes > self._limit:
            self._bytes -= _size(self._held.popitem(last=False)[1])

    def clear(self) -> None:
        """Hold nothing any more."""
        self._held.clear()
        self._bytes = 0


def _size(arrays: tuple[np.ndarray, ...]) -> int:
    return _ENTRY_BYTES + sum(array.nbytes for array in arrays)
