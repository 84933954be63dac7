"""`potstill.load`: a finished student, ready to encode both sides of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import Role, TeacherSpec
from .encoder import Encoder, load_encoder
from .saving import NOTE, read_note

STUDENT = "student"
STUDENT_DOCUMENTS = "student-documents"


class Student:
    """A query encoder and, once asked for, the document encoder of the same space.

    Args:
        queries: the query tower.
        documents: the document tower, or a function that opens it at the first use, or None where there is none.
        note: what `potstill.json` says; {} for a model that Potstill did not make.
        index_head: `(d, D)` what the index that it searches makes of the teacher's vectors; None: nothing.
    """

    def __init__(
        self, queries: Encoder, documents: Any, note: Mapping[str, Any], index_head: np.ndarray | None = None
    ) -> None:
        self.queries, self._documents = queries, documents
        self.note, self.index_head = dict(note), index_head

    @property
    def dimensions(self) -> int:
        """Width of the vectors."""
        return self.queries.dimensions

    @property
    def documents(self) -> Encoder:
        """The document encoder; the teacher of an asymmetric student is loaded at the first use.

        Raises:
            InputError: the student does not say which teacher it serves, or that teacher cannot be loaded here.
        """
        if callable(self._documents):
            self._documents = self._documents()
        encoder: Encoder = self._documents
        return encoder

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of queries, float32 `(n, d)`."""
        return self.queries.encode(texts)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of documents (title and text joined by a space), float32 `(n, d)`, in the queries' space."""
        return self.documents.encode(texts)


def load(path: str | Path, *, trust_remote_code: bool = False) -> Student:
    """Open a student: a run's folder, a student's folder, or any sentence-transformers folder or id.

    A static student is opened with numpy alone. Documents are encoded by the same tower (`shared`, and any model that
    Potstill did not make), by `student-documents/` (`separate`), or by the teacher that the note names (`asymmetric`).

    Args:
        path: the folder or id.
        trust_remote_code: run Python code that comes with that teacher; a note cannot allow it, only its reader can.

    Raises:
        InputError: there is no student or model there.
    """
    folder = Path(path)
    if any((folder / STUDENT / file).is_file() for file in ("modules.json", NOTE)):
        folder = folder / STUDENT
    if folder.is_dir() and (read_note(folder) or {}).get("reads") == "pairs":
        raise InputError(
            "this student reads pairs of texts and gives scores, not vectors",
            where=str(folder),
            fix="open it with sentence_transformers.CrossEncoder (an export: potstill.students.onnx.OnnxRanker), or"
            " measure it with `potstill ensemble --student`",
        )
    if not folder.is_dir():
        try:
            return _plain(path)
        except MissingExtra:  # it might be a model's id, but more often a path is mistyped
            fix = 'check the path; for a model id: pip install "potstill[train]"'
            raise InputError("there is no such folder", where=str(path), fix=fix) from None
    if not any((folder / file).is_file() for file in ("modules.json", "config.json", "model.onnx")):
        raise InputError(
            "the folder holds no student and no model",
            where=str(path),
            fix="give a run folder (with student/), a student folder, or a model id",
        )
    note = read_note(folder)
    if note is None or note.get("packed"):
        return _plain(folder, note)
    towers = note.get("towers", "asymmetric")
    queries = load_encoder(folder)
    if towers == "shared":
        return Student(queries, lambda: load_encoder(folder, "document"), note)
    if towers == "separate":
        return Student(queries, lambda: _separate(folder), note)
    head = _head(folder, note)
    return Student(queries, lambda: _teacher(folder, note, queries.dimensions, trust_remote_code, head), note, head)


def _plain(path: str | Path, note: Mapping[str, Any] | None = None) -> Student:
    """A model that Potstill did not make, or a packed one: both roles from the same files."""
    return Student(load_encoder(path), lambda: load_encoder(path, "document"), note or {})


def _head(folder: Path, note: Mapping[str, Any]) -> np.ndarray | None:
    """The head of the index that the student searches."""
    if not note.get("index_head"):
        return None
    from ..teachers.compressed import read_head

    path = folder / str(note["index_head"])
    if not path.is_file():
        raise InputError(
            "this student searches documents through a head, and the head is not there",
            where=str(path),
            fix="copy the whole folder of the student",
        )
    return read_head(path)


def _separate(folder: Path) -> Encoder:
    exported = (folder / "model.onnx").is_file()
    beside = folder.with_name(f"{folder.resolve().name}-documents") if exported else folder.parent / STUDENT_DOCUMENTS
    if not (beside / ("model.onnx" if exported else "modules.json")).is_file():
        raise InputError(
            "this student has a document tower of its own, and it is not there",
            where=str(beside),
            fix=f"put the {'export' if exported else 'run'}'s {beside.name}/ beside the student's folder",
        )
    return load_encoder(beside, "document")


def teacher_of(said: str | Mapping[str, Any]) -> TeacherSpec:
    """The teacher that a note names: a model, or all that opens it."""
    return TeacherSpec.model_validate({"model": said} if isinstance(said, str) else dict(said))


def _teacher(folder: Path, note: Mapping[str, Any], dimensions: int, trust: bool, head: np.ndarray | None) -> Encoder:
    said = note.get("teacher")
    if not said:
        raise InputError(
            "this student encodes queries only, and its note names no teacher to encode documents",
            where=str(folder),
            fix="search the index that you have, or encode documents with the teacher it was distilled from",
        )
    spec = teacher_of(said)
    remedy = "make the teacher reachable under the name in potstill.json, or search the index that you have"
    if spec.trust_remote_code and not trust:
        remedy = "read the Python code that comes with it, and if you trust it: load(path, trust_remote_code=True)"
    spec = spec.model_copy(update={"trust_remote_code": trust})
    try:
        from ..teachers import open_teacher
        from ..teachers.compressed import with_head

        encoder = TeacherEncoder(with_head(open_teacher(spec), head))
    except MissingExtra:
        raise
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from None
    except InputError as error:
        name = spec.model or spec.document_model or spec.url or spec.index
        raise InputError(
            f"this student encodes queries only; its documents are encoded by the teacher {name}, "
            f"which cannot be loaded here: {error.message}",
            where=error.where or str(folder),
            fix=remedy,
        ) from None
    cut = note.get("cut")  # of an export whose vectors are shorter than the teacher's
    expected = int(cut["from"]) if cut else dimensions
    if encoder.dimensions != expected:
        raise InputError(
            f"the teacher gives {encoder.dimensions} numbers a text and the student {expected}",
            where=str(folder),
            fix="load the teacher that the student was distilled from",
        )
    return CutEncoder(encoder, dimensions, normalize=bool(cut["normalize"])) if cut else encoder


class CutEncoder:
    """The first dimensions of what an encoder gives, of unit length again where `normalize` says so."""

    def __init__(self, encoder: Encoder, dimensions: int, *, normalize: bool) -> None:
        self.encoder, self.dimensions, self.normalize = encoder, dimensions, normalize
        self.parameters, self.bytes = encoder.parameters, encoder.bytes

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32 `(n, dimensions)`."""
        return cut_vectors(self.encoder.encode(texts), self.dimensions, normalize=self.normalize)


def cut_vectors(vectors: np.ndarray, dimensions: int, *, normalize: bool) -> np.ndarray:
    """The first `dimensions` of vectors `(n, d)`, a copy, of unit length where `normalize` says so."""
    cut: np.ndarray = np.array(vectors[:, :dimensions], dtype=np.float32, order="C")
    if normalize:
        lengths = np.linalg.norm(cut, axis=1, keepdims=True)
        np.divide(cut, lengths, out=cut, where=lengths > 0)
    return cut


class TeacherEncoder:
    """A teacher as an encoder of one role."""

    def __init__(self, teacher: Any, batch_size: int = 64, role: Role = "document") -> None:
        self.teacher, self.batch_size, self.role = teacher, batch_size, role
        self.dimensions = int(teacher.dimensions)
        self.parameters = int(teacher.parameters or 0)
        self.bytes = int(teacher.bytes or 0)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32 `(n, dimensions)`; texts of like length share a batch."""
        from .encoder import check_texts

        check_texts(texts)
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            out[rows] = self.teacher.encode([texts[row] for row in rows], self.role)
        return out
