"""Any two systems on the same queries, each perhaps trained with several seeds: their difference, interval and p."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .significance import SAMPLES, Interval, compare

Values = Mapping[str, float]  # query id -> value


@dataclass(frozen=True)
class Paired:
    """System `a` against system `b` over the same queries.

    Attributes:
        a: mean of the first, over queries and seeds.
        b: mean of the second.
        difference: `a - b` with its 95 % paired bootstrap interval over queries.
        p: two-sided p-value of the paired randomisation test.
        queries: how many.
        seeds_a: the first system's mean with each seed.
        seeds_b: the second's.
    """

    a: float
    b: float
    difference: Interval
    p: float
    queries: int
    seeds_a: tuple[float, ...]
    seeds_b: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Give all by name."""
        return {**asdict(self), "seeds_a": list(self.seeds_a), "seeds_b": list(self.seeds_b)}


def paired(
    a: Values | Sequence[Values], b: Values | Sequence[Values], *, seed: int = 0, samples: int = SAMPLES
) -> Paired:
    """Compare two systems on one measure, such as two neighbouring rows of a table.

    Of a system that was trained with several seeds, each query counts with its mean over them. Queries are what is
    resampled: interval and p say how sure the difference is for other queries, at these seeds; `seeds_a` and `seeds_b`
    show how far seeds differ.

    Args:
        a: value by query id, or one such mapping for each seed.
        b: the same of the other system; the number of seeds may differ.
        seed: of the resampling.
        samples: bootstrap samples, and sign patterns of the test.

    Raises:
        InputError: mappings that do not have the same queries, no query, no seed, or a value that is not finite.
    """
    runs = [[row] if isinstance(row, Mapping) else list(row) for row in (a, b)]
    for name, own in zip("ab", runs, strict=True):
        if not own:
            raise InputError(f"{name} has no values", fix="give at least one seed's values by query")
    queries = sorted(runs[0][0])  # the result does not depend on the order of the mappings
    if not queries:
        raise InputError("there are no queries to compare on", fix="give at least one judged query")
    tables = [
        np.array([_column(values, queries, f"{name}, seed number {place}") for place, values in enumerate(own, 1)])
        for name, own in zip("ab", runs, strict=True)
    ]
    means = [table.mean(axis=0) for table in tables]
    found = compare(means[0][:, None], means[1][:, None], seed=seed, samples=samples)[0]
    return Paired(
        a=float(means[0].mean()),
        b=float(means[1].mean()),
        difference=found.difference,
        p=found.p,
        queries=len(queries),
        seeds_a=tuple(map(float, tables[0].mean(axis=1))),
        seeds_b=tuple(map(float, tables[1].mean(axis=1))),
    )


def _column(values: Values, queries: Sequence[str], where: str) -> list[float]:
    """Values in the order of `queries`, checked."""
    odd = sorted(values.keys() ^ set(queries))
    if odd:
        raise InputError(
            f"was measured on other queries than the first ({len(odd)} differ, such as {odd[0]!r})",
            where=where,
            fix="measure all on the same queries",
        )
    column = [float(values[query]) for query in queries]
    bad = next((query for query, value in zip(queries, column, strict=True) if not math.isfinite(value)), None)
    if bad is not None:
        raise InputError(f"the value of query {bad!r} is not a finite number", where=where, fix="measure it again")
    return column
