"""A teacher whose documents (or queries) are vectors on disk, with or without a model or service beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..recipe import Role, TeacherSpec
from ..signals import Fingerprint
from .precomputed import PrecomputedIndex
from .teacher import Metric, VectorTeacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class TeacherWithVectors:
    """Vectors on disk, and what encodes the rest; see `VectorTeacher` for what its members mean.

    The roles that are on disk are looked up by id (`index`, `query_vectors`), never encoded. `model` is the teacher
    that encodes the other role, or None.
    """

    def __init__(self, spec: TeacherSpec, model: VectorTeacher | None) -> None:
        """Open the files and check that they fit each other and the model.

        Raises:
            InputError: a broken file, widths that differ, or a comparison (dot or cosine) that has to be named.
        """
        self.model = model
        self.index = PrecomputedIndex(spec.index, spec.index_ids) if spec.index else None
        self.query_vectors = PrecomputedIndex(spec.query_vectors, spec.query_vector_ids) if spec.query_vectors else None
        files = [file for file in (self.index, self.query_vectors) if file is not None]
        widths = {str(file.path): file.dimensions for file in files}
        if model is not None:
            widths[model.name] = model.dimensions
        if len(set(widths.values())) > 1:
            raise InputError(
                "the teacher's parts differ in width: " + ", ".join(f"{name} has {w}" for name, w in widths.items()),
                where="teacher",
                fix="give vectors that this model made",
            )
        self.dimensions = files[0].dimensions
        self.metric: Metric = spec.metric or (model.metric if model else _metric_of(files))
        self.name = model.name if model else " + ".join(file.path.name for file in files)
        self.can_encode_queries = model is not None and model.can_encode_queries and self.query_vectors is None
        self.can_encode_documents = model is not None and model.can_encode_documents and self.index is None
        self.parameters: int | None = model.parameters if model else None
        self.bytes: int | None = model.bytes if model else None
        self.recomputable = model is not None and model.recomputable

    @property
    def tokenizer(self) -> Any | None:
        """The model's query tokenizer."""
        return self.model.tokenizer if self.model else None

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """The sentence-transformers model behind this role, also where its vectors are on disk."""
        return self.model.encoder(role) if self.model else None

    def max_length(self, role: Role) -> int | None:
        """The model's; None without one."""
        return self.model.max_length(role) if self.model else None

    def fingerprint(self, role: Role) -> Fingerprint:
        """The file's identity where the role is on disk, else the model's."""
        file = self._file(role)
        if file is None:
            return self._encoding(role).fingerprint(role)
        return Fingerprint(
            kind="imported",
            model=file.path.name,
            revision=file.digest,
            role=role,
            prompt="",
            pooling=None,
            max_length=None,
            normalize=file.unit,
            dtype="float32",
            dimensions=file.dimensions,
        )

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32 from the model.

        Raises:
            InputError: this role's vectors are on disk, or there is no model.
        """
        return self._encoding(role).encode(texts, role)

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """The model's token counts (n,) int64."""
        return self._encoding(role).lengths(texts, role)

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """How many of the texts the model cuts."""
        return self._encoding(role).truncated(texts, role)

    def index_agreement(self, documents: Mapping[str, str]) -> np.ndarray:
        """Cosine (n,) between each document's vector on disk and the model's own vector for its text.

        Near 1 where this model (with this prompt and maximum length) made the index; a mistaken pairing shows at once.

        Args:
            documents: id -> text, a handful.

        Raises:
            InputError: an id without a vector, or no model or no index to compare.
        """
        if self.index is None or self.model is None:
            raise InputError("there is no index or no model to compare", fix="give teacher.index and teacher.model")
        held = self.index.gather(self.index.require(list(documents)))
        made = self.model.encode(list(documents.values()), "document")
        lengths = np.linalg.norm(held, axis=1) * np.linalg.norm(made, axis=1)
        cosines: np.ndarray = np.einsum("nd,nd->n", held, made) / np.maximum(lengths, 1e-12)
        return cosines

    def _file(self, role: Role) -> PrecomputedIndex | None:
        return self.query_vectors if role == "query" else self.index

    def _encoding(self, role: Role) -> VectorTeacher:
        if self._file(role) is not None:
            raise InputError(
                f"the teacher's {role} vectors are on disk and are looked up by id; texts are not encoded",
                where=self.name,
                fix=f"leave out the file to encode {role} texts with a model",
            )
        if self.model is None:
            raise InputError(
                f"the teacher cannot encode {role} texts: it has vectors on disk and no model",
                where=self.name,
                fix="give teacher.model (or url), or the vectors of this role too",
            )
        return self.model


def _metric_of(files: Sequence[PrecomputedIndex]) -> Metric:
    if all(file.unit for file in files):
        return "dot"
    raise InputError(
        "the vectors have different lengths, so dot product and cosine rank differently and the measure must be named",
        where=", ".join(str(file.path) for file in files),
        fix="set teacher.metric to dot or cosine",
    )
