"""What an objective is, and what it declares about itself so that a planner can judge a recipe before work starts."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

Signal = Literal["vectors", "scores", "layers"]
Alignment = Literal["always", "frozen_documents", "never"]
Role = Literal["query", "document", "both"]


class Objective(ABC):
    """How close is close: `objective(student, teacher, ...)` is a scalar to minimise.

    Subclasses are frozen dataclasses; their fields are the options. `str(objective)` is a spelling that
    `parse_objective` reads back. Teachers are frozen here: no gradient flows to them (where they are trained jointly,
    use the functions of `functional`). An option out of its range raises ValueError when the objective is made.
    """

    forms: ClassVar[tuple[str, ...]] = ()
    """All values of `form`, for a class with more than one."""

    @property
    @abstractmethod
    def family(self) -> str:
        """First part of the spelling: "match", "scores", ..."""

    @property
    @abstractmethod
    def form(self) -> str:
        """Second part of the spelling: "l2", "kl", ..."""

    @property
    @abstractmethod
    def signals(self) -> frozenset[Signal]:
        """Kinds of signal that the teachers must provide; inner products of `vectors` are `scores` too."""

    @property
    @abstractmethod
    def inputs(self) -> Signal:
        """What `student` is when the objective is called: (n, d) vectors, (n, c) scores or (k, n, c) layers."""

    @property
    def needs_positives(self) -> bool:
        """Whether a known positive is needed for each query."""
        return False

    @property
    @abstractmethod
    def equal_widths(self) -> bool:
        """Whether student and teacher vectors must have one width (a head on the student sees to it)."""

    @property
    def minimum_batch(self) -> int:
        """Fewest rows for which the value depends on the student at all."""
        return 1

    @property
    def minimum_candidates(self) -> int:
        """Fewest candidates a row that give the student a gradient; 0 where there are no candidates."""
        return 0

    @property
    @abstractmethod
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """Value at a perfect copy of the teacher, which is its minimum; None where a copy is not the minimum."""

    @property
    @abstractmethod
    def alignment(self) -> Alignment:
        """Whether a student at the minimum lives in the teacher's own space and could query its index.

        "always"; "frozen_documents": if the scores are taken against the teacher's own document vectors; "never": the
        student is free to rotate, or to shift.
        """

    @abstractmethod
    def __call__(self, student: Tensor, teacher: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the value: a float32 scalar with a gradient to `student`.

        Where no teacher is needed (no `signals`) the second argument is what the class says: the positives.
        """

    def __str__(self) -> str:
        given = [
            f"{field.name}={spell(value)}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if field.name != "form" and (value := getattr(self, field.name)) != field.default
        ]
        return f"{self.family}:{self.form}" + (f"({','.join(given)})" if given else "")


@dataclass(frozen=True)
class Term:
    """One weighted objective for one role; a sum of terms is what is trained. Spelled `match:l2*1.0@query`."""

    objective: Objective
    weight: float = 1.0
    role: Role = "query"

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"the weight of a term must be a positive number, not {self.weight}")
        if self.role not in ("query", "document", "both"):
            raise ValueError(f'the role of a term must be "query", "document" or "both", not {self.role!r}')

    def __str__(self) -> str:
        return f"{self.objective}*{spell(float(self.weight))}@{self.role}"


def spell(value: object) -> str:
    """One option's value as the grammar writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
