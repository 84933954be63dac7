"""Matryoshka: an objective at prefixes of the student's vector, so that short prefixes are good vectors themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .base import Alignment, Objective, Signal
from .scores import inner_scores


@dataclass(frozen=True)
class AtPrefixes(Objective):
    """The mean of an objective over prefixes of the student's width, the full width always among them.

    What lives at the student's width is cut to the same prefix: for matching, the teacher's vector (and the columns of
    the documents' root, which then weighs by documents cut but not brought to length one); for scores, the documents
    (the teacher's scores stay those of its full width); for relations to a bank, teacher and bank. With `unit`, a cut
    vector is brought back to length one on both sides, as it is when it is served; the full width is used as given. Set
    it to False for spaces where length carries meaning. A mean, not a sum: the weight of a term means the same with and
    without prefixes.

    Spelled `match:l2[64,128]`; with `unit=False`, `match:l2[64,128;raw]`.
    """

    objective: Objective
    prefixes: tuple[int, ...]
    unit: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.objective, AtPrefixes):
            raise ValueError("an objective at prefixes cannot be taken at prefixes again")
        if self.objective.inputs == "layers":
            raise ValueError(f"{self.objective} reads layers, which have no prefixes")
        if not self.prefixes or any(p < 1 for p in self.prefixes) or len(set(self.prefixes)) < len(self.prefixes):
            raise ValueError(f"prefixes must be different positive widths, at least one; got {self.prefixes}")

    @property
    def family(self) -> str:
        """The wrapped objective's."""
        return self.objective.family

    @property
    def form(self) -> str:
        """The wrapped objective's."""
        return self.objective.form

    @property
    def signals(self) -> frozenset[Signal]:
        """The wrapped objective's."""
        return self.objective.signals

    @property
    def inputs(self) -> Signal:
        """Vectors, always: a prefix is cut before scores are taken."""
        return "vectors"

    @property
    def needs_positives(self) -> bool:
        """The wrapped objective's."""
        return self.objective.needs_positives

    @property
    def equal_widths(self) -> bool:
        """The wrapped objective's."""
        return self.objective.equal_widths

    @property
    def minimum_batch(self) -> int:
        """The wrapped objective's."""
        return self.objective.minimum_batch

    @property
    def minimum_candidates(self) -> int:
        """The wrapped objective's."""
        return self.objective.minimum_candidates

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """The wrapped objective's, except for scores and own-space relations.

        There a copy of the teacher is not the minimum at a prefix, because the target is always the full width's.
        """
        return self.objective.perfect_value if self.objective.equal_widths else None

    @property
    def alignment(self) -> Alignment:
        """The wrapped objective's."""
        return self.objective.alignment

    def __str__(self) -> str:
        return f"{self.objective}[{','.join(map(str, self.prefixes))}{'' if self.unit else ';raw'}]"

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        documents: Tensor | None = None,
        bank: Tensor | None = None,
        root: Tensor | None = None,
        **rest: Any,
    ) -> Tensor:
        """Compute the mean over prefixes.

        Args:
            student: (n, d) vectors.
            teacher: (n, d) vectors, or (n, c) scores if the objective reads scores; or what else it takes second (the
                (n,) positives of the one-hot loss).
            documents: (c, d) or (n, c, d), needed if the objective reads scores.
            bank: (m, d), for relations to a bank.
            root: (d, d), for matching by covariance.
            rest: passed on.
        """
        width = student.shape[-1]
        if max(self.prefixes) > width:
            raise ValueError(f"prefix {max(self.prefixes)} is wider than the student's {width} dimensions")
        if self.objective.inputs == "scores" and documents is None:
            raise ValueError(f"{self} needs `documents`: scores at a prefix are taken against their prefixes")
        values = []
        for prefix in sorted({*self.prefixes, width}):
            cut, more = self._cut(student, prefix), dict(rest)
            if bank is not None:
                more["bank"] = self._cut(bank, prefix)
            if root is not None:
                more["root"] = root[:, :prefix]
            if self.objective.inputs == "scores" and documents is not None:
                values.append(self.objective(inner_scores(cut, self._cut(documents, prefix)), teacher, **more))
                continue
            target = self._cut(teacher, prefix) if self.objective.equal_widths else teacher
            values.append(self.objective(cut, target, **more))
        return torch.stack(values).mean()

    def _cut(self, vectors: Tensor, prefix: int) -> Tensor:
        if prefix == vectors.shape[-1]:
            return vectors
        cut = vectors[..., :prefix].float()
        return normalize(cut, dim=-1) if self.unit else cut
