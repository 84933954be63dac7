"""Several teachers as one, without a vote: what GOVERN is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ._tensors import full_precision, log_probabilities, require_mask, require_shape
from .voting import SeveralLists

EnsembleForm = Literal["mean", "logits", "median", "random", "entropy", "entropy-softmax"]


@dataclass(frozen=True)
class ListEnsemble(SeveralLists):
    """KL of the teachers' common distribution over each list to the student's.

    `ensemble:mean` averages probabilities, which has the gradient of the mean of the teachers' losses;
    `ensemble:logits` averages scores, `ensemble:median` takes each candidate's median score (of scores less their
    list's mean); `ensemble:random` one teacher a batch; `ensemble:entropy` and `ensemble:entropy-softmax` weigh
    teachers by how sure they are: 1 - H_k / sum_j H_j, brought to sum 1 (EBKD), or softmax(-H_k).

    Attributes:
        student_temperature: of the student's softmax.
        teacher_temperature: of every teacher's; divide scores by each teacher's own calibrated temperature beforehand.
    """

    student_temperature: float = 1.0
    teacher_temperature: float = 1.0
    form: EnsembleForm = "mean"

    family = "ensemble"
    forms = get_args(EnsembleForm)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")

    @full_precision
    def target(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, teacher_mask: Tensor | None = None
    ) -> Tensor:
        """Compute the (n, c) distribution that the teachers come to; arguments as for the call. No gradient."""
        require_shape("student", student, "n", "c")
        require_shape("teacher", teacher, "k", *student.shape)
        require_mask(mask, *student.shape)
        said = teacher.detach().float() / self.teacher_temperature
        kept = torch.ones_like(student, dtype=torch.bool) if mask is None else mask
        there = torch.ones(said.shape[:2], dtype=torch.bool, device=said.device)
        if teacher_mask is not None:
            require_mask(teacher_mask, *said.shape[:2])
            there = teacher_mask
        if self.form in ("logits", "median"):
            said = said.masked_fill(~kept, 0.0)
            said = said - said.sum(dim=2, keepdim=True) / kept.sum(dim=1).clamp(min=1).unsqueeze(1)
            voices = said.masked_fill(~there.unsqueeze(2), torch.nan)
            common = voices.nanmean(dim=0) if self.form == "logits" else voices.nanquantile(0.5, dim=0)
            common = torch.where(kept, log_probabilities(common.nan_to_num(), 1.0, mask).exp(), 0.0)
            return torch.where(there.any(dim=0).unsqueeze(1), common, 0.0)
        log_p = log_probabilities(said, 1.0, mask)
        theirs = torch.where(kept, log_p.exp(), 0.0)
        return torch.einsum("kn,knc->nc", self._weights(-(theirs * log_p).sum(dim=2), there), theirs)

    def _weights(self, entropy: Tensor, there: Tensor) -> Tensor:
        """(k, n) weights that sum to 1 over the teachers that say anything."""
        if self.form == "random":
            draw = torch.rand(len(there), device=there.device).unsqueeze(1).expand(there.shape)
            chosen = draw.masked_fill(~there, -1.0).argmax(dim=0)
            return torch.nn.functional.one_hot(chosen, len(there)).T.float() * there
        if self.form == "entropy-softmax":
            return torch.softmax((-entropy).masked_fill(~there, -1e30), dim=0) * there
        weights = there.float()
        if self.form == "entropy":
            held = entropy * there
            unsure = 1.0 - held / held.sum(dim=0).clamp(min=1e-12)
            alone = there.sum(dim=0) < 2
            weights = torch.where(alone, weights, unsure * there)
        return weights / weights.sum(dim=0).clamp(min=1e-12)
