"""What is trained on: texts as token ids, the teacher's vectors for them, and which document belongs to which query.

Row numbers are all that moves between data, batches and task. Rows `0 .. q-1` of a `TrainingSet` are its queries; the
rows after them are the documents to be matched (none for an asymmetric student). Documents live in one numbering of
their own, that of `documents`; `sources`, `mined` and `trained_documents` hold numbers of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..students.tokens import Tokens
from ..teachers.blocks import Place
from .rankers import ReadTexts
from .relation_terms import Relating


class DocumentVectors(Protocol):
    """The teacher's vectors by row number; they may lie on disk."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """`(n, d)` float32 vectors of these rows, in this order."""

    def __len__(self) -> int: ...


class ArrayVectors:
    """Vectors in an array `(n, d)` of any float type, possibly memory-mapped; only what is asked for is copied."""

    def __init__(self, array: np.ndarray) -> None:
        if array.ndim != 2:
            raise ValueError(f"vectors are an (n, d) array, not one of shape {array.shape}")
        self.array = array

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """`(n, d)` float32 vectors of these rows."""
        return np.asarray(self.array[rows], dtype=np.float32)


class StoredVectors:
    """Vectors in another source (a table of the signal store), under row numbers of our own.

    Args:
        table: anything with `dimensions` and `gather(rows)`.
        rows: `(n,)` our row i is the table's row `rows[i]`; none may be missing (-1).
    """

    def __init__(self, table: DocumentVectors, rows: np.ndarray) -> None:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and rows.min() < 0:
            raise ValueError(f"{int((rows < 0).sum())} texts have no vector in the table")
        self.table, self.rows = table, rows

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self.table.dimensions)

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """`(n, d)` float32 vectors of these rows."""
        return np.asarray(self.table.gather(self.rows[rows]), dtype=np.float32)


class EveryDocument:
    """The teacher's vectors of all documents on a device, looked up once and shared by all that read them."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def __call__(self, data: TrainingSet, device: torch.device) -> Tensor:
        """`(n, d)` of all documents."""
        if self._held is None:
            assert data.documents is not None
            self._held = torch.from_numpy(data.documents.gather(np.arange(len(data.documents))))
        if self._held.device != device:
            self._held = self._held.to(device)
        return self._held


@dataclass(frozen=True)
class PairTargets:
    """What a dual-pooled cross-encoder makes of texts, averaged over the pairs in which they stand.

    Attributes:
        queries: `(q, d)` float32, one row a training query; NaN where no pair of it was read.
        rows: `(m,)` the documents that stand in some pair, sorted.
        documents: `(m, d)` float32, theirs.
    """

    queries: np.ndarray
    rows: np.ndarray
    documents: np.ndarray

    @property
    def dimensions(self) -> int:
        """Width d."""
        return int(self.queries.shape[1])


class SomeVectors:
    """Vectors of some rows alone, in another source under row numbers of its own.

    Args:
        table: anything with `dimensions` and `gather(rows)`.
        rows: `(m,)` sorted numbers of ours that have a vector.
        theirs: `(m,)` the table's row of each.
    """

    def __init__(self, table: DocumentVectors, rows: np.ndarray, theirs: np.ndarray) -> None:
        self.rows, self.held = np.asarray(rows, dtype=np.int64), StoredVectors(table, theirs)

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self.held.dimensions

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """`(n, d)` float32 vectors of these rows; ValueError where one has none."""
        places = np.searchsorted(self.rows, rows).clip(max=max(len(self.rows) - 1, 0))
        if len(rows) and (not len(self.rows) or (self.rows[places] != rows).any()):
            raise ValueError("a row has no vector here")
        return self.held.gather(places)


@dataclass(frozen=True)
class StoredLayers:
    """A teacher's blocks' vectors: `queries` of every training query, `documents` of those in question.

    A row is `depth` vectors of `width` end to end.
    """

    queries: DocumentVectors
    documents: SomeVectors
    depth: int
    width: int


WholeScores = Callable[[np.ndarray], np.ndarray]
"""Scores of every document for some queries."""


def _none() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class TrainingSet:
    """All that a training run reads.

    Args:
        query_tokens: the q training queries.
        query_targets: the teacher's query vectors, row i for query i.
        documents: the teacher's document vectors (n of them); score objectives compare queries with these.
        document_tokens: the same n documents as the student reads them; needed where the student encodes documents.
        sources: `(q,)` the document each query came from (or one that it was judged to fit), -1 where none is known.
        mined: `(q, c)` candidate documents of each query, padded with -1; a known positive first, then the best.
        positives: `(q, p)` documents that a query was judged to fit, padded with -1; None: nothing was judged.
        pair_scores: scorer -> `(q, c)` float32, what it says of each query with its `mined` documents; NaN: nothing.
        pair_targets: scorer -> the vectors that it reads from pairs.
        trained_documents: documents that are rows of the training set themselves, to be matched as queries are.
        layers: the teacher's blocks, by where they are read (`first`, `mean`).
        read: live teacher -> the texts as it reads them.
        relating: identities, neighbours and centroids, for relations.
        whole: scorer -> what it says of every document, `(q, n)` float32 for q query numbers.
    """

    query_tokens: Tokens
    query_targets: DocumentVectors
    documents: DocumentVectors | None = None
    document_tokens: Tokens | None = None
    sources: np.ndarray | None = None
    mined: np.ndarray | None = None
    positives: np.ndarray | None = None
    pair_scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    pair_targets: Mapping[str, PairTargets] = field(default_factory=dict)
    trained_documents: np.ndarray = field(default_factory=_none)
    layers: Mapping[Place, StoredLayers] = field(default_factory=dict)
    read: Mapping[str, ReadTexts] = field(default_factory=dict)
    relating: Relating = field(default_factory=Relating)
    whole: Mapping[str, WholeScores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        queries, count = len(self.query_tokens), len(self.documents) if self.documents is not None else 0
        _require(len(self.query_targets) == queries, "one target for each query")
        _require(
            self.document_tokens is None or len(self.document_tokens) == count, "one text for each document vector"
        )
        for name in ("sources", "mined", "positives"):
            rows = getattr(self, name)
            _require(rows is None or len(rows) == queries, f"{name}: one entry for each query")
            _require(rows is None or rows.size == 0 or (rows.min() >= -1 and rows.max() < count), f"{name} in range")
        for name, scores in self.pair_scores.items():
            shape = None if self.mined is None else self.mined.shape
            _require(scores.shape == shape, f"pair_scores[{name!r}]: one entry for each of mined")
        for name, targets in self.pair_targets.items():
            _require(len(targets.queries) == queries, f"pair_targets[{name!r}]: one row for each query")
        trained = self.trained_documents
        _require(len(trained) == 0 or (trained.min() >= 0 and trained.max() < count), "trained_documents in range")
        _require(len(trained) == 0 or self.document_tokens is not None, "tokens of the documents that are trained")

    @property
    def queries(self) -> int:
        """Number of queries q."""
        return len(self.query_tokens)

    def __len__(self) -> int:
        return self.queries + len(self.trained_documents)

    @property
    def roles(self) -> np.ndarray:
        """`(n,)` 0 where a row is a query, 1 where it is a document."""
        return (np.arange(len(self)) >= self.queries).astype(np.int8)

    def positive_of(self, queries: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """`(n,)` one document that each query fits: drawn from those it was judged to fit, else its source, else -1."""
        found = np.full(len(queries), -1, dtype=np.int64) if self.sources is None else self.sources[queries].copy()
        if self.positives is not None:
            known = self.positives[queries]
            count = (known >= 0).sum(axis=1)  # padding comes last
            place = np.minimum((random.random(len(queries)) * count).astype(np.int64), np.maximum(count - 1, 0))
            found = np.where(count > 0, known[np.arange(len(known)), place], found)
        return found

    def split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the set as query numbers and document numbers."""
        is_query = rows < self.queries
        return rows[is_query], self.trained_documents[rows[~is_query] - self.queries]

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """The teacher's vectors `(n, d)` float32 of rows of the set, in this order."""
        queries, documents = self.split(rows)
        vectors = np.empty((len(rows), self.query_targets.dimensions), dtype=np.float32)
        is_query = rows < self.queries
        vectors[is_query] = self.query_targets.gather(queries)
        if len(documents):
            assert self.documents is not None
            vectors[~is_query] = self.documents.gather(documents)
        return vectors


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"a training set needs {what}")
