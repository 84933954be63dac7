"""Teachers: models, services and files that give vectors, and models that give scores."""

from .opening import open_scorer, open_teacher
from .precomputed import PrecomputedIndex
from .scorer import PairSignal, PairSource, Scorer
from .teacher import Metric, VectorTeacher

__all__ = [
    "Metric",
    "PairSignal",
    "PairSource",
    "PrecomputedIndex",
    "Scorer",
    "VectorTeacher",
    "open_scorer",
    "open_teacher",
]
