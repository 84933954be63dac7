"""Signals: what a teacher says of texts, kept on disk under the identity of everything that made it."""

from .filling import FillReport, batches_by_length, fill
from .fingerprint import Fingerprint
from .imports import identity, import_vectors
from .pairs import pair_text, split_pair
from .shard import BrokenShard
from .source import VectorSource
from .store import SignalStore, default_root
from .table import VectorTable
from .upkeep import Problem, TableEntry, gc, listing, verify

__all__ = [
    "BrokenShard",
    "FillReport",
    "Fingerprint",
    "Problem",
    "SignalStore",
    "TableEntry",
    "VectorSource",
    "VectorTable",
    "batches_by_length",
    "default_root",
    "fill",
    "gc",
    "identity",
    "import_vectors",
    "listing",
    "pair_text",
    "split_pair",
    "verify",
]
