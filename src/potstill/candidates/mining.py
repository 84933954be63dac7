"""Mining: hard negatives from a teacher's vectors, BM25, chance or a file, never a known positive among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def by_ranking(rows: np.ndarray, scores: np.ndarray) -> Search:
    """Look up rankings made before: (n, m) rows and scores, best first, -1 where there is none."""

    def search(k: int, exclude: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        left = rows >= 0
        for i, left_out in enumerate(exclude):
            if len(left_out):
                left[i] &= ~np.isin(rows[i], left_out)
        order = np.argsort(~left, axis=1, kind="stable")[:, :k]
        held = np.take_along_axis(left, order, axis=1)
        found = np.full((len(rows), k), -1, dtype=np.int64)
        values = np.full((len(rows), k), -np.inf, dtype=np.float32)
        found[:, : held.shape[1]] = np.where(held, np.take_along_axis(rows, order, axis=1), -1)
        values[:, : held.shape[1]] = np.where(held, np.take_along_axis(scores, order, axis=1), -np.inf)
        return found, values

    return search


def by_judgments(
    query_ids: Sequence[str], document_ids: Sequence[str], grades: Mapping[str, Mapping[str, int]]
) -> Search:
    """Look up the documents that were judged for each query, of whatever grade, in the order of the judgments.

    For collections whose judgments are the lists to rank (answer sentences of a question); the score of each is 0.
    """
    row_of = {document_id: row for row, document_id in enumerate(document_ids)}
    rows = padded([[row_of[name] for name in grades.get(query, {}) if name in row_of] for query in query_ids])
    return by_ranking(rows, np.where(rows >= 0, np.float32(0.0), np.float32(-np.inf)))


def padded(lists: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Rows of documents of n queries as `(n, m)` int64, m that of the longest, at least 1; -1 where there are fewer."""
    rows = np.full((len(lists), max((len(one) for one in lists), default=0) or 1), -1, dtype=np.int64)
    for line, one in zip(rows, lists, strict=True):
        line[: len(one)] = one
    return rows


@dataclass(frozen=True)
class Known:
    """What is known to fit each of n queries, as rows of the collection."""

    rows: list[np.ndarray]
    """Known positives."""
    copies: list[np.ndarray]
    """Other documents with the text of one of them: as relevant, although nobody judged them."""
    unknown: int
    """Positives that are not in the collection."""

    @property
    def all(self) -> list[np.ndarray]:
        """Both together: what is never a negative."""
        return [np.concatenate(pair) for pair in zip(self.rows, self.copies, strict=True)]

    @property
    def most(self) -> int:
        """Of the query that has most of both."""
        return max((len(rows) for rows in self.all), default=0)


def known_positives(
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    positives: Mapping[str, Collection[str]],
    same_text: np.ndarray | None = None,
) -> Known:
    """Look up the known positives of these queries; what is known of any other query is not read.

    Args:
        query_ids: n ids.
        document_ids: ids of the documents, in the order of the collection.
        positives: query id -> ids of its known positives, from the judgments of a split that may be learned from.
        same_text: (documents,) `text_groups`, to find copies; None: none are looked for.

    Raises:
        InputError: ids that are not strings, or positives of which not one is in the collection.
    """
    _require_strings("query id", query_ids)
    _require_strings("document id", document_ids)
    rows, unknown = positive_rows(query_ids, document_ids, positives)
    if unknown and not any(len(known) for known in rows):
        raise InputError(
            f"none of the {unknown:,} known positives is a document of this collection",
            where="mining",
            fix="give the judgments of this collection, by the ids of its documents",
        )
    if same_text is None:
        return Known(rows, [np.empty(0, dtype=np.int64) for _ in rows], unknown)
    order = np.argsort(same_text, kind="stable")
    ranked = same_text[order]
    copies = []
    for known in rows:
        groups = np.unique(same_text[known])
        first, after = np.searchsorted(ranked, groups, "left"), np.searchsorted(ranked, groups, "right")
        same = [order[start:stop] for start, stop in zip(first, after, strict=True)]
        copies.append(np.setdiff1d(np.concatenate([np.empty(0, dtype=np.int64), *same]), known))
    return Known(rows, copies, unknown)


def mine(
    search: Search,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    k: int,
    *,
    source: str,
    settings: Mapping[str, Any] | None = None,
    positives: Mapping[str, Collection[str]] | Known | None = None,
) -> Candidates:
    """Find `k` candidates for every query, known positives left out.

    Args:
        search: `by_vectors`, `by_words`, `by_chance` or another over these queries and documents, in this order.
        query_ids: n ids.
        document_ids: ids of the documents, in the order of the collection.
        k: candidates a query.
        source: what is written into the provenance, with `settings`.
        settings: JSON values; what made this source.
        positives: query id -> ids of its known positives, from the judgments of a split that may be learned from; or
            what `known_positives` made of them, whose copies are left out too.

    Raises:
        InputError: ids that are not strings (the string "7" is not the number 7, and comparing the two would leave
            every positive among the negatives), or a repeated query id.
    """
    _require_strings("query id", query_ids)
    _require_strings("document id", document_ids)
    if len(set(query_ids)) < len(query_ids):
        raise InputError("a query id is repeated", where="mining", fix="give each query once")
    known = positives if isinstance(positives, Known) else known_positives(query_ids, document_ids, positives or {})
    rows, scores = search(k, known.all)
    provenance = Provenance(
        source=source,
        settings=dict(settings or {}),
        queries=len(query_ids),
        positives_kept_out=sum(len(rows) for rows in known.rows),
        positives_unknown=known.unknown,
        short=int((rows[:, -1] < 0).sum()),
        copies_kept_out=sum(len(rows) for rows in known.copies),
        found=int((rows >= 0).sum()),
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
    row_of = {document_id: row for row, document_id in enumerate(document_ids)}
    found, unknown = [], 0
    for known in positive_ids(query_ids, positives):
        rows = sorted(row_of[document_id] for document_id in known if document_id in row_of)
        unknown += len(known) - len(rows)
        found.append(np.array(rows, dtype=np.int64))
    return found, unknown


def positive_ids(query_ids: Sequence[str], positives: Mapping[str, Collection[str]]) -> list[set[str]]:
    """Each query's known positives; entries of other queries are not read.

    Raises:
        InputError: ids that are not strings.
    """
    _require_strings("query id of the judgments", positives)
    found = []
    for query_id in query_ids:
        known = positives.get(query_id, ())
        if isinstance(known, str):
            raise InputError(f"positives of query {query_id!r} are one string", where="mining", fix="give a set of ids")
        _require_strings(f"positive of query {query_id!r}", known)
        found.append(set(known))
    return found


def _require_strings(name: str, ids: Iterable[object]) -> None:
    for identity in ids:
        if not isinstance(identity, str):
            raise InputError(
                f"{name} {identity!r} is of type {type(identity).__name__}",
                where="mining",
                fix="ids are strings everywhere: read them as strings",
            )
