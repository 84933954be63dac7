"""What objectives of several teachers over one list have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ._softened import Softened
from ._tensors import full_precision, log_probabilities, reduce_rows


@dataclass(frozen=True)
class SeveralLists(Softened):
    """What lists of several teachers have in common: KL of a distribution that they come to, to the student's."""

    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment = "frozen_documents"

    @abstractmethod
    def settle(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Compute what is learned; arguments as for the call.

        Returns:
            The (n, c) distribution, all 0 where nobody teaches, and (n,) what each list's step is multiplied by (None:
            nothing). No gradient.
        """

    def target(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the (n, c) distribution alone; arguments as for the call. No gradient."""
        return self.settle(student, teacher, mask=mask, teacher_mask=teacher_mask, labels=labels)[0]

    @full_precision
    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the mean KL over lists that somebody says anything about.

        Args:
            student: (n, c) scores.
            teacher: (k, n, c) scores of k teachers over the same candidates.
            mask: (n, c) bool, True where a candidate counts.
            teacher_mask: (k, n) bool, True where a teacher says anything about the query.
            labels: (n, c) grades, above 0 where a candidate is known to fit, NaN where nothing is known; read by forms
                that weigh teachers by labels.
        """
        target, scale = self.settle(student, teacher, mask=mask, teacher_mask=teacher_mask, labels=labels)
        log_student = log_probabilities(student, self.student_temperature, mask)
        rows = torch.xlogy(target, target).sum(dim=1) - (target * log_student).sum(dim=1)
        return reduce_rows(rows if scale is None else rows * scale, target.sum(dim=1) > 0, "mean")


def list_errors(theirs: Tensor, label: Tensor) -> Tensor:
    """(k, n) cross-entropy of (k, n, c) probabilities with an (n, c) label; NaN where none is known."""
    errors = -(label * theirs.clamp(min=1e-30).log()).sum(dim=2)
    return torch.where(label.sum(dim=1) > 0, errors, torch.nan)
