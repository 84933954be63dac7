"""One batch of a task, before and after the models: what is looked up, what is encoded, what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..recipe import Role
from ..students.tokens import Tokens
from ..teachers.blocks import Tap
from .augmentation import Drawn, Matched
from .documents import Candidates
from .layer_terms import DrawnLayers
from .pair_rows import PairRows
from .passes import Values
from .rankers import Asked
from .relation_terms import Drawn as Related


@dataclass
class Batch:
    """One batch, ready for the student.

    Attributes:
        query_tokens, query_targets: the q queries and the teacher's vectors `(q, d)` of them.
        document_tokens, document_targets: the distinct documents the student encodes, and the teacher's vectors.
        matched: `(m,)` places among these documents of those that are rows of the batch themselves.
        candidates: for each term that compares, the documents the queries are compared with.
        pairs: for each term that matches a scorer's vectors, those of the batch.
        drawn: what augmentation makes of the texts.
        layers: for each layer term, the blocks of this update.
        taps: where the student is read on the way, for all of them together.
        asked: what each live teacher is asked.
        related: for each relation and role, who is related to what.
    """

    query_tokens: Tokens
    query_targets: Tensor
    document_tokens: Tokens | None
    document_targets: Tensor | None
    matched: Tensor
    candidates: dict[str, Candidates]
    pairs: dict[str, PairRows] = field(default_factory=dict)
    drawn: dict[Role, Drawn] = field(default_factory=dict)
    layers: dict[str, DrawnLayers] = field(default_factory=dict)
    taps: tuple[Tap, ...] = ()
    asked: dict[str, Asked] = field(default_factory=dict)
    related: Related = field(default_factory=dict)


@dataclass
class Outputs:
    """The student's vectors of a batch, float32: `queries (q, d)`, `documents (u, d)`; None where there is no text.

    `layers` are its blocks' vectors of queries `(q, k, w)` and documents `(u, k, w)`, by role, k the batch's taps;
    `augmented` its vectors of made inputs, by the terms' names, with the teacher's beside them; `values` all that the
    passes gave, live teachers' among it.
    """

    queries: Tensor | None
    documents: Tensor | None
    augmented: dict[str, Matched] = field(default_factory=dict)
    layers: dict[Role, Tensor] = field(default_factory=dict)
    values: Values = field(default_factory=dict)

    def tensors(self) -> list[Tensor]:
        """The student's that are there."""
        texts = [vectors for vectors in (self.queries, self.documents) if vectors is not None]
        return [*texts, *self.layers.values(), *(matched.student for matched in self.augmented.values())]
