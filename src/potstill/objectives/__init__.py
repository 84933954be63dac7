"""Objectives: how close is close. Pure tensor code; `functional` can be used in any training loop."""

from .base import Alignment, Objective, Role, Signal, Term
from .embedding import EmbeddingMatch
from .grammar import parse_objective, parse_term
from .prefixes import AtPrefixes
from .scores import ScoreKL, inner_scores

__all__ = [
    "Alignment",
    "AtPrefixes",
    "EmbeddingMatch",
    "Objective",
    "Role",
    "ScoreKL",
    "Signal",
    "Term",
    "inner_scores",
    "parse_objective",
    "parse_term",
]
