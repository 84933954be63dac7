"""Where unlabelled training queries come from: real ones, and cuts of the documents themselves."""

from .mix import TrainingQueries, training_queries
from .sources import SOURCES

__all__ = ["SOURCES", "TrainingQueries", "training_queries"]
