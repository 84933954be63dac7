"""Several systems' scores of the same candidates as one system's, without a student: what an ensemble itself is worth.

Scores are compared within a query alone. A candidate that a system has no score of is left out of what it says, and is
never read as a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Combination = Literal["mean", "median", "vote"]
COMBINATIONS: tuple[str, ...] = get_args(Combination)
_TIE = 1e-3  # what a mean of z-scores may add to a count of won comparisons: less than one


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores `(n, c)` at mean 0 and deviation 1 over each query's own; NaN where there is none.

    Where all scores of a query are equal they become 0.
    """
    known = np.where(np.isfinite(scores), scores, np.nan).astype(np.float64)
    count = np.maximum(np.isfinite(known).sum(axis=1, keepdims=True), 1)
    apart = known - np.nansum(known, axis=1, keepdims=True) / count
    deviation = np.sqrt(np.nansum(apart**2, axis=1, keepdims=True) / count)
    found: np.ndarray = apart / np.maximum(deviation, 1e-6)
    return found


def combined(systems: Sequence[np.ndarray], how: Combination) -> np.ndarray:
    """One `(n, c)` table of scores for several.

    Args:
        systems: k tables `(n, c)` of the same candidates, NaN where a system has no score.
        how: "mean" and "median" of z-scores; "vote": how many other candidates a majority of the systems prefers it to,
            less how many are preferred to it (Copeland's rule); candidates that win alike stand in the mean's order.

    Returns:
        float64, NaN where no system has a score.

    Raises:
        ValueError: no system, shapes that differ, or an unknown way.
    """
    if how not in COMBINATIONS:
        raise ValueError(f"how must be one of {', '.join(COMBINATIONS)}, not {how!r}")
    if not systems or any(each.shape != systems[0].shape for each in systems):
        raise ValueError(f"need tables of one shape, not {[each.shape for each in systems]}")
    level = np.stack([standardised(each) for each in systems])
    there = np.isfinite(level)
    known = np.where(there, level, 0.0)
    count = there.sum(axis=0)
    mean = np.where(count > 0, known.sum(axis=0) / np.maximum(count, 1), np.nan)
    if how == "mean":
        return mean
    if how == "median":
        return _median(level, count)
    found = np.full(mean.shape, np.nan)
    for row in range(len(mean)):
        own = np.flatnonzero(count[row] > 0)
        lean = np.zeros((len(own), len(own)))
        for voice in level[:, row][:, own]:
            lean += np.sign(np.nan_to_num(voice[:, None] - voice[None, :]))
        found[row, own] = np.sign(lean).sum(axis=1) + _TIE * np.tanh(mean[row, own])
    return found


def _median(level: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Median over the systems that have a score; two in the middle are averaged."""
    ordered = np.sort(level, axis=0)  # NaN last
    low = np.maximum((count - 1) // 2, 0)[None]
    high = np.maximum(count // 2, 0).clip(max=len(level) - 1)[None]
    middle = (np.take_along_axis(ordered, low, axis=0) + np.take_along_axis(ordered, high, axis=0))[0] / 2
    return np.where(count > 0, middle, np.nan)
