"""Several runs on one page: quality against cost, and paired tests of all pairs, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation import compare as paired
from ..evaluation import holm
from .runfiles import RunFiles, at, group, number, read_run
from .summary import MAIN_MEASURE, Estimate


@dataclass(frozen=True)
class RunRow:
    """One run: its measure and retention with intervals, its cost, and whether no other run beats it on both."""

    name: str
    quality: Estimate
    retention: Estimate
    ms: float | None
    bytes: float | None
    fast: bool
    small: bool


@dataclass(frozen=True)
class PairRow:
    """One paired test: `second` - `first` on their common queries, with raw and Holm-corrected p."""

    first: str
    second: str
    difference: Estimate
    queries: int
    p: float
    corrected: float


@dataclass(frozen=True)
class Compared:
    """What `compare_runs` found. `left_out` counts the queries that not all runs have."""

    collection: str
    split: str
    measure: str
    queries: int
    left_out: int
    runs: tuple[RunRow, ...]
    pairs: tuple[PairRow, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def compare_runs(folders: Sequence[Path], measure: str = MAIN_MEASURE) -> Compared:
    """Compare runs of one collection and split.

    Args:
        folders: two or more run folders.
        measure: as `evaluation.json` names it.

    Raises:
        InputError: fewer than two runs, one given twice, different collections or splits, or a measure that was not
            measured.
    """
    if len(folders) < 2:
        raise InputError("one run is nothing to compare", where="potstill compare", fix="give two runs or more")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice", where="potstill compare", fix="give each run once")
    files = [read_run(Path(folder)) for folder in folders]
    names = _names(folders)
    for file in files:
        _same(files[0], file)
        if number(at(file.evaluation, "systems", "student", measure)) is None:
            there = ", ".join(group(file.evaluation, "systems", "student")) or "no measures"
            raise InputError(
                f"{measure} was not measured; there is {there}", where=str(file.path), fix="give --measure one of these"
            )
    values = [_values(file, measure) for file in files]
    common = sorted(set.intersection(*(set(found) for found in values)))
    if not common:
        raise InputError("the runs have no query in common", where=str(files[0].path), fix="compare runs of one split")
    return Compared(
        collection=str(files[0].evaluation.get("collection") or ""),
        split=str(files[0].evaluation.get("split") or ""),
        measure=measure,
        queries=len(common),
        left_out=len(set.union(*(set(found) for found in values))) - len(common),
        runs=_rows(files, names, measure),
        pairs=_pairs(names, np.array([[found[query] for query in common] for found in values])),
    )


def frontier(points: Sequence[tuple[float | None, float | None]]) -> list[bool]:
    """Which (quality, cost) points no other beats: none is at least as good on both and better on one."""

    def beaten(one: tuple[float | None, float | None]) -> bool:
        if one[0] is None or one[1] is None:
            return True
        return any(q is not None and c is not None and q >= one[0] and c <= one[1] and (q, c) != one for q, c in points)

    return [not beaten(point) for point in points]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; whole paths where two names are the same."""
    short = [Path(folder).resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _same(first: RunFiles, other: RunFiles) -> None:
    for key, place in (("collection", ("collection",)), ("split", ("split",))):
        one, two = at(first.evaluation, *place), at(other.evaluation, *place)
        if one != two:
            raise InputError(
                f"the runs are of different {key}s: {first.path} of {one}, {other.path} of {two}",
                where=str(other.path),
                fix=f"compare runs of one {key}",
            )
    prints = [at(file.run, "collection", "fingerprint") for file in (first, other)]
    if all(prints) and prints[0] != prints[1]:
        raise InputError(
            f"the collection is not the one of {first.path}: its documents, queries or judgments differ",
            where=str(other.path),
            fix="evaluate both runs on the same data",
        )


def _values(file: RunFiles, measure: str) -> dict[str, float]:
    found = {}
    for row in file.per_query:
        value = number(at(row, "measures", "student", measure))
        if value is not None:
            found[str(row.get("query_id"))] = value
    return found


def _rows(files: Sequence[RunFiles], names: Sequence[str], measure: str) -> tuple[RunRow, ...]:
    quality, cost = [], []
    for file in files:
        mean = number(at(file.evaluation, "systems", "student", measure))
        interval = group(file.evaluation, "intervals", "student", measure)
        quality.append(Estimate(mean, number(interval.get("low")), number(interval.get("high"))))
        student = group(file.evaluation, "cost", "student")
        size = number(student.get("bytes")) or number(at(file.run, "student", "bytes"))
        cost.append((number(student.get("query_ms_p50")), size))
    fast = frontier([(q.value, c[0]) for q, c in zip(quality, cost, strict=True)])
    small = frontier([(q.value, c[1]) for q, c in zip(quality, cost, strict=True)])
    kept = [Estimate.read(at(file.evaluation, "retention", measure)) for file in files]
    return tuple(
        RunRow(name, quality[i], kept[i], *cost[i], fast=fast[i], small=small[i]) for i, name in enumerate(names)
    )


def _pairs(names: Sequence[str], values: np.ndarray) -> tuple[PairRow, ...]:
    """All pairs of `(runs, queries)` values, one family for Holm's correction."""
    chosen = list(combinations(range(len(names)), 2))
    first, second = (values[[pair[side] for pair in chosen]].T for side in (0, 1))
    tests = paired(second, first)
    corrected = holm([test.p for test in tests])
    return tuple(
        PairRow(
            names[a], names[b], Estimate(t.difference.value, t.difference.low, t.difference.high), len(first), t.p, c
        )
        for (a, b), t, c in zip(chosen, tests, corrected, strict=True)
    )
