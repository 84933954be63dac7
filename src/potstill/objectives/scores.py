"""Score distillation: the student ranks each query's candidates as the teacher does (EmbedDistill, Eq. 11)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._softened import Softened
from ._tensors import full_precision, require_shape
from .functional import score_kl


@dataclass(frozen=True)
class ScoreKL(Softened):
    """KL of the teacher's softmax over the candidates to the student's, in nats; `scores:kl`.

    Both temperatures divide scores, and no factor T squared is put back: the gradient scales with
    1 / `student_temperature`. The defaults suit cosines and inner products of unit vectors.
    """

    family = "scores"
    form = "kl"
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment = "frozen_documents"

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
