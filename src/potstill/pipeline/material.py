"""What a student learns from: texts, and what the teacher says about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..collection import Collection
from ..queries import TrainingQueries
from ..texts import digest
from .vectors import Vectors


@dataclass(frozen=True)
class Material:
    """Texts with the teacher's vectors of them.

    Attributes:
        collection: the documents.
        queries: those for training and those held out.
        documents: of every document.
        targets: of every training query.
        held_out: of every held-out query.
        teacher: digests of what made the vectors of queries and of documents.
    """

    collection: Collection
    queries: TrainingQueries
    documents: Vectors
    targets: Vectors
    held_out: Vectors
    teacher: str

    def identity(self) -> dict[str, str]:
        """What decides a training beside its recipe, by name: contents, not the names of files that may change."""
        texts = hashlib.blake2b(digest_size=16)
        for part in (self.queries.texts, self.queries.held_out):
            for text in part:
                texts.update(digest(text))
            texts.update(b"held out")
        return {
            "collection": self.collection.fingerprint(),
            "teacher": self.teacher,
            "training queries": texts.hexdigest(),
        }
