"""Several teachers as one, without a vote: what GOVERN is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ._several import SeveralLists, list_errors
from ._tensors import full_precision, log_probabilities, require_mask, require_shape
from ._weighing import confidence_weights, min_norm_weights, relevant_distribution

EnsembleForm = Literal["mean", "logits", "median", "random", "entropy", "entropy-softmax", "min-norm", "confidence"]


@dataclass(frozen=True)
class ListEnsemble(SeveralLists):
    """KL of the teachers' common distribution over each list to the student's.

    `ensemble:mean` averages probabilities, which has the gradient of the mean of the teachers' losses;
    `ensemble:logits` averages scores, `ensemble:median` takes each candidate's median score (of scores less their
    list's mean); `ensemble:random` one teacher a batch; `ensemble:entropy` and `ensemble:entropy-softmax` weigh
    teachers by how sure they are: 1 - H_k / sum_j H_j, brought to sum 1 (EBKD), or softmax(-H_k). `ensemble:min-norm`
    weighs the batch's teachers so that their gradients add up to the shortest (AE-KD; columns of lists mean nothing
    beyond their list, so the gradient is that of all scores of the batch, not a mean over it). `ensemble:confidence`
    weighs them by their agreement with the label where there is one (CA-MKD), alike elsewhere.

    Attributes:
        student_temperature: of the student's softmax.
        teacher_temperature: of every teacher's; divide scores by each teacher's own calibrated temperature beforehand.
        cap: the largest weight of `min-norm`; at least 1/K.
    """

    student_temperature: float = 1.0
    teacher_temperature: float = 1.0
    form: EnsembleForm = "mean"
    cap: float = 0.6

    family = "ensemble"
    forms = get_args(EnsembleForm)

    @property
    def needs_positives(self) -> bool:
        """To weigh teachers by their agreement with labels."""
        return self.form == "confidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")
        if not 0 < self.cap <= 1:
            raise ValueError(f"cap must be above 0 and at most 1, not {self.cap}")

    def settle(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What the teachers come to; see `SeveralLists`."""
        return self._common(student, teacher, mask, teacher_mask, labels), None

    @full_precision
    def _common(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Tensor | None,
        teacher_mask: Tensor | None,
        labels: Tensor | None,
    ) -> Tensor:
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
        if self.form == "min-norm":
            own = torch.where(kept, log_probabilities(student.detach(), self.student_temperature, mask).exp(), 0.0)
            pulls = torch.where(there.unsqueeze(2), own - theirs, 0.0)
            cap = max(self.cap, 1.0 / len(pulls))
            weights = min_norm_weights(pulls.flatten(1), cap).unsqueeze(1) * there
            weights = torch.where(weights.sum(dim=0) > 0, weights, there)  # only teachers without weight speak
            weights = weights / weights.sum(dim=0).clamp(min=1e-12)
        elif self.form == "confidence" and labels is not None:
            alike = there / there.sum(dim=0).clamp(min=1)
            weights = confidence_weights(alike, list_errors(theirs, relevant_distribution(labels, mask)))
        else:
            weights = self._weights(-(theirs * log_p).sum(dim=2), there)
        return torch.einsum("kn,knc->nc", weights, theirs)

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
