"""How far the teachers of a run agree before anything is learned from them: heads that vote must differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from .scorer_report import rank_correlation

_ALIKE = 0.9  # rank correlation from which two teachers are hardly two


@dataclass(frozen=True)
class Pair:
    """Two teachers on the same lists.

    Attributes:
        first, second: names.
        rank_correlation: mean Spearman correlation over lists; None: no list tells.
        same_sign: share of candidates that both put on the same side of the list's first (ties left out); None: none.
        compared: how many candidates that is of.
    """

    first: str
    second: str
    rank_correlation: float | None
    same_sign: float | None
    compared: int

    def line(self) -> str:
        """For people."""
        rank = "no common list" if self.rank_correlation is None else f"rank correlation {self.rank_correlation:.2f}"
        sign = "" if self.same_sign is None else f", the same side of the first candidate in {self.same_sign:.0%}"
        alike = self.rank_correlation is not None and self.rank_correlation >= _ALIKE
        note = "; as good as one teacher with two votes" if alike else ""
        return f"{self.first} and {self.second}: {rank}{sign}{note}"

    def as_json(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


def pairs_of(scores: Mapping[str, np.ndarray]) -> list[Pair]:
    """Every two teachers, the most alike first.

    Args:
        scores: teacher -> `(n, c)` of the same candidates, NaN where it has none.
    """
    found = []
    for (first, ours), (second, theirs) in combinations(scores.items(), 2):
        margins = [np.sign(each[:, 1:] - each[:, :1]) for each in (ours, theirs)]
        told = np.isfinite(margins[0]) & np.isfinite(margins[1]) & (margins[0] != 0) & (margins[1] != 0)
        same = float((margins[0] == margins[1])[told].mean()) if told.any() else None
        found.append(Pair(first, second, rank_correlation(ours, theirs), same, int(told.sum())))
    return sorted(found, key=lambda pair: -(pair.rank_correlation or -2.0))
