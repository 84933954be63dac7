"""What a student learns from: texts, and what the teacher says about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..candidates import Candidates
from ..collection import Collection
from ..queries import TrainingQueries
from ..texts import digest
from .scorers import Heard
from .vectors import Vectors

if TYPE_CHECKING:
    from ..students import Tokens
    from ..teachers.blocks import Place
    from ..training.data import StoredLayers, WholeScores
    from ..training.rankers import ReadTexts


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
        candidates: with their provenance; None: not needed.
        lists: `(q, c)` each training query's own documents, a positive first where one is known; None: not needed.
        heard: what the scorers say of these.
        scorers: digests of what made their scores, by name.
        document_tokens: every document as the student reads it; None where it encodes none.
        layers: the teacher's blocks, by where they are read.
        read: live teacher -> the texts as it reads them.
        whole: scorer -> what it says of every document.
    """

    collection: Collection
    queries: TrainingQueries
    documents: Vectors
    targets: Vectors
    held_out: Vectors
    teacher: str
    candidates: Candidates | None = None
    lists: np.ndarray | None = None
    heard: Heard = field(default_factory=Heard)
    scorers: Mapping[str, str] = field(default_factory=dict)
    document_tokens: Tokens | None = None
    layers: Mapping[Place, StoredLayers] = field(default_factory=dict)
    read: Mapping[str, ReadTexts] = field(default_factory=dict)
    whole: Mapping[str, WholeScores] = field(default_factory=dict)

    def identity(self) -> dict[str, str]:
        """What decides a training beside its recipe, by name: contents, not the names of files that may change."""
        texts = hashlib.blake2b(digest_size=16)
        for part in (self.queries.texts, self.queries.held_out):
            for text in part:
                texts.update(digest(text))
            texts.update(b"held out")
        for rows in self.queries.positives:
            texts.update(rows.data)
        lists = {}
        if self.lists is not None:
            lists["candidates"] = hashlib.blake2b(self.lists.tobytes(), digest_size=16).hexdigest()
        return {
            "collection": self.collection.fingerprint(),
            "teacher": self.teacher,
            "training queries": texts.hexdigest(),
            **lists,
            **self.scorers,
        }
