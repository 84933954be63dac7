"""The whole recipe."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from .base import Strict
from .learning import CandidatesSpec, ObjectiveSpec, QueriesSpec, short_objective
from .running import AugmentSpec, EvaluateSpec, OutputSpec, TrainingSpec
from .students import StudentSpec, short_student
from .teachers import ScorerSpec, TeacherSpec, short_teacher, split_teachers


class Recipe(Strict):
    """One whole run."""

    collection: str
    teacher: Annotated[TeacherSpec, BeforeValidator(short_teacher)]
    scorers: tuple[ScorerSpec, ...] = ()
    student: Annotated[StudentSpec, BeforeValidator(short_student)] = StudentSpec()
    towers: Literal["asymmetric", "shared", "separate"] = "asymmetric"
    queries: QueriesSpec = QueriesSpec()
    candidates: CandidatesSpec = CandidatesSpec()
    objectives: tuple[Annotated[ObjectiveSpec, BeforeValidator(short_objective)], ...] = Field(
        default=(), validate_default=True
    )
    augment: AugmentSpec = AugmentSpec()
    training: TrainingSpec = TrainingSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    output: OutputSpec = OutputSpec()

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
        return self

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, all defaults written out."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False, allow_unicode=True)
