"""Recipes: one typed YAML file is one whole run; every mistake is told with its line and the remedy."""

from .base import Lengths, Prompts, Role, SignalRole
from .learning import CandidatesSpec, GeneratorSpec, ObjectiveSpec, QueriesSpec
from .reading import load_recipe, load_spec
from .running import AugmentSpec, EvaluateSpec, OutputSpec, TrainingSpec
from .students import StudentSpec
from .teachers import ScorerSpec, TeacherSpec
from .teaching import TeachGeneratorSpec, TeachSpec
from .whole import Recipe

__all__ = [
    "AugmentSpec",
    "CandidatesSpec",
    "EvaluateSpec",
    "GeneratorSpec",
    "Lengths",
    "ObjectiveSpec",
    "OutputSpec",
    "Prompts",
    "QueriesSpec",
    "Recipe",
    "Role",
    "ScorerSpec",
    "SignalRole",
    "StudentSpec",
    "TeachGeneratorSpec",
    "TeachSpec",
    "TeacherSpec",
    "TrainingSpec",
    "load_recipe",
    "load_spec",
]
