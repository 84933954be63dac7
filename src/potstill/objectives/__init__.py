"""Objectives: how close is close. Pure tensor code; `functional` can be used in any training loop."""

from .base import Alignment, Objective, Role, Signal, Term
from .calibration import Calibration, calibrate_temperature
from .contrastive import Contrastive
from .contrasts import BankContrast, CrossMetric, NoiseContrast
from .embedding import EmbeddingMatch
from .ensembles import ListEnsemble
from .geometry import BatchGeometry
from .grammar import parse_objective, parse_term
from .layers import LayerPairs, LayerRankings, pair_layers
from .policy import PolicyEnsemble
from .prefixes import AtPrefixes
from .relational import BankRelations, OwnRelations
from .scores import ScoreCorrelation, ScoreKL, ScoreRegression, inner_scores
from .voting import ListVote, MarginVote, PointVote

__all__ = [
    "Alignment",
    "AtPrefixes",
    "BankContrast",
    "BankRelations",
    "BatchGeometry",
    "Calibration",
    "Contrastive",
    "CrossMetric",
    "EmbeddingMatch",
    "LayerPairs",
    "LayerRankings",
    "ListEnsemble",
    "ListVote",
    "MarginVote",
    "NoiseContrast",
    "Objective",
    "OwnRelations",
    "PointVote",
    "PolicyEnsemble",
    "Role",
    "ScoreCorrelation",
    "ScoreKL",
    "ScoreRegression",
    "Signal",
    "Term",
    "calibrate_temperature",
    "inner_scores",
    "pair_layers",
    "parse_objective",
    "parse_term",
]
