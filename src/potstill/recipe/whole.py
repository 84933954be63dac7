"""The whole recipe."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from .base import Strict
from .indexing import IndexSpec
from .layers import JointSpec
from .learning import CandidatesSpec, ObjectiveSpec, QueriesSpec, short_objective
from .running import AugmentSpec, EvaluateSpec, OutputSpec, TrainingSpec
from .students import StudentSpec, short_student
from .teachers import ScorerSpec, TeacherSpec, short_teacher, split_teachers

VECTORS = "teacher"
"""What the teacher of vectors is called where it has to be named."""


STAGED = ("teacher", "scorers", "queries", "candidates", "objectives", "joint", "augment", "training")
"""What a stage can change."""


class Recipe(Strict):
    """One whole run.

    `stages` are run one after another, each from the student of the one before: a stage is the keys of the recipe that
    are other in it (a group of keys is merged with the recipe's, a list takes its place).
    """

    collection: str
    teacher: Annotated[TeacherSpec, BeforeValidator(short_teacher)]
    scorers: tuple[ScorerSpec, ...] = ()
    student: Annotated[StudentSpec, BeforeValidator(short_student)] = StudentSpec()
    towers: Literal["asymmetric", "shared", "separate"] = "asymmetric"
    index: IndexSpec | None = None
    queries: QueriesSpec = QueriesSpec()
    candidates: CandidatesSpec = CandidatesSpec()
    objectives: tuple[Annotated[ObjectiveSpec, BeforeValidator(short_objective)], ...] = Field(
        default=(), validate_default=True
    )
    joint: JointSpec | None = None
    augment: AugmentSpec = AugmentSpec()
    training: TrainingSpec = TrainingSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    output: OutputSpec = OutputSpec()
    stages: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _teachers(cls, data: Any) -> Any:
        return split_teachers(data)

    @model_validator(mode="after")
    def _scorers_fit(self) -> Recipe:
        names = [scorer.name for scorer in self.scorers]
        if len(set(names)) < len(names):
            raise ValueError(f"two scorers have one name ({', '.join(map(str, names))}): give each a `name` of its own")
        if taken := [name for name in names if name in ("student", "teacher", "first stage")]:
            raise ValueError(f"a scorer cannot be called {taken[0]!r}, which reports call another: give it a `name`")
        for number, term in enumerate(self.objectives):
            if term.teacher is not None and term.teacher not in names:
                known = f"the scorers are {', '.join(map(str, names))}" if names else "there are no scorers"
                raise ValueError(f"objectives.{number} listens to {term.teacher!r}, and {known}")
            if strangers := [name for name in term.teachers if name not in (VECTORS, *names)]:
                known = ", ".join((VECTORS, *map(str, names)))
                raise ValueError(f"objectives.{number}.teachers names {strangers[0]!r}, and there are {known}")
        return self

    @model_validator(mode="after")
    def _joint_fits(self) -> Recipe:
        if self.joint is None:
            return self
        name, names = self.joint.teacher, [str(scorer.name) for scorer in self.scorers]
        if name not in (VECTORS, *names):
            raise ValueError(f"joint.teacher is {name!r}, which is no teacher here: say {', '.join((VECTORS, *names))}")
        for number, term in enumerate(self.objectives):
            listens = (term.teacher or VECTORS) == name and term.family in ("match", "scores")
            if listens and (term.form != "kl" or term.prefixes or term.keep_wrong is not None):
                raise ValueError(
                    f"objectives.{number} listens to {name}, which is trained too: what it said beforehand no longer "
                    "holds, and the two directions of its response are scores:kl (without prefixes or keep_wrong)"
                )
        return self

    @property
    def live(self) -> tuple[str, ...]:
        """Teachers in the training process: a trained one, scorers whose layers are learned from or that rank a batch.

        Late interaction ranks all documents of a batch for each of its queries; such pairs are not known beforehand.
        """
        compares = {scorer.name for scorer in self.scorers if scorer.kind == "late-interaction"}
        named = [
            term.teacher
            for term in self.objectives
            if term.teacher is not None
            and (term.family == "layers" or (term.teacher in compares and term.documents in ("batch", "pooled")))
        ]
        if self.joint is not None:
            named.append(self.joint.teacher)
        return tuple(dict.fromkeys(named))

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        for number, stage in enumerate(self.stages):
            foreign = [key for key in stage if key not in STAGED]
            if foreign:
                raise ValueError(f"stages.{number} cannot change `{foreign[0]}`; a stage has {', '.join(STAGED)}")
        for number, _ in enumerate(self.stages):
            try:
                self.stage(number)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                raise ValueError(f"stages.{number}.{place}: {first['msg'].removeprefix('Value error, ')}") from None
        return self

    def stage(self, number: int) -> Recipe:
        """The recipe of one stage, by itself."""
        given = self.model_dump(mode="json", exclude={"stages"}, exclude_unset=True)
        return Recipe.model_validate(_merged(given, self.stages[number]))

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, all defaults written out."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False, allow_unicode=True)


def _merged(given: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Groups of keys merged, all else replaced."""
    found = dict(given)
    for key, value in other.items():
        held = found.get(key)
        found[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return found
