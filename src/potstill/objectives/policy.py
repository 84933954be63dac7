"""RL-KD: a policy that is learned with the student chooses which teachers are heard of each list (2012.06048)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ._several import list_errors
from ._tensors import full_precision, log_probabilities, reduce_rows, require_positive
from ._weighing import relevant_distribution
from .base import Alignment, Objective, Signal


class PolicyEnsemble(torch.nn.Module, Objective):
    """KL of the mean of the chosen teachers to the student, and REINFORCE for the choice; `ensemble:policy`.

    For each list with a label the state is, of every teacher, its cross-entropy with the label, its entropy, and its KL
    to the student; pi_k = sigmoid(A_k state + b_k) is the chance that teacher k is heard. Of lists without a label, and
    for the first `warm_up` calls, all are heard (as where nobody was chosen). The reward is what the step toward the
    chosen target t takes off the student's cross-entropy with the label y, to first order: (y - p) . (t - p), less its
    running mean. It stands for RL-KD's own, which is measured on the student after the step. Weights of the policy are
    parameters: whoever trains the student trains them with it.

    Args:
        teachers: how many there are.
        student_temperature: of the student's softmax.
        warm_up: calls in which the plain mean teaches.
    """

    family = "ensemble"
    form = "policy"
    signals: frozenset[Signal] = frozenset({"scores"})
    inputs: Signal = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment: Alignment = "frozen_documents"
    perfect_value: float | Literal["teacher entropy"] | None = None
    needs_positives = True

    def __init__(self, teachers: int, student_temperature: float = 1.0, warm_up: int = 100) -> None:
        super().__init__()
        require_positive(student_temperature=student_temperature)
        self.student_temperature, self.warm_up = student_temperature, warm_up
        self.policy = torch.nn.Linear(3 * teachers, teachers)
        torch.nn.init.zeros_(self.policy.weight)
        torch.nn.init.constant_(self.policy.bias, 1.0)  # at first most are heard
        self.expected: Tensor
        self.calls: Tensor
        self.register_buffer("expected", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def __str__(self) -> str:
        return "ensemble:policy"

    @full_precision
    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the value; arguments as for `SeveralLists`."""
        kept = torch.ones_like(student, dtype=torch.bool) if mask is None else mask
        there = torch.ones(teacher.shape[:2], dtype=torch.bool, device=student.device)
        there = there if teacher_mask is None else teacher_mask
        log_p = log_probabilities(teacher.detach(), 1.0, mask)
        theirs = torch.where(kept, log_p.exp(), 0.0)
        log_student = log_probabilities(student, self.student_temperature, mask)
        label = relevant_distribution(torch.zeros_like(student) if labels is None else labels, mask)
        known = label.sum(dim=1) > 0
        chances = self.policy(self._state(theirs, log_p, log_student.detach(), label, there))  # (n, k) logits
        chosen = (torch.rand_like(chances) < torch.sigmoid(chances.detach())) & there.T
        warm = bool(self.calls < self.warm_up)
        asked = chosen if not warm else there.T
        asked = torch.where((known & asked.any(dim=1)).unsqueeze(1), asked, there.T)
        weights = asked / asked.sum(dim=1, keepdim=True).clamp(min=1)
        target = torch.einsum("nk,knc->nc", weights.float(), theirs)
        rows = torch.xlogy(target, target).sum(dim=1) - (target * log_student).sum(dim=1)
        value = reduce_rows(rows, there.any(dim=0), "mean")
        if not self.training:
            return value
        self.calls += 1
        counted = known & there.any(dim=0)
        if warm or not bool(counted.any()):
            return value
        own = torch.where(kept, log_student.detach().exp(), 0.0)
        reward = ((label - own) * (target - own)).sum(dim=1)
        gain = torch.where(counted, reward - self.expected, 0.0)
        self.expected.lerp_(reward[counted].mean(), 0.1)
        surprise = binary_cross_entropy_with_logits(chances, chosen.float(), reduction="none")
        told = torch.where(there.T, surprise, 0.0).sum(dim=1)  # -log pi(a)
        return value + reduce_rows(gain * told, counted, "mean")

    @torch.no_grad()
    def _state(self, theirs: Tensor, log_p: Tensor, log_student: Tensor, label: Tensor, there: Tensor) -> Tensor:
        """(n, 3k): of each teacher its error, its entropy and its distance to the student; 0 where it says nothing."""
        entropy = -(theirs * log_p).sum(dim=2)
        apart = (theirs * (log_p - log_student)).sum(dim=2)
        state = torch.stack([list_errors(theirs, label).nan_to_num(), entropy, apart])
        return torch.where(there, state, 0.0).flatten(0, 1).T

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """See `forward`."""
        found: Tensor = torch.nn.Module.__call__(self, *args, **kwargs)
        return found
