"""Recipes: one typed YAML file is one whole run; every mistake is told with its line and the remedy."""

from .banks import BankSpec
from .base import Lengths, Prompts, Role, SignalRole
from .indexing import IndexSpec
from .layers import JointSpec, LayersSpec
from .learning import CandidatesSpec, GeneratorSpec, ObjectiveSpec, QueriesSpec
from .reading import load_recipe, load_spec
from .running import AugmentSpec, EvaluateSpec, OutputSpec, TrainingSpec
from .students import StudentSpec
from .teachers import ScorerSpec, TeacherSpec
from .teaching import TeachGeneratorSpec, TeachSpec
from .votes import VoteSpec
from .whole import VECTORS, Recipe

__all__ = [
    "VECTORS",
    "AugmentSpec",
    "BankSpec",
    "CandidatesSpec",
    "EvaluateSpec",
    "GeneratorSpec",
    "IndexSpec",
    "JointSpec",
    "LayersSpec",
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
    "VoteSpec",
    "load_recipe",
    "load_spec",
]
