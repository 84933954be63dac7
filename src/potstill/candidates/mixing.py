"""Candidates of several sources together, and seeded draws from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .table import Candidates


def merge(parts: Sequence[Candidates], k: int | None = None) -> Candidates:
    """Take candidates of several sources in turn, best first, each document once a query.

    The first source's best, the second's best, ..., then the second best of each: scores of different sources are never
    compared.

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
    flat = (array.reshape(len(first), -1) for array in (rows, scores, source))
    rows, scores, source = _first_of_each(*flat)
    width = rows.shape[1] if k is None else k
    return Candidates(
        first.query_ids,
        np.ascontiguousarray(rows[:, :width]),
        np.ascontiguousarray(scores[:, :width]),
        np.ascontiguousarray(source[:, :width]),
        tuple(provenance for part in parts for provenance in part.provenance),
        first.documents,
        first.document_digest,
    )


def _first_of_each(rows: np.ndarray, scores: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, ...]:
    """Drop repeats of a row within a line and close the gaps, in order; trailing columns that are empty go."""
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    repeat_ranked = np.zeros(rows.shape, dtype=bool)
    repeat_ranked[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeat = np.empty_like(repeat_ranked)
    np.put_along_axis(repeat, order, repeat_ranked, axis=1)
    gone = repeat | (rows < 0)
    close = np.argsort(gone, axis=1, kind="stable")
    width = int((~gone).sum(axis=1).max(initial=0))
    out = []
    for array, empty in ((rows, -1), (scores, -np.inf), (source, 0)):
        out.append(np.take_along_axis(np.where(gone, np.array(empty, array.dtype), array), close, axis=1)[:, :width])
    return tuple(out)


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
