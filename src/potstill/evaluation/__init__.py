"""How much was kept: exact search, measures, significance, agreement with the teacher, and cost."""

from .agreement import Agreement, mean_overlap, overlap
from .cost import EncoderLike, measure_costs, one_thread
from .evaluate import evaluate_pair, evaluate_systems, evaluate_unjudged
from .exclusion import Exclusion, exclude_self
from .guarantee import Guarantee, evaluate_guarantee
from .measures import DEFAULT_MEASURES, measure, parse_measures
from .pairing import Paired, paired
from .reranking import FIRST_STAGE, Reranked, evaluate_reranking, rerank
from .result import Comparison, Evaluation
from .search import Ranking, Rows, exact_search
from .significance import Interval, Retention, compare, holm, mean_interval, retention
from .systems import System
from .trec import read_run, write_run

__all__ = [
    "DEFAULT_MEASURES",
    "FIRST_STAGE",
    "Agreement",
    "Comparison",
    "EncoderLike",
    "Evaluation",
    "Exclusion",
    "Guarantee",
    "Interval",
    "Paired",
    "Ranking",
    "Reranked",
    "Retention",
    "Rows",
    "System",
    "compare",
    "evaluate_guarantee",
    "evaluate_pair",
    "evaluate_reranking",
    "evaluate_systems",
    "evaluate_unjudged",
    "exact_search",
    "exclude_self",
    "holm",
    "mean_interval",
    "mean_overlap",
    "measure",
    "measure_costs",
    "one_thread",
    "overlap",
    "paired",
    "parse_measures",
    "read_run",
    "rerank",
    "retention",
    "write_run",
]
