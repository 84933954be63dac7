"""What a student learns from: texts, and what the teacher says about them."""

from __future__ import annotations

from dataclasses import dataclass

from ..collection import Collection
from ..queries import TrainingQueries
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
    """

    collection: Collection
    queries: TrainingQueries
    documents: Vectors
    targets: Vectors
    held_out: Vectors
