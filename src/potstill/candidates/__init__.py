"""Candidates: for each query, the documents it is compared with; mined, filtered, merged, sampled, with provenance."""

from .approximate import ApproximateIndex, by_vectors_approximately
from .assembling import assemble, check_sources, told, with_sources
from .bm25 import Bm25Index
from .copies import text_groups
from .filtering import by_teacher_score, drop_copies, drop_near_duplicates, keep_first, skip_first
from .language import analysis_of, bm25_for, drawn_to_read
from .mining import (
    Known,
    Search,
    by_chance,
    by_judgments,
    by_ranking,
    by_vectors,
    by_words,
    known_positives,
    mine,
    padded,
    positive_rows,
)
from .mixing import lists, merge, sample
from .nearest import nearest
from .saved import saved_ranking
from .scoring import list_scores, pair_scores, rescore, worst_scores
from .table import Candidates, Provenance, document_digest, load_candidates

__all__ = [
    "ApproximateIndex",
    "Bm25Index",
    "Candidates",
    "Known",
    "Provenance",
    "Search",
    "analysis_of",
    "assemble",
    "bm25_for",
    "by_chance",
    "by_judgments",
    "by_ranking",
    "by_teacher_score",
    "by_vectors",
    "by_vectors_approximately",
    "by_words",
    "check_sources",
    "document_digest",
    "drawn_to_read",
    "drop_copies",
    "drop_near_duplicates",
    "keep_first",
    "known_positives",
    "list_scores",
    "lists",
    "load_candidates",
    "merge",
    "mine",
    "nearest",
    "padded",
    "pair_scores",
    "positive_rows",
    "rescore",
    "sample",
    "saved_ranking",
    "skip_first",
    "text_groups",
    "told",
    "with_sources",
    "worst_scores",
]
