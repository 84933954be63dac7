"""Agreement of two rankings: how many of the first documents they share. Needs no judgments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from .search import Ranking
from .significance import mean_interval

Source = Literal["judged queries", "held-out generated queries"]


@dataclass(frozen=True)
class Agreement:
    """Mean top-k overlap over some queries with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    queries: int
    source: Source

    def as_json(self) -> dict[str, float | int | str]:
        """Give all by name."""
        return asdict(self)


def overlap(a: Ranking, b: Ranking, k: int = 10) -> np.ndarray:
    """Share of the first `k` documents that two rankings have in common, per query.

    The order within the first `k` does not matter. Where there are fewer than `k` documents to rank, they are all that
    counts.

    Args:
        a: a ranking of `n` queries, at least `k` deep.
        b: another of the same queries.
        k: how deep to look.

    Returns:
        `(n,)` float64 between 0 and 1.
    """
    if len(a) != len(b):
        raise ValueError(f"rankings of {len(a)} and {len(b)} queries cannot be compared")
    if min(a.rows.shape[1], b.rows.shape[1]) < k:
        raise ValueError(f"rankings {a.rows.shape[1]} and {b.rows.shape[1]} deep have no top {k}")
    first, second = a.rows[:, :k], b.rows[:, :k]
    shared = ((first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]).sum(axis=(1, 2))
    ranked = np.maximum((first >= 0).sum(axis=1), (second >= 0).sum(axis=1))
    return np.where(ranked > 0, shared / np.maximum(ranked, 1), 1.0)


def mean_overlap(overlaps: np.ndarray, source: Source, *, seed: int = 0) -> Agreement:
    """Average per-query overlaps `(n,)`, n at least 1, with a bootstrap interval."""
    interval = mean_interval(overlaps, seed=seed)
    return Agreement(interval.value, interval.low, interval.high, len(overlaps), source)
