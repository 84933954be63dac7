"""Objectives: how close is close. Pure tensor code; `functional` can be used in any training loop."""

from .base import Alignment, Objective, Role, Signal, Term
from .calibration import Calibration, calibrate_temperature
from .embedding import EmbeddingMatch
from .grammar import parse_objective, parse_term
from .layers import LayerPairs, LayerRankings, pair_layers
from .prefixes import AtPrefixes
from .relational import BankRelations, OwnRelations
from .scores import ScoreKL, inner_scores
from .voting import ListVote, MarginVote, PointVote

__all__ = [
    "Alignment",
    "AtPrefixes",
    "BankRelations",
    "Calibration",
    "EmbeddingMatch",
    "LayerPairs",
    "LayerRankings",
    "ListVote",
    "MarginVote",
    "Objective",
    "OwnRelations",
    "PointVote",
    "Role",
    "ScoreKL",
    "Signal",
    "Term",
    "calibrate_temperature",
    "inner_scores",
    "pair_layers",
    "parse_objective",
    "parse_term",
]
