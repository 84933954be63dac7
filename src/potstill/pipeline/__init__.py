"""Recipe to run: the one place that knows the order of things."""

from .assess import assess
from .distill import distill

__all__ = ["assess", "distill"]
