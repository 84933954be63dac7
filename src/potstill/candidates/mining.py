"""Mining: hard negatives from a teacher's vectors, BM25 or chance, never a known positive among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from .bm25 import Bm25Index
from .nearest import nearest
from .table import Candidates, Provenance, document_digest

Search = Callable[[int, Sequence[np.ndarray]], tuple[np.ndarray, np.ndarray]]
"""(k, rows to leave out for each query) -> (n, k) rows and scores, as `nearest` returns them."""


def by_vectors(
    queries: np.ndarray, documents: np.ndarray | Iterable[np.ndarray], metric: Literal["dot", "cosine"] = "dot"
) -> Search:
    """Search by a teacher's vectors, exactly; see `nearest`."""
    return lambda k, exclude: nearest(queries, documents, k, metric=metric, exclude=exclude)


def by_words(texts: Sequence[str], index: Bm25Index) -> Search:
    """Search by BM25; finds only documents that share a word with the query."""
    return lambda k, exclude: index.search(texts, k, exclude=exclude)


def by_chance(documents: int, seed: int) -> Search:
    """Draw different documents for each query, all alike likely; the score of each is 0.

    The draw of a query depends on the seed and its place among the queries alone.
    """

    def search(k: int, exclude: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.full((len(exclude), k), -1, dtype=np.int64)
        for i, left_out in enumerate(exclude):
            # As many more as could have to be left out, then the first k that need not be.
            size = min(k + len(left_out), documents)
            drawn = np.random.default_rng([seed, i]).choice(documents, size=size, replace=False)
            kept = drawn[~np.isin(drawn, left_out)][:k]
            rows[i, : len(kept)] = kept
        return rows, np.where(rows >= 0, np.float32(0.0), np.float32(-np.inf))

    return search


def mine(
    search: Search,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    k: int,
    *,
    source: str,
    settings: Mapping[str, Any] | None = None,
    positives: Mapping[str, Collection[str]] | None = None,
) -> Candidates:
    """Find `k` candidates for every query, known positives left out.

    Args:
        search: `by_vectors`, `by_words` or `by_chance` over these queries and documents, in this order.
        query_ids: n ids.
        document_ids: ids of the documents, in the order of the collection.
        k: candidates a query.
        source: what is written into the provenance, with `settings`.
        settings: JSON values; what made this source.
        positives: query id -> ids of its known positives, from the judgments of a split that may be learned from.

    Raises:
        InputError: ids that are not strings (the string "7" is not the number 7, and comparing the two would leave
            every positive among the negatives), or a repeated query id.
    """
    _require_strings("query id", query_ids)
    _require_strings("document id", document_ids)
    if len(set(query_ids)) < len(query_ids):
        raise InputError("a query id is repeated", where="mining", fix="give each query once")
    exclude, unknown = positive_rows(query_ids, document_ids, positives or {})
    rows, scores = search(k, exclude)
    provenance = Provenance(
        source=source,
        settings=dict(settings or {}),
        queries=len(query_ids),
        positives_kept_out=sum(len(rows) for rows in exclude),
        positives_unknown=unknown,
        short=int((rows[:, -1] < 0).sum()),
    )
    return Candidates(
        tuple(query_ids),
        rows,
        scores,
        np.zeros(rows.shape, dtype=np.uint8),
        (provenance,),
        len(document_ids),
        document_digest(document_ids),
    )


def positive_rows(
    query_ids: Sequence[str], document_ids: Sequence[str], positives: Mapping[str, Collection[str]]
) -> tuple[list[np.ndarray], int]:
    """Rows of each query's known positives, and how many of them are not in the collection.

    Raises:
        InputError: ids that are not strings.
    """
    _require_strings("query id of the judgments", positives)
    row_of = {document_id: row for row, document_id in enumerate(document_ids)}
    found, unknown = [], 0
    for query_id in query_ids:
        known = positives.get(query_id, ())
        if isinstance(known, str):
            raise InputError(f"positives of query {query_id!r} are one string", where="mining", fix="give a set of ids")
        _require_strings(f"positive of query {query_id!r}", known)
        rows = sorted(row_of[document_id] for document_id in set(known) if document_id in row_of)
        unknown += len(set(known)) - len(rows)
        found.append(np.array(rows, dtype=np.int64))
    return found, unknown


def _require_strings(name: str, ids: Iterable[object]) -> None:
    for identity in ids:
        if not isinstance(identity, str):
            raise InputError(
                f"{name} {identity!r} is of type {type(identity).__name__}",
                where="mining",
                fix="ids are strings everywhere: read them as strings",
            )
