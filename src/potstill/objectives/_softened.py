"""What objectives between two softmaxes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._tensors import require_positive
from .base import Objective


@dataclass(frozen=True)
class Softened(Objective):
    """The student's softmax against the teacher's, each at a temperature of its own.

    Attributes:
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's.
    """

    student_temperature: float = 0.05
    teacher_temperature: float = 0.05

    perfect: ClassVar[float | Literal["teacher entropy"]] = 0.0
    """Value of a copy of the teacher at equal temperatures."""

    def __post_init__(self) -> None:
        require_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """`perfect` with equal temperatures; otherwise only a rescaled copy gets there."""
        return self.perfect if self.student_temperature == self.teacher_temperature else None
