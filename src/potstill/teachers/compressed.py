"""A teacher seen through a linear head: the same texts in fewer numbers, and so a smaller index (CosPress, TinTeM)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recipe import Role
from ..signals import Fingerprint
from .teacher import Metric, VectorTeacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .precomputed import PrecomputedIndex


HEAD = "index_head.safetensors"
"""Name of the file that a head is kept in, beside the student that was made for its index."""


class CompressedTeacher:
    """`H(teacher(text))` at unit length; see `VectorTeacher` for what its members mean.

    Attributes:
        base: the whole teacher.
        weight: H, `(d, D)` float32.
    """

    def __init__(self, base: VectorTeacher, weight: np.ndarray) -> None:
        if weight.ndim != 2 or weight.shape[1] != base.dimensions:
            raise ValueError(f"a head on {base.dimensions} numbers is (d, {base.dimensions}), not {weight.shape}")
        self.base, self.weight = base, np.ascontiguousarray(weight, dtype=np.float32)
        self.name, self.dimensions = base.name, len(weight)
        self.metric: Metric = base.metric
        self.can_encode_queries, self.can_encode_documents = base.can_encode_queries, base.can_encode_documents
        self.parameters = None if base.parameters is None else base.parameters + weight.size
        self.bytes = None if base.bytes is None else base.bytes + self.weight.nbytes
        self.recomputable = base.recomputable
        self.index: PrecomputedIndex | None = base.index
        self.query_vectors: PrecomputedIndex | None = base.query_vectors

    @cached_property
    def digest(self) -> str:
        """Identity of the head."""
        return hashlib.blake2b(self.weight.tobytes(), digest_size=16).hexdigest()

    @property
    def tokenizer(self) -> Any | None:
        """The whole teacher's."""
        return self.base.tokenizer

    def through(self, vectors: np.ndarray) -> np.ndarray:
        """What the head makes of the whole teacher's vectors: (n, D) to (n, d) float32 of unit length."""
        found = np.asarray(vectors, dtype=np.float32) @ self.weight.T
        made: np.ndarray = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return made

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32."""
        return self.through(self.base.encode(texts, role))

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """The whole teacher's token counts."""
        return self.base.lengths(texts, role)

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """How many of the texts the teacher cuts."""
        return self.base.truncated(texts, role)

    def max_length(self, role: Role) -> int | None:
        """The whole teacher's."""
        return self.base.max_length(role)

    def fingerprint(self, role: Role) -> Fingerprint:
        """The whole teacher's, and the head."""
        said = self.base.fingerprint(role)
        extra = (*said.extra, ("head", self.digest))
        return replace(said, dimensions=self.dimensions, normalize=True, extra=extra)

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """The model behind this role, the head at its end."""
        whole = self.base.encoder(role)
        if whole is None:
            return None
        import torch
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize

        encoder = copy.deepcopy(whole)
        device = next(whole.parameters()).device
        head = Dense(self.weight.shape[1], self.dimensions, bias=False, activation_function=torch.nn.Identity())
        with torch.no_grad():
            head.linear.weight.copy_(torch.from_numpy(self.weight))
        for module in (head, Normalize()):
            encoder.append(module.to(device))
        return encoder


def write_head(path: Path, weight: np.ndarray) -> None:
    """Keep a head."""
    from safetensors.numpy import save_file

    save_file({"weight": np.ascontiguousarray(weight)}, path)


def read_head(path: Path) -> np.ndarray:
    """A head that was kept, `(d, D)` float32."""
    from safetensors.numpy import load_file

    weight: np.ndarray = load_file(path)["weight"]
    return weight


def with_head(teacher: VectorTeacher, weight: np.ndarray | None) -> VectorTeacher:
    """The teacher through a head, where there is one."""
    return teacher if weight is None else CompressedTeacher(teacher, weight)


class Through:
    """A table of the whole teacher's vectors, each sent through the head as it is read."""

    def __init__(self, teacher: CompressedTeacher, table: Any) -> None:
        self.teacher, self.table = teacher, table
        self.dimensions = teacher.dimensions

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float32 of these rows."""
        return self.teacher.through(self.table.gather(rows))
