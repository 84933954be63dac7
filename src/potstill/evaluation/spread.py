"""How documents' vectors are spread: their covariance, and the few directions that hold most of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .search import Documents, Metric

_BLOCK = 8192


@dataclass(frozen=True)
class Spread:
    """Covariance of `m` document vectors around their mean, by direction.

    Attributes:
        documents: `m`.
        longest: length of the longest vector.
        variances: `(d,)` float64 eigenvalues of the covariance, largest first, none below 0.
        directions: `(d, d)` float64, the unit eigenvectors as columns, in that order.
    """

    documents: int
    longest: float
    variances: np.ndarray
    directions: np.ndarray

    def leading(self, share: float = 0.9) -> int:
        """Count the directions, largest variance first, that hold a `share` of the variance together."""
        held = np.cumsum(self.variances)
        return int(np.searchsorted(held, share * held[-1] * (1 - 1e-12))) + 1

    @property
    def flat(self) -> bool:
        """Whether there is no variance to speak of: one document, or copies of one."""
        return bool(self.variances.sum() <= 1e-10 * self.longest**2)


def document_spread(documents: Documents, metric: Metric = "dot") -> Spread:
    """Read documents once and give their spread; memory for one block of them and two `(d, d)` matrices.

    With metric "cosine" vectors are scaled to length 1 first, as the search does. The chunks in which the documents
    come change nothing.
    """
    count, longest, unit = 0, 0.0, 1.0
    shift, total, products = np.empty(0), np.empty(0), np.empty((0, 0))
    for block in _blocks(documents):
        vectors = scaled(block, metric)
        longest = max(longest, float(np.linalg.norm(vectors, axis=1).max()))
        if count == 0:
            width = vectors.shape[1]
            # Sums around a point near the mean lose no digits to it.
            shift, total, products = vectors.mean(axis=0), np.zeros(width), np.zeros((width, width))
            unit = longest or 1.0  # float32 has room for the squares of numbers about 1
        moved = (vectors - shift) / unit
        total += moved.sum(axis=0)
        single = moved.astype(np.float32)
        products += single.T @ single
        count += len(vectors)
    if count == 0:
        raise ValueError("there are no documents")
    mean = total / count
    variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
    return Spread(count, longest, np.maximum(variances[::-1], 0.0) * unit**2, directions[:, ::-1])


def scaled(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """Give `(n, d)` vectors in float64, at length 1 where `metric` is "cosine" (a zero vector stays one)."""
    vectors = np.asarray(vectors, dtype=np.float64)
    if metric == "dot":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _blocks(documents: Documents) -> Iterator[np.ndarray]:
    """Blocks of one size, whatever the chunks: sums must not depend on those."""
    held: list[np.ndarray] = []
    count = 0
    for part in [documents] if isinstance(documents, np.ndarray) else documents:
        for start in range(0, len(part), _BLOCK):
            piece = part[start : start + _BLOCK]
            held.append(piece)
            count += len(piece)
            if count >= _BLOCK:
                whole = np.concatenate(held)
                yield whole[:_BLOCK]
                held, count = [whole[_BLOCK:]], count - _BLOCK
    if count:
        yield np.concatenate(held)
