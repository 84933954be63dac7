"""Scores of chosen pairs and of lists, from vectors: so that candidates of all sources have comparable ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .table import Candidates
from .vectors import Gather, Metric, unit

_NUMBERS_AT_ONCE = 8_000_000  # a side of the pairs scored together: 32 MB


def pair_scores(
    queries: np.ndarray, gather: Gather, query: np.ndarray, row: np.ndarray, metric: Metric = "dot"
) -> np.ndarray:
    """Scores of pairs in float32, each computed on its own: they do not depend on what else is scored.

    Args:
        queries: (n, d) vectors.
        gather: vectors of documents.
        query: (p,) which query, best in rising order.
        row: (p,) which document.
        metric: inner product, or cosine (0 for a vector of zeros).

    Returns:
        (p,) float32.

    Raises:
        InputError: vectors of another width, or scores that are not finite.
    """
    scores = np.empty(len(query), dtype=np.float32)
    step = max(1, _NUMBERS_AT_ONCE // max(1, queries.shape[1]))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        distinct, place = np.unique(row[part], return_inverse=True)
        vectors = np.asarray(gather(distinct), dtype=np.float32)
        if vectors.shape[1] != queries.shape[1]:
            raise InputError(
                f"documents have {vectors.shape[1]} dimensions, queries {queries.shape[1]}",
                where="candidates",
                fix="use one teacher for both",
            )
        asking = np.asarray(queries[query[part]], dtype=np.float32)
        if metric == "cosine":
            asking, vectors = unit(asking), unit(vectors)
        scores[part] = np.einsum("pd,pd->p", asking, vectors[place.reshape(-1)])
    if not np.isfinite(scores).all():
        bad = np.flatnonzero(~np.isfinite(scores))
        raise InputError(
            f"{len(bad):,} scores are not finite, the first of query row {query[bad[0]]} and document row "
            f"{row[bad[0]]}",
            where="candidates",
            fix="make the teacher's vectors anew",
        )
    return scores


def list_scores(
    queries: np.ndarray, gather: Gather, rows: np.ndarray, metric: Metric = "dot", *, empty: float = np.nan
) -> np.ndarray:
    """Scores of each query with the documents of its list; see `pair_scores`.

    Args:
        queries: (n, d) vectors, one of each list.
        gather: vectors of documents.
        rows: (n, c) documents, -1 where there is none.
        metric: inner product, or cosine.
        empty: stands where there is no document.

    Returns:
        (n, c) float32.
    """
    scores = np.full(rows.shape, empty, dtype=np.float32)
    query, column = np.nonzero(rows >= 0)
    scores[query, column] = pair_scores(queries, gather, query, rows[query, column], metric)
    return scores


def rescore(
    candidates: Candidates, queries: np.ndarray, gather: Gather, metric: Metric = "dot", *, scored_by: str = "teacher"
) -> Candidates:
    """Give all candidates the teacher's scores, whatever source found them; their order stays.

    Args:
        candidates: of n queries.
        queries: (n, d) vectors of the queries.
        gather: vectors of documents.
        metric: as the teacher compares.
        scored_by: written into the settings of every source.
    """
    if len(queries) != len(candidates):
        raise ValueError(f"vectors of {len(queries)} queries for candidates of {len(candidates)}")
    return replace(
        candidates,
        scores=list_scores(queries, gather, candidates.rows, metric, empty=-np.inf),
        provenance=tuple(
            replace(provenance, settings={**provenance.settings, "scored_by": scored_by})
            for provenance in candidates.provenance
        ),
    )


def worst_scores(
    queries: np.ndarray, gather: Gather, positives: Sequence[np.ndarray], metric: Metric = "dot"
) -> np.ndarray:
    """(n,) float32 score of each query's worst known positive; NaN where none is known."""
    query = np.repeat(np.arange(len(positives)), [len(rows) for rows in positives])
    row = np.concatenate([np.empty(0, dtype=np.int64), *positives])
    worst = np.full(len(positives), np.inf, dtype=np.float32)
    np.minimum.at(worst, query, pair_scores(queries, gather, query, row, metric))
    return np.where(np.isinf(worst), np.float32(np.nan), worst)
