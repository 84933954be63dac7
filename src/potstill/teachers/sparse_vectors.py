"""Sparse vectors in memory: their inner product, and a cache of bounded size."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ..recipe import Role
from ..texts import digest

Sparse = tuple[np.ndarray, np.ndarray]
"""Indices (k,) int32, ascending, and values (k,) float32."""

_ENTRY_BYTES = 300  # what an entry of the cache takes beside its numbers


class VectorCache:
    """Sparse vectors by role and text, up to so many bytes; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._held: OrderedDict[tuple[Role, bytes], Sparse] = OrderedDict()

    def get(self, role: Role, text: str) -> Sparse | None:
        """The vector of a text in its role, if it is held."""
        key = (role, digest(text))
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, role: Role, text: str, vector: Sparse) -> None:
        """Hold a vector that is not held yet."""
        self._held[role, digest(text)] = vector
        self._bytes += _size(vector)
        while self._bytes > self._limit:
            self._bytes -= _size(self._held.popitem(last=False)[1])


def _size(vector: Sparse) -> int:
    return _ENTRY_BYTES + vector[0].nbytes + vector[1].nbytes


def inner(one: Sparse, other: Sparse) -> np.float32:
    """Inner product of two sparse vectors with sorted indices."""
    (indices, values), (sought, weights) = one, other
    if not len(indices):
        return np.float32(0)
    at = np.minimum(np.searchsorted(indices, sought), len(indices) - 1)
    shared = indices[at] == sought
    return np.float32(values[at[shared]] @ weights[shared])
