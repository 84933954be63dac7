"""The weighted terms of a loss, made from a recipe's objectives: which rows, which documents, which function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..objectives import functional
from ..recipe import ObjectiveSpec


@dataclass(frozen=True)
class MatchTerm:
    """The student's vectors against the teacher's, row by row (EmbedDistill, Eq. 7 and 8)."""

    name: str
    weight: float
    role: Literal["query", "document", "both"]
    metric: functional.MatchMetric
    prefixes: tuple[int, ...] = ()

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean distance of `(n, d)` pairs, over the prefixes where some are given (the full width among them)."""
        widths = sorted({*self.prefixes, student.shape[1]})
        values = [functional.embedding_match(student[:, :w], teacher[:, :w], self.metric) for w in widths]
        return values[0] if len(values) == 1 else torch.stack(values).mean()


@dataclass(frozen=True)
class ScoreTerm:
    """The student's distribution over documents against the teacher's (EmbedDistill, Eq. 11)."""

    name: str
    weight: float
    documents: Literal["batch", "sample", "mined", "all"]
    count: int
    student_temperature: float
    teacher_temperature: float
    prefixes: tuple[int, ...] = ()

    def widths(self, full: int) -> list[int]:
        """The widths at which scores are compared: the prefixes and the full one."""
        return sorted({*self.prefixes, full})

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """KL of `(n, c)` scores."""
        return functional.score_kl(student, teacher, self.student_temperature, self.teacher_temperature, mask=mask)


Term = MatchTerm | ScoreTerm


def build_terms(specs: Sequence[ObjectiveSpec]) -> list[Term]:
    """Terms of a recipe's objectives, in their order; names are `match:l2`, `scores:kl@batch`, ... and distinct.

    Raises:
        InputError: no objective at all, or one that means nothing.
    """
    if not specs:
        raise InputError("there is nothing to train for", where="objectives", fix="add one, for example match:l2")
    terms: list[Term] = []
    for number, spec in enumerate(specs):
        where = f"objectives.{number}"
        if any(width < 1 for width in spec.prefixes):
            raise InputError(
                f"prefixes are widths, not {list(spec.prefixes)}", where=where, fix="give positive numbers"
            )
        if spec.family == "match":
            assert spec.form in ("l2", "squared", "cosine")
            name = f"match:{spec.form}" + ("" if spec.role == "query" else f"@{spec.role}")
            terms.append(MatchTerm(_fresh(name, terms), spec.weight, spec.role, spec.form, _sorted(spec.prefixes)))
            continue
        if spec.role != "query":
            raise InputError(
                "scores compare a query with documents", where=f"{where}.role", fix="leave `role` out or say query"
            )
        terms.append(
            ScoreTerm(
                _fresh(f"scores:{spec.form}@{spec.documents}", terms),
                spec.weight,
                spec.documents,
                spec.count,
                spec.student_temperature,
                spec.teacher_temperature,
                _sorted(spec.prefixes),
            )
        )
    return terms


def _fresh(name: str, terms: Sequence[Term]) -> str:
    taken = {term.name for term in terms}
    number = 2
    fresh = name
    while fresh in taken:
        fresh, number = f"{name}#{number}", number + 1
    return fresh


def _sorted(prefixes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(prefixes)))
