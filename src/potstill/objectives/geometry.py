"""Relations within a batch: baselines and relatives of relational distillation, one function each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from . import functional
from .base import Alignment, Objective

GeometryForm = Literal["pkt", "flow", "rkd-distance", "rkd-angle", "sp", "ega", "comparative"]


@dataclass(frozen=True)
class BatchGeometry(Objective):
    """How the texts of a batch lie to one another, the student's against the teacher's; no bank and no temperature.

    `relations:pkt` (probabilistic knowledge transfer), `relations:flow` (the same with two kernels, both directions),
    `relations:rkd-distance`, `relations:rkd-angle`, `relations:sp` (similarity-preserving), `relations:ega` (graph
    alignment, which a copy of the teacher does not minimise) and `relations:comparative` (differences of texts). Scales
    differ by orders of magnitude: choose weights by the logged gradient norms.
    """

    form: GeometryForm = "pkt"

    family = "relations"
    forms = get_args(GeometryForm)
    signals = frozenset({"vectors"})
    inputs = "vectors"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")

    @property
    def equal_widths(self) -> bool:
        """Where coordinates are compared, not distances or angles."""
        return self.form in ("ega", "comparative")

    @property
    def minimum_batch(self) -> int:
        """Two texts have one distance, which is its own mean, and no angle."""
        return 3 if self.form.startswith("rkd") else 2

    @property
    def perfect_value(self) -> float | None:
        """0, but for `ega`, which wants texts to be uncorrelated with other texts' teacher vectors."""
        return None if self.form == "ega" else 0.0

    @property
    def alignment(self) -> Alignment:
        """`ega` ties coordinates; `comparative` leaves the student free to shift, the others to rotate."""
        return "always" if self.form == "ega" else "never"

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the value for (n, d_s) student and (n, d_t) teacher vectors of the same n texts."""
        if self.form == "pkt":
            return functional.information_flow(student, teacher)
        if self.form == "flow":
            return functional.information_flow(student, teacher, ("cosine", "student-t"), symmetric=True)
        if self.form == "rkd-distance":
            return functional.rkd_distance(student, teacher)
        if self.form == "rkd-angle":
            return functional.rkd_angle(student, teacher)
        if self.form == "sp":
            return functional.similarity_preserving(student, teacher)
        if self.form == "ega":
            return functional.edge_graph(student, teacher)
        return functional.comparative(student, teacher)
