"""Sparse vectors in memory, and their inner product."""

from __future__ import annotations

import numpy as np

Sparse = tuple[np.ndarray, np.ndarray]
"""Indices (k,) int32, ascending, and values (k,) float32."""


def inner(one: Sparse, other: Sparse) -> np.float32:
    """Inner product of two sparse vectors with sorted indices."""
    (indices, values), (sought, weights) = one, other
    if not len(indices):
        return np.float32(0)
    at = np.minimum(np.searchsorted(indices, sought), len(indices) - 1)
    shared = indices[at] == sought
    return np.float32(values[at[shared]] @ weights[shared])
