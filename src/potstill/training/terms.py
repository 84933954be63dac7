"""The weighted terms of a loss, made from a recipe's objectives: which rows, which documents, which function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ..errors import InputError
from ..objectives.base import Objective
from ..objectives.embedding import EmbeddingMatch
from ..objectives.functional import MatchMetric
from ..objectives.prefixes import AtPrefixes
from ..objectives.scores import ScoreKL
from ..recipe import ObjectiveSpec


@dataclass(frozen=True)
class MatchTerm:
    """The student's vectors against the teacher's, row by row."""

    name: str
    weight: float
    role: Literal["query", "document", "both"]
    objective: Objective


@dataclass(frozen=True)
class ScoreTerm:
    """The student's distribution over documents against the teacher's; `documents` says which, `count` how many."""

    name: str
    weight: float
    documents: Literal["batch", "sample", "mined", "all"]
    count: int
    objective: Objective


Term = MatchTerm | ScoreTerm


def build_terms(specs: Sequence[ObjectiveSpec], *, unit: bool = True) -> list[Term]:
    """Terms of a recipe's objectives, in their order; names are `match:l2`, `scores:kl@batch`, ... and distinct.

    Args:
        specs: the recipe's.
        unit: whether prefixes of vectors are brought to unit length, as they are where the space is a cosine one.

    Raises:
        InputError: no objective at all, or one that means nothing.
        ValueError: `documents: auto`, which depends on the size of the corpus, was not settled before.
    """
    if not specs:
        raise InputError("there is nothing to train for", where="objectives", fix="add one, for example match:l2")
    terms: list[Term] = []
    for number, spec in enumerate(specs):
        where = f"objectives.{number}"
        if spec.family == "scores" and spec.role != "query":
            raise InputError(
                "scores compare a query with documents", where=f"{where}.role", fix="leave `role` out or say query"
            )
        try:
            objective = _objective(spec, unit)
        except ValueError as error:
            raise InputError(str(error), where=where, fix="mend the objective") from None
        if spec.family == "match":
            name = f"match:{spec.form}" + ("" if spec.role == "query" else f"@{spec.role}")
            terms.append(MatchTerm(_fresh(name, terms), spec.weight, spec.role, objective))
        else:
            if spec.documents == "auto":
                raise ValueError("`documents: auto` is decided by the pipeline, which knows how many there are")
            name = f"scores:{spec.form}@{spec.documents}"
            terms.append(ScoreTerm(_fresh(name, terms), spec.weight, spec.documents, spec.count, objective))
    return terms


def _objective(spec: ObjectiveSpec, unit: bool) -> Objective:
    objective: Objective
    if spec.family == "match":
        objective = EmbeddingMatch(cast(MatchMetric, spec.form))
    else:
        objective = ScoreKL(spec.student_temperature or 0.05, spec.teacher_temperature or 0.05)
    return AtPrefixes(objective, spec.prefixes, unit) if spec.prefixes else objective


def _fresh(name: str, terms: Sequence[Term]) -> str:
    taken = {term.name for term in terms}
    number = 2
    fresh = name
    while fresh in taken:
        fresh, number = f"{name}#{number}", number + 1
    return fresh
