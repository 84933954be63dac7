"""Where training queries come from: real ones, cuts of the documents themselves, and what a model writes."""

from .generation import Generator, StoredGenerator, open_generator
from .mix import training_queries
from .sources import GENERATED, MIXED, SOURCES
from .training import TrainingQueries

__all__ = [
    "GENERATED",
    "MIXED",
    "SOURCES",
    "Generator",
    "StoredGenerator",
    "TrainingQueries",
    "open_generator",
    "training_queries",
]
