"""Exact nearest documents of many queries in bounded memory; equal scores go to the lower row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import torch

_LOW = 0xFFFFFFFF
_NONE = -(1 << 63)


def nearest(
    queries: np.ndarray,
    documents: np.ndarray | Iterable[np.ndarray],
    k: int,
    *,
    metric: Literal["dot", "cosine"] = "dot",
    exclude: Sequence[np.ndarray] | None = None,
    queries_at_once: int = 256,
    documents_at_once: int = 8192,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` best documents of every query.

    Args:
        queries: (n, d) vectors.
        documents: (m, d) vectors, a memory map too, or consecutive chunks of them; looked at once, in order.
        k: documents a query.
        metric: inner product, or cosine (both sides are normalised here).
        exclude: for each query, rows that must not be found (known positives).
        queries_at_once: with `documents_at_once` bounds the memory: about 30 bytes times their product. Blocks much
            larger than these are slower: the system gives and takes their memory anew each time.
        documents_at_once: see above.

    Returns:
        (n, k) int64 rows and (n, k) float32 scores, best first; -1 and -inf where there are fewer than `k`.

    Raises:
        InputError: vectors that are not finite or of another width.
    """
    import torch

    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if exclude is not None and len(exclude) != len(queries):
        raise ValueError(f"exclude names rows for {len(exclude)} queries, but there are {len(queries)}")
    wanted = _tensor(queries, metric, "queries")
    best = torch.full((len(queries), k), _NONE, dtype=torch.int64)
    left_out = _Pairs(exclude)
    start = 0
    for block in _blocks(documents, documents_at_once):
        found = _tensor(block, metric, f"documents from row {start}")
        if found.shape[1] != wanted.shape[1]:
            raise InputError(
                f"documents have {found.shape[1]} dimensions, queries {wanted.shape[1]}",
                where="mining",
                fix="use one teacher for both",
            )
        for first in range(0, len(queries), queries_at_once):
            part = slice(first, first + queries_at_once)
            scores = wanted[part] @ found.T
            query, row = left_out.within(first, first + queries_at_once, start, start + len(block))
            keys = sort_keys(scores, start)
            keys[query, row] = _NONE
            best[part] = torch.cat([best[part], keys], dim=1).topk(k, dim=1).values
        start += len(block)
    return from_sort_keys(best)


def sort_keys(scores: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """(n, m) int64 keys in the order of the float32 scores, and of falling row numbers where these are equal."""
    import torch

    # Adding 0 makes -0.0 the +0.0 it equals.
    bits = (scores.float() + 0.0).view(torch.int32)
    # In place: the time goes into memory, not into arithmetic.
    ordered = (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)
    rows = torch.arange(first_row, first_row + scores.shape[1], dtype=torch.int64)
    return ordered.to(torch.int64).bitwise_left_shift_(32).bitwise_or_(_LOW - rows)


def from_sort_keys(keys: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of (n, k) keys; -1 and -inf for a key that stands for nothing."""
    import torch

    ordered = (keys >> 32).to(torch.int32)
    scores = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    nothing = keys == _NONE
    rows = (_LOW - (keys & _LOW)).masked_fill(nothing, -1)
    return rows.numpy(), scores.masked_fill(nothing, float("-inf")).numpy()


class _Pairs:
    """(query, row) pairs sorted by row, so that those of one block are found at once."""

    def __init__(self, rows: Sequence[np.ndarray] | None) -> None:
        rows = [] if rows is None else rows
        query = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        row = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(query))
        order = np.argsort(row, kind="stable")
        self.query, self.row = query[order], row[order]

    def within(self, first: int, last: int, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions, inside the block, of the pairs of queries first..last and rows start..stop."""
        import torch

        low, high = np.searchsorted(self.row, (start, stop))
        query, row = self.query[low:high], self.row[low:high]
        here = (query >= first) & (query < last)
        return torch.from_numpy(query[here] - first), torch.from_numpy(row[here] - start)


def _blocks(documents: np.ndarray | Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    for chunk in [documents] if isinstance(documents, np.ndarray) else documents:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def _tensor(vectors: np.ndarray, metric: str, name: str) -> torch.Tensor:
    import torch

    if vectors.ndim != 2:
        raise InputError(f"{name} must be vectors (n, d), not {vectors.shape}", where="mining", fix="give a matrix")
    matrix = torch.from_numpy(np.array(vectors, dtype=np.float32))
    if not bool(matrix.isfinite().all()):
        raise InputError(f"{name}: NaN or infinite vectors", where="mining", fix="make the teacher's vectors anew")
    return torch.nn.functional.normalize(matrix, dim=1) if metric == "cosine" else matrix
