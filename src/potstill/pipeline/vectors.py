"""The teacher's vectors for a collection, from the store or from the user's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..collection import Collection
from ..errors import InputError
from ..evaluation import Rows
from ..recipe import Role
from ..signals import SignalStore, VectorTable, fill
from ..students.counting import chunks
from ..teachers import VectorTeacher
from ..teachers.compressed import CompressedTeacher, Through

_BLOCK = 4096


@dataclass(frozen=True)
class Vectors:
    """Vectors of some texts: where they lie, and which row of it belongs to which text.

    Attributes:
        table: anything with `gather(rows)` and `dimensions`.
        rows: (n,) int64 row of each text.
        texts_cut: how many texts the teacher cut at its maximum length; None where it did not read texts.
    """

    table: Any
    rows: np.ndarray
    texts_cut: int | None = None

    @property
    def dimensions(self) -> int:
        """Width."""
        return int(self.table.dimensions)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Chunks in order, for search."""
        return iter(Rows(self.table, self.rows))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float32 of these texts."""
        return np.asarray(self.table.gather(self.rows[rows]), dtype=np.float32)

    def all(self) -> np.ndarray:
        """All of them, (n, d) float32."""
        return self.gather(np.arange(len(self.rows)))


def document_vectors(teacher: VectorTeacher, collection: Collection, signals: Path | None) -> Vectors:
    """The teacher's vector of every document, in the collection's order; encodes what the store lacks."""
    if teacher.index is not None:
        return Vectors(teacher.index, teacher.index.require(list(collection.document_ids)))
    return _encoded(teacher, collection.texts, "document", signals, "teacher: documents", collection.document_count)


def query_vectors(
    teacher: VectorTeacher, texts: Sequence[str], signals: Path | None, label: str, ids: Sequence[str] | None = None
) -> Vectors:
    """The teacher's vector of every query text, in order; `ids` are needed where the vectors are on disk."""
    if isinstance(teacher, CompressedTeacher):
        return through(teacher, query_vectors(teacher.base, texts, signals, label, ids))
    if teacher.query_vectors is not None and ids is not None:
        return Vectors(teacher.query_vectors, teacher.query_vectors.require(ids, "queries"))
    if not teacher.can_encode_queries:
        raise InputError(
            "the teacher has vectors on disk and no model: it cannot encode the training queries",
            where=teacher.name,
            fix="give teacher.model or teacher.url beside the vectors",
        )
    return _encoded(teacher, lambda: iter(texts), "query", signals, label, len(texts))


def text_vectors(teacher: VectorTeacher, texts: Sequence[str], role: Role, signals: Path | None, label: str) -> Vectors:
    """The teacher's vectors of some texts, in order; encodes what the store lacks.

    Raises:
        InputError: a teacher that cannot encode texts of this role.
    """
    able = teacher.can_encode_queries if role == "query" else teacher.can_encode_documents
    if not able:
        raise InputError(
            f"the teacher cannot encode a {role}", where=teacher.name, fix="give a model beside its vectors"
        )
    return _encoded(teacher, lambda: iter(texts), role, signals, label, len(texts))


def through(teacher: CompressedTeacher, whole: Vectors) -> Vectors:
    """The whole teacher's vectors as its head makes them, when they are read."""
    return Vectors(Through(teacher, whole.table), whole.rows, whole.texts_cut)


def seen_by(teacher: VectorTeacher, whole: Vectors) -> Vectors:
    """The whole teacher's vectors as this teacher has them: through its head, where it has one."""
    return through(teacher, whole) if isinstance(teacher, CompressedTeacher) else whole


def _encoded(
    teacher: VectorTeacher,
    texts: Callable[[], Iterator[str]],
    role: Role,
    signals: Path | None,
    label: str,
    total: int,
) -> Vectors:
    table = SignalStore(signals).vectors(teacher.fingerprint(role))
    fill(table, teacher, texts(), role, label=label, total=total)
    rows, cut = [np.empty(0, dtype=np.int64)], 0
    for block in chunks(texts(), _BLOCK):
        rows.append(table.rows(block))
        cut += teacher.truncated(block, role)
    found = np.concatenate(rows)
    _check(table, found)
    return Vectors(table, found, cut)


def _check(table: VectorTable, rows: np.ndarray) -> None:
    if len(rows) and rows.min() < 0:
        raise InputError(
            f"{int((rows < 0).sum()):,} texts have no vector although the store was just filled",
            where=str(table.folder),
            fix="run `potstill signals verify`, then the same command again",
        )
