"""What every teacher that gives vectors can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ..recipe import Role
from ..signals import Fingerprint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .precomputed import PrecomputedIndex

Metric = Literal["dot", "cosine"]


class VectorTeacher(Protocol):
    """A teacher of vectors: a model, a pair of models, a service, or vectors on disk. `open_teacher` makes one.

    Attributes:
        name: for people: the model's id or folder, the service, or the file.
        dimensions: width of its vectors, the same for both roles.
        metric: how its vectors are compared.
        can_encode_queries: whether `encode(texts, "query")` works.
        can_encode_documents: whether `encode(texts, "document")` works; False where an index holds the documents.
        parameters: stored numbers that encoding a query takes; None where it cannot be known.
        bytes: their size in memory; None where it cannot be known.
        recomputable: whether what `encode` gave can be had again.
        tokenizer: the query side's fast tokenizer, without truncation and padding, or None. Its owner may change it.
        index: the documents' vectors on disk, by document id, or None.
        query_vectors: the queries' vectors on disk, by query id, or None.
    """

    name: str
    dimensions: int
    metric: Metric
    can_encode_queries: bool
    can_encode_documents: bool
    parameters: int | None
    bytes: int | None
    recomputable: bool
    index: PrecomputedIndex | None
    query_vectors: PrecomputedIndex | None

    @property
    def tokenizer(self) -> Any | None:
        """See the class."""

    def fingerprint(self, role: Role) -> Fingerprint:
        """Identity of the vectors that `encode` gives in this role; `any` as its role where both roles get the same."""

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32 of the texts, as one batch; texts of like length make it fast."""

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Tokens (n,) int64 that each text costs: prompt and special tokens counted, cut at the maximum."""

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """How many of the texts are cut at the maximum length."""

    def max_length(self, role: Role) -> int | None:
        """Tokens after which texts of this role are cut; None where there is no limit or it is not known."""

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """The sentence-transformers model behind this role; None where there is none."""
