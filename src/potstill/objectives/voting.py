"""Several teachers, no labels: for each sample the majority teaches (GOVERN, arXiv 2405.03764).

The paper's update rule is reconstructed here from descriptions of it: teachers vote with the sign of the gradient they
would give, the minority is dropped for the sample. Every open choice is an option.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ._softened import Softened
from ._tensors import full_precision, log_probabilities, reduce_rows, require_mask, require_positive, require_shape
from ._votes import Tie
from .base import Objective
from .functional import list_vote_weights, soft_vote_weights, vote_weights

Normaliser = Literal["kept", "teachers"]
PointForm = Literal["logit", "bce", "probability"]


@dataclass(frozen=True)
class _Scalars(Objective):
    """What voting on single numbers has in common.

    Attributes:
        soft_temperature: None is the hard vote; a number, the soft one (a quarter of the median |teacher - student|).
        soft_sharpness: of the soft vote; 0 is the mean ensemble.
        tie: "keep_all": a tied sample is taught by the mean; "drop": by nobody.
        dead_zone: teachers this near to the student do not vote.
        normaliser: of the hard vote: "kept" divides by the number of teachers kept, "teachers" by that of all.
    """

    form: PointForm | Literal["margin"] = "logit"
    soft_temperature: float | None = None
    soft_sharpness: float = 6.0
    tie: Tie = "keep_all"
    dead_zone: float = 0.0
    normaliser: Normaliser = "kept"

    family = "vote"
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")
        _check_soft(self.soft_temperature, self.soft_sharpness)
        for name, value, allowed in (("tie", self.tie, Tie), ("normaliser", self.normaliser, Normaliser)):
            if value not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, not {value!r}")
        if not self.dead_zone >= 0:
            raise ValueError(f"dead_zone must not be negative, got {self.dead_zone}")

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """Value where all teachers agree and the student with them."""
        return "teacher entropy" if self.form == "bce" else 0.0

    def weights(self, student: Tensor, teachers: Tensor, mask: Tensor | None = None) -> Tensor:
        """(k, n) weights of (k, n) teachers for (n,) students, without gradient."""
        if self.soft_temperature is not None:
            return soft_vote_weights(student, teachers, self.soft_temperature, self.soft_sharpness, mask=mask)
        weights = vote_weights(student, teachers, self.tie, dead_zone=self.dead_zone, mask=mask)
        if self.normaliser == "teachers":
            present = torch.full_like(weights[0], len(weights)) if mask is None else mask.sum(dim=0)
            weights = weights * (weights > 0).sum(dim=0) / present.clamp(min=1)
        return weights

    def _value(self, student: Tensor, teachers: Tensor, mask: Tensor | None, counted: Tensor | None = None) -> Tensor:
        student, teachers = student.float(), teachers.detach().float()
        weights = self.weights(student, teachers, mask)
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
        return reduce_rows((weights * losses).sum(dim=0), taught if counted is None else taught & counted, "mean")


@dataclass(frozen=True)
class PointVote(_Scalars):
    """A vote on each score by itself; `vote:logit` (squared error), `vote:bce`, `vote:probability` (squared, sigmoids).

    Teachers and student must be on one scale: calibrate first.
    """

    form: PointForm = "logit"

    forms = get_args(PointForm)

    @full_precision
    def __call__(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the mean over samples that somebody teaches.

        Args:
            student: (n,) logits.
            teacher: (k, n) logits of k teachers.
            mask: (k, n) bool, True where a teacher has a score.
        """
        return self._value(student, teacher, mask)


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
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, reference: Tensor | None = None
    ) -> Tensor:
        """Compute the mean squared error of margins over the pairs that somebody teaches.

        Args:
            student: (n, c) scores.
            teacher: (k, n, c) scores of k teachers.
            mask: (n, c) or, for teachers with holes, (k, n, c) bool, True where there is a score.
            reference: (n,) column that the others are compared with, a positive where one is known; None: column 0.
        """
        return self._value(*self.margins(student, teacher, mask=mask, reference=reference))

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
class SeveralLists(Softened):
    """What lists of several teachers have in common: KL of a distribution that they come to, to the student's."""

    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment = "frozen_documents"

    @abstractmethod
    def target(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, teacher_mask: Tensor | None = None
    ) -> Tensor:
        """Compute the (n, c) distribution; arguments as for the call. No gradient."""

    @full_precision
    def __call__(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, teacher_mask: Tensor | None = None
    ) -> Tensor:
        """Compute the mean KL over lists that somebody says anything about.

        Args:
            student: (n, c) scores.
            teacher: (k, n, c) scores of k teachers over the same candidates.
            mask: (n, c) bool, True where a candidate counts.
            teacher_mask: (k, n) bool, True where a teacher says anything about the query.
        """
        target = self.target(student, teacher, mask=mask, teacher_mask=teacher_mask)
        log_student = log_probabilities(student, self.student_temperature, mask)
        rows = torch.xlogy(target, target).sum(dim=1) - (target * log_student).sum(dim=1)
        return reduce_rows(rows, target.sum(dim=1) > 0, "mean")


@dataclass(frozen=True)
class ListVote(SeveralLists):
    """Whole teachers vote on each list by the agreement of their descent directions; KL to the kept mean; `vote:list`.

    Attributes:
        student_temperature: of the student's softmax.
        teacher_temperature: of every teacher's; divide scores by each teacher's own calibrated temperature beforehand.
        soft_temperature: None is the hard vote; a number, the soft one, on cosines of directions.
        soft_sharpness: of the soft vote; 0 is the mean of the teachers' probabilities.
    """

    student_temperature: float = 1.0
    teacher_temperature: float = 1.0
    soft_temperature: float | None = None
    soft_sharpness: float = 6.0

    family = "vote"
    form = "list"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_soft(self.soft_temperature, self.soft_sharpness)

    @full_precision
    def target(
        self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, teacher_mask: Tensor | None = None
    ) -> Tensor:
        """Compute the (n, c) distribution that the vote settles on; arguments as for the call. No gradient."""
        own, theirs = self.probabilities(student, teacher, mask=mask, teacher_mask=teacher_mask)
        return torch.einsum("kn,knc->nc", self.weights(own, theirs, teacher_mask), theirs)

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

    def weights(self, own: Tensor, theirs: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        """(k, n) weights of teachers whose `probabilities` these are, without gradient."""
        soft = None if self.soft_temperature is None else (self.soft_temperature, self.soft_sharpness)
        return list_vote_weights(own, theirs, soft=soft, mask=teacher_mask)


def _check_soft(temperature: float | None, sharpness: float) -> None:
    if temperature is not None:
        require_positive(soft_temperature=temperature)
    if not 0 <= sharpness < float("inf"):
        raise ValueError(f"soft_sharpness must be a finite number, 0 or more, not {sharpness}")
