"""Coverage: how far the queries that were made lie from real ones, in the teacher's space.

A student learns the teacher's space where its training queries are. If for most real queries there is a made one as
near as the next real one is, made queries stand in for real ones; where they are far, they teach something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .search import exact_search

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)  # cosines


@dataclass(frozen=True)
class Nearness:
    """Cosines of n queries with their nearest others.

    Attributes:
        count: n.
        mean, p10, p50, p90: mean and percentiles.
        above: share of the n at or above each of `LEVELS`.
    """

    count: int
    mean: float
    p10: float
    p50: float
    p90: float
    above: dict[str, float]

    @classmethod
    def of(cls, cosines: np.ndarray) -> Nearness:
        """Sum up cosines (n,), n at least 1."""
        p10, p50, p90 = np.percentile(cosines, (10, 50, 90)).tolist()
        # A float32 score may fall short of a level by its rounding alone.
        above = {str(level): float((cosines >= level - 1e-6).mean()) for level in LEVELS}
        return cls(len(cosines), float(cosines.mean(dtype=np.float64)), p10, p50, p90, above)

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.0%} from {level}" for level, share in self.above.items())
        return f"cosine {self.mean:.3f} (10/50/90 %: {self.p10:.3f}/{self.p50:.3f}/{self.p90:.3f}; {shares})"


@dataclass(frozen=True)
class Coverage:
    """How real and made queries lie to each other.

    Attributes:
        real_to_made: from each real query to the nearest made one: are real ones covered?
        made_to_real: from each made query to the nearest real one: is it like one?
        real_to_real: from each real query to the nearest other real one, the yardstick; None where there is one alone.
        by_source: the first two for each source of made queries.
    """

    real_to_made: Nearness
    made_to_real: Nearness
    real_to_real: Nearness | None
    by_source: dict[str, tuple[Nearness, Nearness]]

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "real_to_made": asdict(self.real_to_made),
            "made_to_real": asdict(self.made_to_real),
            "real_to_real": asdict(self.real_to_real) if self.real_to_real else None,
            "by_source": {
                name: {"real_to_made": asdict(to), "made_to_real": asdict(back)}
                for name, (to, back) in self.by_source.items()
            },
        }

    def lines(self) -> list[str]:
        """A few lines for people."""
        said = [f"real to the nearest made query: {self.real_to_made}"]
        if self.real_to_real:
            said.append(f"real to the nearest other real query: {self.real_to_real}")
        said.append(f"made to the nearest real query: {self.made_to_real}")
        for name, (to, back) in self.by_source.items():
            said.append(f"{name} ({back.count:,}): real to made {to.mean:.3f}, made to real {back.mean:.3f}")
        return said


def coverage(real: np.ndarray, made: np.ndarray, sources: Sequence[str]) -> Coverage | None:
    """Compare made queries with real ones.

    Args:
        real: (r, d) the teacher's vectors of real queries.
        made: (g, d) of queries that were generated or cut.
        sources: g names, where each of the made ones came from.

    Returns:
        None where there is nothing to compare: no real query, or no made one.
    """
    if not len(real) or not len(made):
        return None
    names, group = np.unique(np.asarray(sources, dtype=object), return_inverse=True)
    back = nearest_cosines(made, real)
    parts = {name: nearest_cosines(real, made[group == i]) for i, name in enumerate(names)}
    return Coverage(
        real_to_made=Nearness.of(np.max(list(parts.values()), axis=0)),
        made_to_real=Nearness.of(back),
        real_to_real=Nearness.of(nearest_cosines(real, None)) if len(real) > 1 else None,
        by_source={
            str(name): (Nearness.of(parts[name]), Nearness.of(back[group == i])) for i, name in enumerate(names)
        },
    )


def nearest_cosines(vectors: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    """Cosine of each vector with the nearest of the others, float32 (n,); that of a zero vector is 0.

    Args:
        vectors: (n, d).
        others: (m, d), m at least 1; None: the same vectors, each without itself, n at least 2.
    """
    own = list(np.arange(len(vectors))[:, None]) if others is None else None
    among = vectors if others is None else others
    best = exact_search(vectors, among, 1, metric="cosine", exclude=own).scores[:, 0]
    return np.asarray(np.clip(best, -1.0, 1.0))
