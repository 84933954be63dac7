"""The user's own index: build one, open one, search it, and check that a student fits it."""

from .building import build_index, check_plan
from .exact import ExactIndex, exact_ranking
from .index import KINDS, Index, IndexMetric
from .measuring import Extra, Rung, climb, extra_effort, ladder, recall
from .opening import open_index
from .probing import Probe, probe
from .settings import settled

__all__ = [
    "KINDS",
    "ExactIndex",
    "Extra",
    "Index",
    "IndexMetric",
    "Probe",
    "Rung",
    "build_index",
    "check_plan",
    "climb",
    "exact_ranking",
    "extra_effort",
    "ladder",
    "open_index",
    "probe",
    "recall",
    "settled",
]
