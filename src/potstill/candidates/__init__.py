"""Candidates: for each query, the documents it is compared with; mined, merged, sampled, kept with their provenance."""

from .bm25 import Bm25Index
from .mining import Search, by_chance, by_vectors, by_words, mine, positive_rows
from .mixing import merge, sample
from .nearest import nearest
from .table import Candidates, Provenance, document_digest, load_candidates

__all__ = [
    "Bm25Index",
    "Candidates",
    "Provenance",
    "Search",
    "by_chance",
    "by_vectors",
    "by_words",
    "document_digest",
    "load_candidates",
    "merge",
    "mine",
    "nearest",
    "positive_rows",
    "sample",
]
