"""Filters over candidates: false negatives by the teacher's score, copies and near copies, the first few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .table import Candidates
from .vectors import Gather, unit

_NUMBERS_AT_ONCE = 16_000_000  # 64 MB of vectors
_LINES_AT_ONCE = 4096


def skip_first(candidates: Candidates, k: int) -> Candidates:
    """Leave out each query's `k` best, where false negatives are most likely (rule `skipped`)."""
    if k < 0:
        raise ValueError(f"k must not be negative, not {k}")
    return candidates.without({"skipped": _place(candidates) < k})


def keep_first(candidates: Candidates, k: int) -> Candidates:
    """Keep each query's first `k` (rule `count`)."""
    if k < 0:
        raise ValueError(f"k must not be negative, not {k}")
    return candidates.without({"count": _place(candidates) >= k})


def by_teacher_score(
    candidates: Candidates,
    positive_scores: np.ndarray,
    *,
    below_positive: float | None = None,
    max_score: float | None = None,
) -> Candidates:
    """Leave out what the teacher thinks relevant although nobody judged it: likely false negatives.

    The scores must be the teacher's for all candidates, whatever source found them: `rescore` comes first.

    Args:
        candidates: with the teacher's scores.
        positive_scores: (n,) the teacher's score of each query's worst known positive; NaN where none is known, which
            leaves `below_positive` without effect on that query.
        below_positive: drop those that score at least `p - (1 - below_positive) * |p|`, p the positive's score (rule
            `below_positive`). For p > 0 this is the plain share `below_positive * p`; for p < 0 a share of 0.95 of it
            would lie above p, so the margin is taken from its size. 1 drops all that reach the positive.
        max_score: drop those that score at least this (rule `max_score`).

    Raises:
        InputError: a candidate whose score is NaN or infinite.
    """
    positive = np.asarray(positive_scores, dtype=np.float64)
    if positive.shape != (len(candidates),):
        raise ValueError(f"positive_scores must be ({len(candidates)},), not {positive.shape}")
    if below_positive is not None and not below_positive > 0:
        raise ValueError(f"below_positive must be above 0, not {below_positive}")
    odd = candidates.mask & ~np.isfinite(candidates.scores)
    if odd.any():
        query, column = np.argwhere(odd)[0]
        raise InputError(
            f"{int(odd.sum()):,} scores are not finite, the first {candidates.scores[query, column]}",
            where=f"candidates of query {candidates.query_ids[query]!r}",
            fix="score the candidates with the teacher anew",
        )
    # Scores are float32, and so are the limits: 0.9 is at least 0.9.
    gone = {}
    if below_positive is not None:
        limit = positive - (1 - below_positive) * np.abs(positive)
        gone["below_positive"] = candidates.scores >= limit.astype(np.float32)[:, None]  # never so for NaN
    if max_score is not None:
        gone["max_score"] = candidates.scores >= np.float32(max_score)
    return candidates.without(gone)


def drop_copies(candidates: Candidates, same_text: np.ndarray) -> Candidates:
    """Leave out documents with the text of one that a query has already, in a better place (rule `copies`).

    Args:
        candidates: to look through.
        same_text: (documents,) a number for each document, the same for documents of the same text (`text_groups`).
    """
    if same_text.shape != (candidates.documents,):
        raise ValueError(f"same_text must be ({candidates.documents},), not {same_text.shape}")
    if not candidates.documents:
        return candidates.without({"copies": np.zeros(candidates.rows.shape, dtype=bool)})
    return candidates.without({"copies": repeats(np.where(candidates.mask, same_text[candidates.rows], -1))})


def drop_near_duplicates(
    candidates: Candidates,
    gather: Gather,
    positives: Sequence[np.ndarray],
    cosine: float,
    *,
    most: int | None = None,
) -> Candidates:
    """Leave out documents that say nearly the same as a known positive or as a better candidate that is kept.

    Rule `near_positive`: a false negative, most likely. Rule `near_candidate`: it would teach the same thing twice.

    Args:
        candidates: to look through.
        gather: the teacher's vectors of documents.
        positives: for each query, rows of its known positives.
        cosine: a cosine of at least this is near. A vector of zeros is near to nothing.
        most: stop looking at a query once so many are kept (the rest falls to the rule `count`); bounds the work.
    """
    if len(positives) != len(candidates):
        raise ValueError(f"positives of {len(positives)} queries for candidates of {len(candidates)}")
    gone = {rule: np.zeros(candidates.rows.shape, dtype=bool) for rule in ("near_positive", "near_candidate", "count")}
    held = candidates.rows[candidates.mask]
    if len(held):
        width = candidates.rows.shape[1]
        most = width if most is None else min(most, width)
        dimensions = gather(held[:1]).shape[1]
        widest = most + max(len(rows) for rows in positives)
        step = max(1, _NUMBERS_AT_ONCE // (widest * dimensions))
        for start in range(0, len(candidates), step):
            part = slice(start, start + step)
            found = _near(candidates.rows[part], gather, positives[part], cosine, most)
            for rule, named in zip(gone, found, strict=True):
                gone[rule][part] = named
    return candidates.without(gone)


def repeats(keys: np.ndarray) -> np.ndarray:
    """(n, k) bool, True where a line of the (n, k) keys has the same number in an earlier column; never at -1."""
    repeat = np.zeros(keys.shape, dtype=bool)
    for start in range(0, len(keys), _LINES_AT_ONCE):
        block = keys[start : start + _LINES_AT_ONCE]
        order = np.argsort(block, axis=1, kind="stable")
        ranked = np.take_along_axis(block, order, axis=1)
        again = np.zeros(block.shape, dtype=bool)
        again[:, 1:] = (ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)
        np.put_along_axis(repeat[start : start + _LINES_AT_ONCE], order, again, axis=1)
    return repeat


def _place(candidates: Candidates) -> np.ndarray:
    """(n, k) place of each candidate among those of its query, from 0; holes do not count."""
    return np.cumsum(candidates.mask, axis=1) - 1


def _near(
    rows: np.ndarray, gather: Gather, positives: Sequence[np.ndarray], cosine: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a block of queries, which candidates are near a positive, near a better one, or no longer needed."""
    count, width = rows.shape
    near_positive, near_better, rest = (np.zeros(rows.shape, dtype=bool) for _ in range(3))
    owner = np.repeat(np.arange(count), [len(known) for known in positives])
    known = _unit(gather, np.concatenate([np.empty(0, dtype=np.int64), *positives]))
    kept = np.zeros((count, most, known.shape[1]), dtype=np.float32)
    size = np.zeros(count, dtype=np.int64)
    for column in range(width):
        rest[:, column] = (rows[:, column] >= 0) & (size == most)
        query = np.flatnonzero((rows[:, column] >= 0) & (size < most))
        if not len(query):
            continue
        vectors = np.zeros((count, known.shape[1]), dtype=np.float32)
        vectors[query] = _unit(gather, rows[query, column])
        near = np.zeros(count, dtype=bool)
        near[owner[np.einsum("pd,pd->p", known, vectors[owner]) >= cosine]] = True
        near_positive[query, column] = near[query]
        query = query[~near[query]]
        taken = int(size.max())
        close = np.einsum("nkd,nd->nk", kept[query, :taken], vectors[query]) >= cosine
        near_better[query, column] = close.any(axis=1)
        query = query[~close.any(axis=1)]
        kept[query, size[query]] = vectors[query]
        size[query] += 1
    return near_positive, near_better, rest


def _unit(gather: Gather, rows: np.ndarray) -> np.ndarray:
    """(m, d) float32 vectors of length 1 (or 0); each distinct row is read once."""
    distinct, place = np.unique(rows, return_inverse=True)
    vectors = np.asarray(gather(distinct), dtype=np.float32)
    if not np.isfinite(vectors).all():
        row = distinct[~np.isfinite(vectors).all(axis=1)][0]
        raise InputError(
            f"the vector of document row {row} holds numbers that are not finite",
            where="candidates",
            fix="make the teacher's vectors anew",
        )
    return unit(vectors)[place.reshape(-1)]
