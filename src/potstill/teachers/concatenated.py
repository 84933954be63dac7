"""Several teachers of vectors as one: their unit vectors end to end (Jasper and Stella's first stage, 2412.19048)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..recipe import Role
from ..signals import Fingerprint
from .teacher import Metric, VectorTeacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .precomputed import PrecomputedIndex


class ConcatenatedTeacher:
    """sqrt(w_k) u_k(text), end to end: the cosine of two texts is the weighted mean of the teachers' cosines.

    See `VectorTeacher` for what its members mean.

    Attributes:
        parts: the teachers, in order.
        weights: theirs, of sum 1.
    """

    metric: Metric = "cosine"
    index: PrecomputedIndex | None = None
    query_vectors: PrecomputedIndex | None = None

    def __init__(self, parts: Sequence[VectorTeacher], weights: Sequence[float] = ()) -> None:
        if len(parts) < 2:
            raise InputError(
                "one teacher is not concatenated with anything",
                where="teacher.concatenated",
                fix="give two or more, or name the one as teacher.model",
            )
        if weights and len(weights) != len(parts):
            raise InputError(
                f"{len(weights)} weights for {len(parts)} teachers",
                where="teacher.weights",
                fix="give one for each, or none",
            )
        for part in parts:
            if part.index is not None or part.query_vectors is not None:
                raise InputError(
                    "only teachers that encode texts can be put end to end",
                    where=part.name,
                    fix="leave its index and query_vectors out",
                )
        self.parts = tuple(parts)
        total = sum(weights) or float(len(parts))
        self.weights = tuple(weight / total for weight in (weights or [1.0] * len(parts)))
        self.name = " + ".join(part.name for part in parts)
        self.dimensions = sum(part.dimensions for part in parts)
        self.can_encode_queries = all(part.can_encode_queries for part in parts)
        self.can_encode_documents = all(part.can_encode_documents for part in parts)
        self.parameters = _sum([part.parameters for part in parts])
        self.bytes = _sum([part.bytes for part in parts])
        self.recomputable = all(part.recomputable for part in parts)

    @property
    def tokenizer(self) -> Any | None:
        """The first teacher's."""
        return self.parts[0].tokenizer

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32 of unit length."""
        found = []
        for part, weight in zip(self.parts, self.weights, strict=True):
            vectors = part.encode(texts, role)
            length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            found.append(np.float32(np.sqrt(weight)) * vectors / length)
        return np.concatenate(found, axis=1)

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Tokens that the longest reader needs."""
        found: np.ndarray = np.max([part.lengths(texts, role) for part in self.parts], axis=0)
        return found

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """How many texts the teacher cuts that cuts most."""
        return max(part.truncated(texts, role) for part in self.parts)

    def max_length(self, role: Role) -> int | None:
        """The shortest limit of all."""
        known = [limit for limit in (part.max_length(role) for part in self.parts) if limit is not None]
        return min(known, default=None)

    def fingerprint(self, role: Role) -> Fingerprint:
        """Identity of all together."""
        said = [part.fingerprint(role) for part in self.parts]
        whole = json.dumps([[each.digest(), weight] for each, weight in zip(said, self.weights, strict=True)])
        return Fingerprint(
            kind="concatenated",
            model=self.name,
            revision=hashlib.blake2b(whole.encode(), digest_size=16).hexdigest(),
            role=said[0].role if len({each.role for each in said}) == 1 else role,
            prompt="",
            pooling=None,
            max_length=self.max_length(role),
            normalize=True,
            dtype="float32",
            dimensions=self.dimensions,
        )

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """None: no one model gives these vectors."""
        return None


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
