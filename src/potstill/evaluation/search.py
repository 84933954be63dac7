"""Exact search: every query against every document, in bounded memory, with a ranking that depends on nothing else.

A float32 matrix product gives slightly different last bits for different block shapes and thread counts, which is
enough to swap two near-equal documents. Here it only proposes: every document that could be among the best `k` within
the product's rounding error is scored again in float64, one pair at a time, and that score alone decides. So a ranking
is the same whatever the chunk sizes, the number of threads or the BLAS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import InputError

Metric = Literal["dot", "cosine"]
Documents = np.ndarray | Iterable[np.ndarray]

_FLOAT32_ROUNDING = 2.0**-24  # largest relative rounding error of one operation
_FLOAT32_SMALLEST = 2.0**-126
_FLOAT32_LARGEST = 2.0**126
_RESCORED_VALUES = 4_000_000  # numbers per side held while pairs are scored again: 32 MB of float64


@dataclass(frozen=True)
class Ranking:
    """The best documents of `n` queries, best first.

    Attributes:
        rows: `(n, k)` int64 row numbers of documents; -1 where there were fewer than `k`.
        scores: `(n, k)` float32; -inf where there were fewer than `k`.
        documents: how many documents were searched.
    """

    rows: np.ndarray
    scores: np.ndarray
    documents: int

    def __len__(self) -> int:
        return len(self.rows)

    def run(
        self, query_ids: Sequence[str], document_ids: Sequence[str], depth: int | None = None
    ) -> dict[str, list[tuple[str, float]]]:
        """Give the ranking by ids: query id -> (document id, score), best first.

        Args:
            query_ids: `n` ids, in the order of the queries.
            document_ids: ids in the order of the documents.
            depth: how many documents of each query; None for all.
        """
        rows, scores = self.rows[:, :depth].tolist(), self.scores[:, :depth].tolist()
        return {
            query_id: [(document_ids[row], score) for row, score in zip(*ranked, strict=True) if row >= 0]
            for query_id, *ranked in zip(query_ids, rows, scores, strict=True)
        }

    def take(self, queries: np.ndarray) -> Ranking:
        """Give the rankings of some queries, by their row numbers."""
        return Ranking(self.rows[queries], self.scores[queries], self.documents)

    def top(self, k: int) -> Ranking:
        """Give the first `k` documents of each query: what a search `k` deep would have found."""
        return Ranking(self.rows[:, :k], self.scores[:, :k], self.documents)


class Rows:
    """Documents that are gathered chunk by chunk from a table, as often as they are searched.

    Args:
        table: anything with `gather(row numbers) -> (n, d)` float32, such as a signal store's `VectorTable`.
        rows: `(n,)` int64, the table's row of each document, in the collection's order.
        chunk: documents gathered at a time.
    """

    def __init__(self, table: Any, rows: np.ndarray, chunk: int = 8192) -> None:
        self.table, self.rows, self.chunk = table, rows, chunk

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows), self.chunk):
            yield self.table.gather(self.rows[start : start + self.chunk])

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Give `(r, d)` vectors of documents by their row numbers in the collection's order."""
        return np.asarray(self.table.gather(self.rows[rows]), dtype=np.float32)


def exact_search(
    queries: np.ndarray,
    documents: Documents,
    k: int,
    *,
    metric: Metric = "dot",
    exclude: Sequence[np.ndarray] | None = None,
    only: Sequence[np.ndarray] | None = None,
    query_chunk: int = 512,
    document_chunk: int = 8192,
) -> Ranking:
    """Find each query's `k` best documents among all of them.

    Scores are inner products (or cosines; a zero vector's cosine is 0) computed in float64 and rounded to float32; of
    equal scores the lower row number comes first. Neither depends on the chunk sizes, which only bound the memory:
    about `query_chunk * document_chunk * 9` bytes beside the result.

    Args:
        queries: `(n, d)` float32.
        documents: `(m, d)` float32, or an iterable of such chunks in row order (read once).
        k: how many documents to rank.
        metric: "dot" or "cosine".
        exclude: per query, the row numbers to leave out.
        only: per query, the row numbers to rank (a re-ranking set's candidates); None for all.
        query_chunk: queries compared at a time.
        document_chunk: documents compared at a time.

    Raises:
        InputError: widths differ, or a vector has a number that is not finite; names its row.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2:
        raise ValueError(f"queries must be a matrix (n, d), not of shape {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if metric not in ("dot", "cosine"):
        raise ValueError(f"metric must be dot or cosine, not {metric!r}")
    for name, pairs in (("exclude", exclude), ("only", only)):
        if pairs is not None and len(pairs) != len(queries):
            raise ValueError(f"{name} has {len(pairs)} entries for {len(queries)} queries")
    _check_finite(queries, "query", 0)
    left_out, let_in = _sorted_pairs(exclude), None if only is None else _sorted_pairs(only)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    blocks = [
        (slice(start, start + query_chunk), _Block(queries[start : start + query_chunk], metric))
        for start in range(0, len(queries), query_chunk)
    ]
    seen = 0
    for chunk in _chunks(documents, document_chunk):
        if chunk.shape[1] != queries.shape[1]:
            raise InputError(
                f"queries have {queries.shape[1]} numbers a vector, documents {chunk.shape[1]}",
                fix="search with vectors of one width: the student needs a head to the width of the index it searches",
            )
        _check_finite(chunk, "document", seen)
        candidates = _Block(chunk, metric)
        for place, block in blocks:
            hidden: Any = _within(left_out, place, seen, len(chunk))
            if let_in is not None:
                visible = np.zeros((len(block.vectors), len(chunk)), dtype=bool)
                visible[_within(let_in, place, seen, len(chunk))] = True
                visible[hidden] = False
                hidden = ~visible
            found = _candidates(block, candidates, k, scores[place, -1], hidden)
            values = _exact_scores(block, candidates, *found)
            _merge(rows[place], scores[place], found[0], found[1] + seen, values)
        seen += len(chunk)
    return Ranking(rows, scores, seen)


class _Block:
    """Some vectors as the search needs them: float32 to propose, float64 lengths to decide and to bound the error."""

    def __init__(self, vectors: np.ndarray, metric: Metric) -> None:
        self.vectors = self.proposing = vectors
        self.divisors: np.ndarray | None = None
        self.lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
        if metric == "cosine":
            self.divisors = np.where(self.lengths > 0, self.lengths, 1.0)
            self.proposing = (vectors / self.divisors[:, None]).astype(np.float32)
            self.lengths = np.minimum(self.lengths, 1.0)


def _candidates(
    queries: _Block, documents: _Block, k: int, kept: np.ndarray, hidden: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs (query, document) of these blocks that may be among the best `k`; `kept`: `k`-th scores so far."""
    width = queries.vectors.shape[1]
    # |computed - true| <= d u |q| |v| for an inner product of d terms (u: float32's rounding), a little more for
    # scaling and for rounding the result, and one smallest number a term for underflow.
    longest = documents.lengths.max(initial=0.0)
    error = (width + 8) * _FLOAT32_ROUNDING * queries.lengths * longest + width * _FLOAT32_SMALLEST
    if longest * queries.lengths.max(initial=0.0) > _FLOAT32_LARGEST:
        raise InputError("vectors are too large for float32 products", fix="scale the vectors down or normalise them")
    scores = queries.proposing @ documents.proposing.T
    scores[hidden] = -np.inf
    threshold = kept.astype(np.float64) - error
    if scores.shape[1] > k and not np.isfinite(kept).all():
        best = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
        threshold = np.maximum(threshold, best.astype(np.float64) - 2 * error)  # both sides are computed ones
    # The threshold is rounded down: a comparison in float32 must not lose what float64 would keep.
    floor = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))
    # To a query of length 0 all documents are equal: once it has k, lower rows than those to come, it needs no more.
    floor[(queries.lengths == 0) & np.isfinite(kept)] = np.inf
    query, document = np.nonzero((scores >= floor[:, None]) & (scores > -np.inf))
    return query, document


def _exact_scores(queries: _Block, documents: _Block, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """`(pairs,)` float32 scores of pairs, each computed in float64 on its own."""
    scores = np.empty(len(query), dtype=np.float32)
    step = max(1, _RESCORED_VALUES // max(1, queries.vectors.shape[1]))
    for start in range(0, len(query), step):
        q, d = query[start : start + step], document[start : start + step]
        products = queries.vectors[q].astype(np.float64)
        products *= documents.vectors[d]
        value = products.sum(axis=1)
        if queries.divisors is not None and documents.divisors is not None:
            value /= queries.divisors[q] * documents.divisors[d]
        scores[start : start + step] = value
    return scores


def _merge(rows: np.ndarray, scores: np.ndarray, query: np.ndarray, row: np.ndarray, value: np.ndarray) -> None:
    """Lay new candidates into the best `k` so far, in place: higher score first, lower row first among equals."""
    if not len(query):
        return
    k = rows.shape[1]
    touched, query = np.unique(query, return_inverse=True)
    old_rows, old_scores = rows[touched], scores[touched]
    filled = old_rows >= 0
    all_queries = np.concatenate([np.nonzero(filled)[0], query])
    all_rows = np.concatenate([old_rows[filled], row])
    all_scores = np.concatenate([old_scores[filled], value])
    order = np.lexsort((all_rows, -all_scores, all_queries))
    all_queries = all_queries[order]
    position = np.arange(len(order)) - np.searchsorted(all_queries, all_queries)
    top = position < k
    target = touched[all_queries[top]], position[top]
    rows[target] = all_rows[order][top]
    scores[target] = all_scores[order][top]


def _chunks(documents: Documents, size: int) -> Iterator[np.ndarray]:
    for part in [documents] if isinstance(documents, np.ndarray) else documents:
        if part.ndim != 2:
            raise ValueError(f"documents must be matrices (m, d), not of shape {part.shape}")
        for start in range(0, len(part), size):
            yield np.ascontiguousarray(part[start : start + size], dtype=np.float32)


def _check_finite(vectors: np.ndarray, what: str, offset: int) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite) + offset
        more = f" ({len(bad)} rows in this chunk)" if len(bad) > 1 else ""
        raise InputError(
            f"the vector of {what} row {bad[0]} holds numbers that are not finite{more}",
            fix="encode it again in float32; NaN from a half-precision model means an overflow",
        )


def _sorted_pairs(exclude: Sequence[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """All exclusions as (query, row), by query."""
    if exclude is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    parts = [np.asarray(rows, dtype=np.int64).reshape(-1) for rows in exclude]
    queries = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return queries, np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _within(
    pairs: tuple[np.ndarray, np.ndarray], queries: slice, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the exclusions of one block of queries and one chunk of documents, in their own numbering."""
    query, row = pairs
    inside = (query >= queries.start) & (query < queries.stop) & (row >= first) & (row < first + count)
    return query[inside] - queries.start, row[inside] - first
