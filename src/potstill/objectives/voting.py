"""Several teachers, no labels: for each sample the majority teaches (GOVERN, arXiv 2405.03764).

The paper's update rule is reconstructed here from descriptions of it: teachers vote with the sign of the gradient they
would give, the minority is dropped for the sample. Every open choice is an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ._several import SeveralLists, list_errors
from ._tensors import full_precision, log_probabilities, reduce_rows, require_mask, require_positive, require_shape
from ._votes import Tie
from ._weighing import (
    confidence_weights,
    labelled_weights,
    list_labelled_weights,
    relevant_distribution,
)
from .base import Objective
from .functional import list_vote_weights, soft_vote_weights, vote_weights

Normaliser = Literal["kept", "teachers"]
PointForm = Literal["logit", "bce", "probability"]
Labelled = Literal["confidence", "direction"]
Matched = Literal["mean", "vote"]


@dataclass(frozen=True)
class _Scalars(Objective):
    """What voting on single numbers has in common.

    Attributes:
        soft_temperature: None is the hard vote; a number, the soft one (a quarter of the median |teacher - student|).
        soft_sharpness: of the soft vote; 0 is the mean ensemble.
        tie: "keep_all": a tied sample is taught by the mean; "drop": by nobody.
        dead_zone: teachers this near to the student do not vote.
        normaliser: of the hard vote: "kept" divides by the number of teachers kept, "teachers" by that of all.
        labelled: GOVERN-CA, where a sample has a label: "confidence" weighs those whom the vote keeps by how well they
            agree with it (reading a); "direction" keeps those on the label's side of the student, and weighs them so
            (reading b). Samples without a label are voted on.
        matched: a control, no method: "mean" steps toward the teachers' mean as far as the vote would, "vote" toward
            what the vote keeps as far as the mean would; for the vote takes longer steps under disagreement.
    """

    form: PointForm | Literal["margin"] = "logit"
    soft_temperature: float | None = None
    soft_sharpness: float = 6.0
    tie: Tie = "keep_all"
    dead_zone: float = 0.0
    normaliser: Normaliser = "kept"
    labelled: Labelled | None = None
    matched: Matched | None = None

    family = "vote"
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")
        _check_soft(self.soft_temperature, self.soft_sharpness)
        _check_choices(self.labelled, self.matched)
        for name, value, allowed in (("tie", self.tie, Tie), ("normaliser", self.normaliser, Normaliser)):
            if value not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, not {value!r}")
        if not self.dead_zone >= 0:
            raise ValueError(f"dead_zone must not be negative, got {self.dead_zone}")

    @property
    def needs_positives(self) -> bool:
        """With labels."""
        return self.labelled is not None

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """Value where all teachers agree and the student with them."""
        return "teacher entropy" if self.form == "bce" else 0.0

    def weights(
        self, student: Tensor, teachers: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """(k, n) weights of (k, n) teachers for (n,) students with (n,) labels, without gradient."""
        if self.soft_temperature is not None:
            weights = soft_vote_weights(student, teachers, self.soft_temperature, self.soft_sharpness, mask=mask)
        else:
            weights = vote_weights(student, teachers, self.tie, dead_zone=self.dead_zone, mask=mask)
        if self.normaliser == "teachers" and self.soft_temperature is None:
            present = torch.full_like(weights[0], len(weights)) if mask is None else mask.sum(dim=0)
            weights = weights * (weights > 0).sum(dim=0) / present.clamp(min=1)
        if self.labelled is None or labels is None:
            return weights
        if self.labelled == "direction":
            weights = torch.where(labels.isnan(), weights, labelled_weights(student, teachers, labels, mask=mask))
        errors = binary_cross_entropy_with_logits(teachers.float(), labels.expand_as(teachers), reduction="none")
        return confidence_weights(weights, errors)

    def _value(
        self,
        student: Tensor,
        teachers: Tensor,
        mask: Tensor | None,
        counted: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        student, teachers = student.float(), teachers.detach().float()
        weights = self.weights(student, teachers, mask, labels)
        if mask is not None:
            # Where nobody teaches, nothing may be multiplied by a weight of 0: it may be infinite.
            student, teachers = torch.where(mask.any(dim=0), student, 0.0), torch.where(mask, teachers, 0.0)
        if self.form == "bce":
            losses = binary_cross_entropy_with_logits(
                student.expand_as(teachers), torch.sigmoid(teachers), reduction="none"
            )
        elif self.form == "probability":
            losses = (torch.sigmoid(student) - torch.sigmoid(teachers)).square()
        else:
            losses = (student - teachers).square()
        taught = (weights > 0).any(dim=0)
        if self.matched is not None:
            squashed = self.form in ("bce", "probability")
            own, theirs = (x.sigmoid() if squashed else x for x in (student.detach(), teachers))
            mean = _mean_weights(weights, mask)
            voted, plain = (own - (each * theirs).sum(dim=0) for each in (weights, mean))
            weights, scale = _matched(self.matched, (weights, voted.abs()), (mean, plain.abs()))
            losses = losses * scale
        return reduce_rows((weights * losses).sum(dim=0), taught if counted is None else taught & counted, "mean")


@dataclass(frozen=True)
class PointVote(_Scalars):
    """A vote on each score by itself; `vote:logit` (squared error), `vote:bce`, `vote:probability` (squared, sigmoids).

    Teachers and student must be on one scale: calibrate first.
    """

    form: PointForm = "logit"

    forms = get_args(PointForm)

    @full_precision
    def __call__(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Compute the mean over samples that somebody teaches.

        Args:
            student: (n,) logits.
            teacher: (k, n) logits of k teachers.
            mask: (k, n) bool, True where a teacher has a score.
            labels: (n,) between 0 and 1, NaN where there is none; read by `labelled`.
        """
        return self._value(student, teacher, mask, labels=labels)


@dataclass(frozen=True)
class MarginVote(_Scalars):
    """A vote on differences to each query's reference candidate; `vote:margin`.

    The best default for teachers of different kinds: only their scales need calibration, not their offsets.
    """

    form: Literal["margin"] = "margin"

    forms = ("margin",)
    minimum_candidates = 2

    @full_precision
    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        reference: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the mean squared error of margins over the pairs that somebody teaches.

        Args:
            student: (n, c) scores.
            teacher: (k, n, c) scores of k teachers.
            mask: (n, c) or, for teachers with holes, (k, n, c) bool, True where there is a score.
            reference: (n,) column that the others are compared with, a positive where one is known; None: column 0.
            labels: (n, c) grades, NaN where there is none; a margin has a label where its two grades differ.
        """
        mine, theirs, both, others = self.margins(student, teacher, mask=mask, reference=reference)
        sides = None
        if labels is not None:
            require_shape("labels", labels, *student.shape)
            first = torch.zeros(len(labels), dtype=torch.long, device=labels.device) if reference is None else reference
            gap = (labels.gather(1, first.unsqueeze(1)) - labels).reshape(-1)
            sides = torch.where(gap.abs() > 0, (gap.sign() + 1) / 2, torch.nan)
        return self._value(mine, theirs, both, others, sides)

    def margins(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, reference: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give what is voted on, m = n x c in a row; arguments as for the call.

        Returns:
            (m,) margins of the student and (k, m) of the teachers; (k, m) bool, where a teacher has one; (m,) bool,
            False where a candidate would be compared with itself.
        """
        require_shape("student", student, "n", "c")
        require_shape("teacher", teacher, "k", *student.shape)
        present = torch.ones_like(teacher, dtype=torch.bool) if mask is None else mask.expand_as(teacher)
        require_mask(present, *teacher.shape)
        n, c = student.shape
        if reference is None:
            reference = torch.zeros(n, dtype=torch.long, device=student.device)
        require_shape("reference", reference, n)
        column = reference.unsqueeze(1)
        columns = column.expand(len(teacher), n, 1)
        margins = (student.gather(1, column) - student).reshape(-1)
        targets = (teacher.gather(2, columns) - teacher).reshape(len(teacher), -1)
        both = (present & present.gather(2, columns)).reshape(len(teacher), -1)
        others = (torch.arange(c, device=student.device) != column).reshape(-1)
        return margins, targets, both, others


@dataclass(frozen=True)
class ListVote(SeveralLists):
    """Whole teachers vote on each list by the agreement of their descent directions; KL to the kept mean; `vote:list`.

    Attributes:
        student_temperature: of the student's softmax.
        teacher_temperature: of every teacher's; divide scores by each teacher's own calibrated temperature beforehand.
        soft_temperature: None is the hard vote; a number, the soft one, on cosines of directions.
        soft_sharpness: of the soft vote; 0 is the mean of the teachers' probabilities.
        labelled: GOVERN-CA where some candidate is known to fit, as for votes on single numbers; the label is even over
            such candidates.
        matched: a control, as there.
    """

    student_temperature: float = 1.0
    teacher_temperature: float = 1.0
    soft_temperature: float | None = None
    soft_sharpness: float = 6.0
    labelled: Labelled | None = None
    matched: Matched | None = None

    family = "vote"
    form = "list"

    @property
    def needs_positives(self) -> bool:
        """With labels."""
        return self.labelled is not None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_soft(self.soft_temperature, self.soft_sharpness)
        _check_choices(self.labelled, self.matched)

    @full_precision
    def settle(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What the vote settles on; see `SeveralLists`."""
        own, theirs = self.probabilities(student, teacher, mask=mask, teacher_mask=teacher_mask)
        label = None if labels is None else relevant_distribution(labels, mask)
        weights = self.weights(own, theirs, teacher_mask, label)
        scale = None
        if self.matched is not None:
            mean = _mean_weights(weights, teacher_mask)
            voted, plain = (torch.einsum("kn,knc->nc", each, theirs) - own for each in (weights, mean))
            weights, scale = _matched(self.matched, (weights, voted.norm(dim=1)), (mean, plain.norm(dim=1)))
        return torch.einsum("kn,knc->nc", weights, theirs), scale

    def probabilities(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, teacher_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give what is voted with, (n, c) of the student and (k, n, c); arguments as for the call. No gradient."""
        require_shape("student", student, "n", "c")
        require_shape("teacher", teacher, "k", *student.shape)
        require_mask(mask, *student.shape)
        own = log_probabilities(student.detach(), self.student_temperature, mask).exp()
        theirs = log_probabilities(teacher.detach(), self.teacher_temperature, mask).exp()
        if mask is not None:
            own, theirs = torch.where(mask, own, 0.0), torch.where(mask, theirs, 0.0)
        if teacher_mask is not None:
            theirs = torch.where(teacher_mask.unsqueeze(-1), theirs, 0.0)
        return own, theirs

    def weights(
        self, own: Tensor, theirs: Tensor, teacher_mask: Tensor | None = None, label: Tensor | None = None
    ) -> Tensor:
        """(k, n) weights of teachers whose `probabilities` these are, without gradient; `label` is a distribution."""
        soft = None if self.soft_temperature is None else (self.soft_temperature, self.soft_sharpness)
        weights = list_vote_weights(own, theirs, soft=soft, mask=teacher_mask)
        if self.labelled is None or label is None:
            return weights
        known = label.sum(dim=1) > 0
        if self.labelled == "direction":
            weights = torch.where(known, list_labelled_weights(own, theirs, label, mask=teacher_mask), weights)
        return confidence_weights(weights, list_errors(theirs, label))


def _mean_weights(weights: Tensor, present: Tensor | None) -> Tensor:
    """(k, n) weights of the mean of the teachers that are there."""
    there = torch.ones_like(weights) if present is None else present.float()
    return there / there.sum(dim=0).clamp(min=1)


def _matched(matched: Matched, vote: tuple[Tensor, Tensor], mean: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Weights of one of two directions, and (n,) what brings its step to the length of the other's."""
    (weights, own), (_, other) = (mean, vote) if matched == "mean" else (vote, mean)
    return weights, torch.where(own > 1e-12, other / own.clamp(min=1e-12), 0.0)


def _check_choices(labelled: str | None, matched: str | None) -> None:
    for name, value, allowed in (("labelled", labelled, Labelled), ("matched", matched, Matched)):
        if value is not None and value not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, not {value!r}")


def _check_soft(temperature: float | None, sharpness: float) -> None:
    if temperature is not None:
        require_positive(soft_temperature=temperature)
    if not 0 <= sharpness < float("inf"):
        raise ValueError(f"soft_sharpness must be a finite number, 0 or more, not {sharpness}")
