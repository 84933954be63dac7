"""A retriever as vectors, whole or cut to a prefix, and its search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..progress import meter
from .search import Documents, Metric, Ranking, exact_search

_SHOWN_FROM = 100_000  # documents from which a search shows its progress


@dataclass(frozen=True)
class System:
    """A retriever, as vectors.

    Attributes:
        queries: `(n, d)` float32.
        documents: `(m, d)` float32, or an object that gives such chunks in row order each time it is iterated.
        metric: how they are compared.
        prefix: how many leading numbers of a vector are used; None for all.
    """

    queries: np.ndarray
    documents: Documents
    metric: Metric = "dot"
    prefix: int | None = None


def check_queries(name: str, system: System, query_ids: Sequence[str]) -> None:
    """Refuse a system whose query vectors are not those of the ids, or not finite; the message names the query."""
    if isinstance(system.documents, Iterator):
        raise ValueError(f"documents of {name} can be read only once; give a matrix or a re-iterable object")
    if len(system.queries) != len(query_ids):
        raise ValueError(f"{name} has {len(system.queries)} query vectors for {len(query_ids)} queries")
    bad = np.flatnonzero(~np.isfinite(system.queries).all(axis=1))
    if len(bad):
        raise InputError(
            f"the vectors of {len(bad)} queries hold numbers that are not finite, the first of row {bad[0]},"
            f" query {query_ids[bad[0]]!r}",
            where=name,
            fix="encode them again in float32; NaN from a half-precision model means an overflow",
        )


def search_system(
    name: str,
    system: System,
    document_ids: Sequence[str],
    depth: int,
    exclude: Sequence[np.ndarray] | None = None,
    only: Sequence[np.ndarray] | None = None,
) -> Ranking:
    """Rank `depth` documents for every query of a system.

    Raises:
        InputError: vectors do not fit each other or the number of documents; names the system.
    """
    documents = shown(system.documents, f"search: {name}", len(document_ids))
    try:
        ranking = exact_search(system.queries, documents, depth, metric=system.metric, exclude=exclude, only=only)
    except InputError as error:
        raise InputError(error.message, where=name, fix=error.fix) from None
    if ranking.documents != len(document_ids):
        raise InputError(
            f"{ranking.documents} document vectors for {len(document_ids)} documents",
            where=name,
            fix="encode the documents of this collection, or use the index that belongs to it",
        )
    return ranking


def gather(documents: Documents, rows: np.ndarray) -> np.ndarray:
    """Give `(r, d)` float32 vectors of documents by row number, repeats allowed.

    Documents that have a `gather` of their own (`Rows`, a signal store's) are asked for these rows; others are read
    through once.
    """
    if isinstance(documents, np.ndarray):
        return np.asarray(documents[rows], dtype=np.float32)
    if hasattr(documents, "gather"):
        return np.asarray(documents.gather(rows), dtype=np.float32)
    found = np.empty((len(rows), 0), dtype=np.float32)
    seen = 0
    for part in documents:
        if seen == 0:
            found = np.empty((len(rows), part.shape[1]), dtype=np.float32)
        inside = (rows >= seen) & (rows < seen + len(part))
        found[inside] = part[rows[inside] - seen]
        seen += len(part)
    return found


def shown(documents: Documents, label: str, total: int) -> Documents:
    """Show progress over documents as they are read, where there are many."""
    return documents if total < _SHOWN_FROM else _shown(documents, label, total)


def _shown(documents: Documents, label: str, total: int) -> Iterator[np.ndarray]:
    step = 8192
    with meter(label, total, "documents") as told:
        for part in [documents] if isinstance(documents, np.ndarray) else documents:
            for start in range(0, len(part), step):
                chunk = part[start : start + step]
                yield chunk
                told.advance(len(chunk))


def cut(system: System, width: int) -> System:
    """Use the first `width` numbers of every vector."""
    whole = system.queries.shape[1]
    if not 1 <= width <= whole:
        raise InputError(
            f"a prefix of {width} numbers does not fit vectors of {whole}",
            where="evaluate.prefixes",
            fix=f"give widths from 1 to {whole}",
        )
    first = (
        system.documents if isinstance(system.documents, np.ndarray) else next(iter(system.documents), np.empty((0, 1)))
    )
    lengths = np.linalg.norm(first[:1000], axis=1)
    # Documents of length 1 are compared by angle: so must be their beginnings, which differ in length.
    metric: Metric = "cosine" if np.allclose(lengths[lengths > 0], 1.0, atol=1e-2) else system.metric
    return System(system.queries[:, :width], _Prefix(system.documents, width), metric, width)


class _Prefix:
    def __init__(self, documents: Documents, width: int) -> None:
        self.documents, self.width = documents, width

    def __iter__(self) -> Iterator[np.ndarray]:
        for part in [self.documents] if isinstance(self.documents, np.ndarray) else self.documents:
            yield part[:, : self.width]
