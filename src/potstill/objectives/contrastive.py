"""What labels say by themselves: the one-hot loss of EmbedDistill (arXiv 2301.12005), Eq. 9, a term of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ._tensors import require_positive
from .base import Objective, Signal
from .functional import contrastive


@dataclass(frozen=True)
class Contrastive(Objective):
    """-log softmax of the known positive among the candidates, in nats; `contrastive:one-hot`. No teacher has a say.

    Taken against the teacher's own documents it leads to queries that fit the teacher's index, though not to the
    teacher's queries: false negatives among the candidates pull against matching.

    Attributes:
        temperature: of the softmax.
    """

    temperature: float = 0.05

    family = "contrastive"
    form = "one-hot"
    signals: ClassVar[frozenset[Signal]] = frozenset()
    inputs = "scores"
    needs_positives = True
    equal_widths = False
    minimum_candidates = 2
    perfect_value = None
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)

    def __call__(self, student: Tensor, positives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the mean over queries with a known positive.

        Args:
            student: (n, c) scores.
            positives: (n,) integer column of each query's positive, -1 where none is known.
            mask: (n, c) bool, True where a candidate counts; a positive must count.
        """
        return contrastive(student, positives, self.temperature, mask)
