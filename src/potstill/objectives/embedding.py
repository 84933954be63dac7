"""Embedding matching: the student's vector is pulled to the teacher's (EmbedDistill, arXiv 2301.12005, Eq. 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import Objective
from .functional import MatchMetric, embedding_match


@dataclass(frozen=True)
class EmbeddingMatch(Objective):
    """Distance from the teacher: `match:l2` (not squared, the paper's), `match:squared`, `match:cosine`."""

    form: MatchMetric = "l2"

    family = "match"
    forms = ("l2", "squared", "cosine")
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = True
    perfect_value = 0.0
    alignment = "always"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean distance of (n, d) student vectors from (n, d) teacher vectors."""
        return embedding_match(student, teacher.detach(), self.form)
