"""Teachers: models, services and files that give vectors."""

from .opening import open_teacher
from .precomputed import PrecomputedIndex
from .teacher import Metric, VectorTeacher

__all__ = ["Metric", "PrecomputedIndex", "VectorTeacher", "open_teacher"]
