"""Candidates of several sources together, and seeded draws from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .filtering import keep_first, repeats
from .table import Candidates


def merge(parts: Sequence[Candidates], k: int | None = None) -> Candidates:
    """Take candidates of several sources in turn, best first, each document once a query.

    The first source's best, the second's best, ..., then the second best of each: scores of different sources are never
    compared. What an earlier place has already counts as `repeated` in the provenance, what `k` cuts off as `count`.

    Args:
        parts: candidates of the same queries and documents.
        k: keep this many a query; None for all.

    Raises:
        InputError: other queries, or another collection.
    """
    if not parts:
        raise ValueError("nothing to merge")
    first = parts[0]
    for part in parts[1:]:
        if part.document_digest != first.document_digest:
            raise InputError(
                "candidates of different collections", where="merging", fix="mine them from one collection"
            )
        if part.query_ids != first.query_ids:
            raise InputError("candidates of different queries", where="merging", fix="mine them for the same queries")
    if sum(len(part.provenance) for part in parts) > 255:
        raise ValueError("more than 255 sources")
    # Interleave: column j of every part, before column j + 1 of any. A part that is short leaves holes.
    deepest = max(part.rows.shape[1] for part in parts)
    shape = (len(first), deepest, len(parts))
    rows = np.full(shape, -1, dtype=np.int64)
    scores = np.full(shape, -np.inf, dtype=np.float32)
    source = np.zeros(shape, dtype=np.uint8)
    before = 0
    for i, part in enumerate(parts):
        depth = part.rows.shape[1]
        rows[:, :depth, i], scores[:, :depth, i] = part.rows, part.scores
        source[:, :depth, i] = part.source + before
        before += len(part.provenance)
    width = deepest * len(parts)
    merged = replace(
        first,
        rows=rows.reshape(len(first), width),
        scores=scores.reshape(len(first), width),
        source=source.reshape(len(first), width),
        provenance=tuple(provenance for part in parts for provenance in part.provenance),
    )
    merged = merged.without({"repeated": repeats(merged.rows)})
    return merged if k is None else keep_first(merged, k)


def sample(candidates: Candidates, count: int, *, seed: int, epoch: int = 0) -> np.ndarray:
    """Draw `count` different candidates of every query, all alike likely.

    Args:
        candidates: to draw from.
        count: how many a query.
        seed: with `epoch` settles the draw of every query, whatever batch it is in.
        epoch: another one, another draw.

    Returns:
        (n, count) int64 rows of documents, in the order of `candidates`; -1 at the end where there are fewer.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    lots = np.random.default_rng([seed, epoch]).random(candidates.rows.shape)
    lots[~candidates.mask] = np.inf
    drawn = np.argsort(lots, axis=1, kind="stable")[:, :count]
    # Back into the order of the candidates, holes last.
    drawn = np.sort(
        np.where(np.take_along_axis(candidates.mask, drawn, axis=1), drawn, candidates.rows.shape[1]), axis=1
    )
    padded = np.concatenate([candidates.rows, np.full((len(candidates), 1), -1, dtype=np.int64)], axis=1)
    rows = np.take_along_axis(padded, drawn, axis=1)
    missing = count - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, max(missing, 0))), constant_values=-1)


def lists(candidates: Candidates, positives: np.ndarray, count: int) -> np.ndarray:
    """Each query's list to learn from: its known positive, then its best candidates.

    Args:
        candidates: of n queries.
        positives: (n,) rows, one known positive a query; -1 where none is known.
        count: candidates a query beside the positive.

    Returns:
        (n, count + 1) int64 rows of documents. Column 0 holds the positive; a query without one simply has its first
        `count + 1` candidates, so that no column is lost. -1 at the end where there are fewer.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, not {count}")
    positives = np.asarray(positives, dtype=np.int64)
    if positives.shape != (len(candidates),):
        raise ValueError(f"positives must be ({len(candidates)},), not {positives.shape}")
    if len(positives) and (positives.min() < -1 or positives.max() >= candidates.documents):
        raise ValueError(f"positives must be rows -1 to {candidates.documents - 1}")
    rows = np.concatenate([positives[:, None], candidates.rows], axis=1)
    # Candidates that were mined without judgments may hold the positive too.
    rows[:, 1:][rows[:, 1:] == positives[:, None]] = -1
    order = np.argsort(rows < 0, axis=1, kind="stable")[:, : count + 1]
    rows = np.take_along_axis(rows, order, axis=1)
    return np.pad(rows, ((0, 0), (0, count + 1 - rows.shape[1])), constant_values=-1)
