"""Score distillation: the student ranks each query's candidates as the teacher does (EmbedDistill, Eq. 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ._tensors import full_precision, require_positive, require_shape
from .base import Objective
from .functional import score_kl


@dataclass(frozen=True)
class ScoreKL(Objective):
    """KL of the teacher's softmax over the candidates to the student's, in nats; `scores:kl`.

    Both temperatures divide scores, and no factor T squared is put back: the gradient scales with
    1 / `student_temperature`. The defaults suit cosines and inner products of unit vectors.
    """

    student_temperature: float = 0.05
    teacher_temperature: float = 0.05

    family = "scores"
    form = "kl"
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        require_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """0 with equal temperatures; otherwise only a rescaled copy gets there."""
        return 0.0 if self.student_temperature == self.teacher_temperature else None

    def __call__(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the mean KL of (n, c) student scores; `mask` (n, c) is True where a candidate counts."""
        return score_kl(student, teacher.detach(), self.student_temperature, self.teacher_temperature, mask)


@full_precision
def inner_scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Inner products in float32 of (n, d) queries with documents: (c, d) shared by all, or (n, c, d) of their own.

    Returns:
        (n, c) scores.
    """
    require_shape("queries", queries, "n", "d")
    if documents.dim() == 2:
        require_shape("documents", documents, "c", queries.shape[1])
        return queries.float() @ documents.float().T
    require_shape("documents", documents, queries.shape[0], "c", queries.shape[1])
    return torch.einsum("nd,ncd->nc", queries.float(), documents.float())
