"""The weighted terms of a loss, made from a recipe's objectives: which rows, which documents, which function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch

from ..errors import InputError
from ..objectives import (
    Contrastive,
    EmbeddingMatch,
    LayerRankings,
    ListEnsemble,
    ListVote,
    MarginVote,
    Objective,
    PointVote,
    PolicyEnsemble,
    ScoreCorrelation,
    ScoreKL,
    ScoreRegression,
)
from ..objectives.ensembles import EnsembleForm
from ..objectives.functional import MatchMetric
from ..objectives.layers import Weighting
from ..objectives.prefixes import AtPrefixes
from ..objectives.voting import PointForm
from ..recipe import VECTORS, BankSpec, LayersSpec, ObjectiveSpec
from ..recipe.learning import BANKED, FORMS, OF_SEVERAL, POINTS
from .layer_terms import LayerTerm
from .relation_terms import RelationTerm, bank_rows, relation_objective

TEMPERATURE = 0.05
"""Of cosines and inner products of unit vectors, where a recipe names none."""

COUNT = 4_096
"""Documents that a term samples, or candidates that it uses at most, where a recipe names no number."""

PAIRS = 4
"""Pairs whose vectors are averaged into a query's target, where a recipe names no number."""

_READ_BY: dict[str, tuple[tuple[str, str], ...]] = {
    "student_temperature": (
        ("scores", "kl"),
        ("contrastive", "one-hot"),
        ("relations", "bank"),
        ("relations", "own"),
        ("relations", "disco"),
        ("relations", "crd"),
        *(("vote", form) for form in FORMS["vote"]),
        *(("ensemble", form) for form in FORMS["ensemble"]),
    ),
    "teacher_temperature": (("scores", "kl"), ("scores", "cmkd"), ("relations", "bank"), ("relations", "own")),
    "scale_by_temperature": (("scores", "kl"),),
}
"""Which objectives read a key; elsewhere it would be ignored without a word."""


@dataclass(frozen=True)
class MatchTerm:
    """The student's vectors against the teacher's, row by row; `teacher` names a scorer that gives a pair's vectors."""

    name: str
    weight: float
    role: Literal["query", "document", "both"]
    objective: Objective
    teacher: str | None = None


@dataclass(frozen=True)
class ScoreTerm:
    """The student's scores of documents against the teacher's, or against judgments.

    `documents` says which, `count` how many; `teacher` names the scorer that is listened to, None: the teacher of
    vectors; `live`: it is asked while the student trains, not beforehand; `keep_wrong`: see `ObjectiveSpec`. A
    contrastive term with a teacher is that teacher's own.
    """

    name: str
    weight: float
    documents: Literal["batch", "sample", "mined", "pooled", "all"]
    count: int
    objective: Objective
    teacher: str | None = None
    keep_wrong: float | None = None
    live: bool = False


@dataclass(frozen=True)
class VoteTerm(ScoreTerm):
    """Several teachers' scores of each query's own candidates, each less an offset and divided by a temperature.

    `teachers` by name; `teacher` among them is the one of vectors. A vote on lists has the student's temperature in its
    objective, one on margins or points here. `together` names teachers with one vote between them.
    """

    teachers: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = ()
    student_temperature: float = 1.0
    zscore: bool = False
    weights: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()

    @property
    def groups(self) -> list[list[int]]:
        """Numbers of the teachers that have one vote between them, in the order of the first of each."""
        found: list[list[int]] = []
        for number, name in enumerate(self.teachers):
            mates = next((group for group in self.together if name in group), (name,))
            held = next((group for group in found if self.teachers[group[0]] in mates), None)
            if held is None:
                found.append([number])
            else:
                held.append(number)
        return found

    @property
    def voters(self) -> tuple[str, ...]:
        """Who votes: teachers, or several by one name, "a+b"."""
        return tuple("+".join(self.teachers[number] for number in group) for group in self.groups)


Term = MatchTerm | ScoreTerm | LayerTerm | RelationTerm


def reads(spec: ObjectiveSpec, key: str) -> bool:
    """Whether an objective reads this key."""
    return (spec.family, spec.form) in _READ_BY[key]


def learned_with(terms: Iterable[Any]) -> torch.nn.ModuleList:
    """Objectives that have weights of their own, which are trained with the student."""
    return torch.nn.ModuleList(
        term.objective for term in terms if isinstance(getattr(term, "objective", None), torch.nn.Module)
    )


def build_terms(
    specs: Sequence[ObjectiveSpec], *, unit: bool = True, live: Mapping[str, bool] | None = None
) -> list[Term]:
    """Terms of a recipe's objectives, in their order; names are `match:l2`, `scores:kl@batch`, ... and distinct.

    Args:
        specs: the recipe's.
        unit: whether prefixes of vectors are brought to unit length, as they are where the space is a cosine one.
        live: teachers that are in the training process, by name (`teacher`: the one of vectors), and whether each reads
            pairs.

    Raises:
        InputError: no objective at all, or one that means nothing.
        ValueError: `documents: auto`, which depends on the size of the corpus, was not settled before.
    """
    if not specs:
        raise InputError("there is nothing to train for", where="objectives", fix="add one, for example match:l2")
    terms: list[Term] = []
    live = live or {}
    for number, spec in enumerate(specs):
        where = f"objectives.{number}"
        _refuse(spec, where, live)
        try:
            objective = _objective(spec, unit)
        except ValueError as error:
            raise InputError(str(error), where=where, fix="mend the objective") from None
        said = "" if spec.teacher is None else f"({spec.teacher})"
        if spec.family == "match":
            name = f"match:{spec.form}{said}" + ("" if spec.role == "query" else f"@{spec.role}")
            terms.append(MatchTerm(_fresh(name, terms), spec.weight, spec.role, objective, spec.teacher))
        elif spec.family == "relations":
            rows = bank_rows(spec)
            name = f"relations:{spec.form}" + ("" if spec.role == "query" else f"@{spec.role}")
            name += "" if rows in ("batch", "partner") else f" ({rows})"
            terms.append(RelationTerm(_fresh(name, terms), spec.weight, spec.role, objective, rows, spec.bank))
        else:
            if spec.documents == "auto":
                raise ValueError("`documents: auto` is decided by the pipeline, which knows how many there are")
            name = _fresh(f"{spec.family}:{spec.form}{said}@{spec.documents}", terms)
            teacher = spec.teacher
            if teacher is None and spec.family not in ("contrastive", *OF_SEVERAL) and VECTORS in live:
                teacher = VECTORS
            common = (name, spec.weight, spec.documents, spec.count or COUNT)
            if isinstance(objective, LayerRankings):
                terms.append(LayerTerm(*common, objective, teacher, spec.layers, teacher is not None))
            elif spec.family in OF_SEVERAL:
                scales = spec.vote.temperatures or (1.0,) * len(spec.teachers)
                warm = (
                    1.0 if spec.family == "ensemble" or spec.form == "list" else spec.student_temperature or TEMPERATURE
                )
                terms.append(
                    VoteTerm(
                        *common,
                        objective,
                        teachers=spec.teachers,
                        temperatures=scales,
                        student_temperature=warm,
                        zscore=spec.vote.zscore,
                        weights=spec.vote.weights,
                        offsets=spec.vote.offsets,
                        together=spec.vote.together,
                    )
                )
            else:
                terms.append(ScoreTerm(*common, objective, teacher, spec.keep_wrong, teacher in live))
    return terms


def _refuse(spec: ObjectiveSpec, where: str, live: Mapping[str, bool]) -> None:
    """What no data could make sense of."""
    if spec.family == "relations":
        _refuse_relation(spec, where)
    elif spec.bank != BankSpec():
        raise InputError("`bank` is for relations", where=f"{where}.bank", fix="leave it out")
    if spec.family in OF_SEVERAL and (spec.prefixes or spec.documents not in ("auto", "mined", "all")):
        raise InputError(
            "several teachers are heard on each query's own candidates, or on all documents, at the full width",
            where=f"{where}.{'prefixes' if spec.prefixes else 'documents'}",
            fix="leave it out, or use documents: mined or all",
        )
    if spec.needs_judgments and spec.family in OF_SEVERAL and spec.documents == "all":
        raise InputError(
            "labels are of lists that begin with a document that is known to fit",
            where=f"{where}.documents",
            fix="use documents: mined",
        )
    if spec.form in POINTS and spec.documents == "all":
        raise InputError(
            "a vote on single scores is on each query's own candidates",
            where=f"{where}.documents",
            fix="use documents: mined, or vote:list",
        )
    if live_voter := next((name for name in spec.teachers if name in live), None):
        raise InputError(
            f"{live_voter} is in the training process, and votes are of scores that are known beforehand",
            where=f"{where}.teachers",
            fix="name it twice among the scorers, or leave one of the objectives out",
        )
    if spec.family not in ("match", "relations") and spec.role != "query":
        raise InputError(
            "scores compare a query with documents", where=f"{where}.role", fix="leave `role` out or say query"
        )
    if spec.family == "contrastive" and spec.teacher is not None and spec.teacher not in live:
        raise InputError(
            "a contrastive term learns from judgments, not from a teacher", where=f"{where}.teacher", fix="leave it out"
        )
    if spec.keep_wrong is not None and spec.family != "scores":
        raise InputError("the error filter is for scores of a teacher", where=f"{where}.keep_wrong", fix="leave it out")
    if spec.form == "covariance" and spec.teacher is not None:
        raise InputError(
            "the documents' second moments are those of the teacher of vectors, which a scorer's vectors are not of",
            where=f"{where}.form",
            fix="use l2, squared or cosine",
        )
    for key, read_by in _READ_BY.items():
        if getattr(spec, key) and (spec.family, spec.form) not in read_by:
            said = ", ".join(":".join(filter(None, form)) for form in read_by)
            raise InputError(
                f"{spec.family}:{spec.form} has no {key}", where=f"{where}.{key}", fix=f"leave it out; {said} have one"
            )
    if spec.family != "layers" and spec.layers != LayersSpec():
        raise InputError("`layers` pairs blocks, for objectives of that family", where=f"{where}.layers", fix="drop it")
    if spec.documents == "all" and spec.family == "layers":
        raise InputError(
            "a student's blocks cannot rank every document at every update",
            where=f"{where}.documents",
            fix="use documents: pooled, mined or batch",
        )
    if live.get(spec.teacher or VECTORS) and spec.documents not in ("auto", "mined") and spec.family != "match":
        raise InputError(
            f"{spec.teacher} reads each query with its own candidates",
            where=f"{where}.documents",
            fix="use documents: mined",
        )
    alone = spec.needs_lists and (spec.form == "margin-mse" or spec.teacher not in live)
    if spec.family == "scores" and alone and spec.documents not in ("auto", "mined"):
        why = "a scorer reads each query's own candidates" if spec.teacher else "margins are taken to a known positive"
        raise InputError(why, where=f"{where}.documents", fix="use documents: mined")


def _refuse_relation(spec: ObjectiveSpec, where: str) -> None:
    """What makes no sense of a relation."""
    bank = spec.bank
    if spec.teacher is not None:
        raise InputError(
            "relations are between vectors of the teacher of vectors",
            where=f"{where}.teacher",
            fix="leave it out, or learn from the scorer's scores: scores:kl",
        )
    if spec.documents != "auto" or spec.count is not None:
        raise InputError(
            "relations are taken against a `bank`, not against candidates",
            where=f"{where}.{'count' if spec.documents == 'auto' else 'documents'}",
            fix="leave it out, and see bank.rows, bank.neighbours and bank.random",
        )
    if spec.form not in BANKED:
        kept = {"ratio", "perplexity"} if spec.form == "own" else set()
        if given := _changed(bank, kept):
            raise InputError(
                f"relations:{spec.form} has no bank", where=f"{where}.bank.{given[0]}", fix=f"leave it out; {_BANKED}"
            )
        return
    if spec.form != "bank":
        if given := _changed(bank, {"rows", "size", "chunk"}):
            raise InputError(
                f"relations:{spec.form} contrasts each text with its own teacher vector and has no such option",
                where=f"{where}.bank.{given[0]}",
                fix="leave it out; relations:bank has it",
            )
        if bank.rows not in ("auto", "queue"):
            raise InputError(
                f"relations:{spec.form} contrasts a text's own vector with others of its role",
                where=f"{where}.bank.rows",
                fix="use rows: queue",
            )
    elif bank.preset is not None and (spec.student_temperature or spec.teacher_temperature):
        raise InputError(
            f"bank.preset {bank.preset} sets both temperatures", where=f"{where}.bank.preset", fix="leave one out"
        )
    elif spec.student_temperature is not None and spec.teacher_temperature is None and bank.preset is None:
        raise InputError(
            "the student's temperature alone says nothing: what counts is how it compares with the teacher's",
            where=f"{where}.student_temperature",
            fix="give teacher_temperature too, or bank.ratio",
        )
    if bank.self_policy == "slot" and spec.role != "document" and bank.rows not in ("auto", "queue"):
        raise InputError(
            "a query has no place in a bank of documents: roles are not mixed in one softmax",
            where=f"{where}.bank.self_policy",
            fix="use exclude, or rows: queue",
        )


def _changed(bank: BankSpec, kept: set[str]) -> list[str]:
    """Keys that are not as they are by default, but for some."""
    plain = BankSpec()
    return [key for key in BankSpec.model_fields if key not in kept and getattr(bank, key) != getattr(plain, key)]


_BANKED = ", ".join(f"relations:{form}" for form in BANKED) + " have one"


def _objective(spec: ObjectiveSpec, unit: bool) -> Objective:
    student, teacher = spec.student_temperature or TEMPERATURE, spec.teacher_temperature or TEMPERATURE
    objective: Objective
    if spec.family == "match":
        objective = EmbeddingMatch(cast(MatchMetric, spec.form))
    elif spec.family == "contrastive":
        objective = Contrastive(student)
    elif spec.family == "relations":
        objective = relation_objective(spec)
    elif (spec.family, spec.form) == ("ensemble", "policy"):
        objective = PolicyEnsemble(len(spec.teachers) - sum(len(group) - 1 for group in spec.vote.together), student)
    elif spec.family == "ensemble":
        objective = ListEnsemble(student, 1.0, cast(EnsembleForm, spec.form), spec.vote.cap)
    elif spec.family == "vote":
        objective = _vote(spec, student)
    elif spec.family == "layers":
        objective = LayerRankings(cast(Weighting, spec.form), spec.layers.temperature)
    elif spec.form == "kl":
        objective = ScoreKL(student, teacher, scale_by_temperature=spec.scale_by_temperature)
    elif spec.form in ("mse", "margin-mse"):
        objective = ScoreRegression(spec.form)  # type: ignore[arg-type]
    else:
        objective = ScoreCorrelation(spec.form, teacher_temperature=teacher)  # type: ignore[arg-type]
    return AtPrefixes(objective, spec.prefixes, unit) if spec.prefixes else objective


def _vote(spec: ObjectiveSpec, student: float) -> Objective:
    vote = spec.vote
    shared: dict[str, Any] = {
        "soft_temperature": vote.soft,
        "soft_sharpness": vote.sharpness,
        "labelled": vote.labelled,
        "matched": vote.matched,
    }
    if spec.form == "list":
        return ListVote(student, 1.0, **shared)
    shared |= {"tie": vote.tie, "dead_zone": vote.dead_zone, "normaliser": vote.normaliser}
    return MarginVote(**shared) if spec.form == "margin" else PointVote(cast(PointForm, spec.form), **shared)


def _fresh(name: str, terms: Sequence[Term]) -> str:
    taken = {term.name for term in terms}
    number = 2
    fresh = name
    while fresh in taken:
        fresh, number = f"{name}#{number}", number + 1
    return fresh
