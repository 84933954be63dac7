"""Vectors of documents as mining reads them: by row, or chunk by chunk, never all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np

Metric = Literal["dot", "cosine"]
Gather = Callable[[np.ndarray], np.ndarray]
"""(m,) rows of documents -> (m, d) float32 vectors of them."""

_DOCUMENTS_AT_ONCE = 8192


class StoredVectors(Protocol):
    """Vectors of documents that are read as they are needed."""

    def __len__(self) -> int:
        """How many documents."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(m, d) float32 vectors of these rows."""


Vectors = np.ndarray | StoredVectors


def gatherer(documents: Vectors) -> Gather:
    """What gives the vectors of rows."""
    if isinstance(documents, np.ndarray):
        matrix = documents
        return lambda rows: matrix[rows]
    return documents.gather


def in_chunks(documents: Vectors) -> Iterator[np.ndarray]:
    """All vectors in order, chunk by chunk."""
    gather = gatherer(documents)
    for start in range(0, len(documents), _DOCUMENTS_AT_ONCE):
        yield gather(np.arange(start, min(start + _DOCUMENTS_AT_ONCE, len(documents))))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; one of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0).astype(np.float32)
