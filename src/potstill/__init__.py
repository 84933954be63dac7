"""Potstill distils large retrieval models into small, fast ones, and proves how much was kept."""

__version__ = "0.1.0"
