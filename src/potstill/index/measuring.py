"""What an approximate index finds of what is there: recall by effort, for the teacher's queries and the student's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..evaluation import Interval, Ranking, mean_interval, overlap
from .index import Index

_STEPS = (0.25, 0.5, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Rung:
    """Recall at one effort: the share of the truly best `k` documents that the index finds.

    Attributes:
        effort: `efSearch` or `nprobe`; None for an exact search.
        teacher: with the teacher's vectors of the queries.
        student: with the student's.
        difference: the student's minus the teacher's, query by query.
    """

    effort: int | None
    teacher: Interval
    student: Interval
    difference: Interval

    def as_json(self) -> dict[str, Any]:
        """All by name."""
        return asdict(self)


@dataclass(frozen=True)
class Extra:
    """The effort that gives the student the recall that the teacher has at the default effort.

    Attributes:
        default: the index's own effort.
        target: the teacher's mean recall there.
        effort: the smallest at which the student's mean recall is as high; None where no effort up to `tried` was.
        ratio: `effort / default`.
        reached: the student's mean recall at `effort`, or at `tried`.
        tried: the largest effort that was tried.
    """

    default: int
    target: float
    effort: int | None
    ratio: float | None
    reached: float
    tried: int


def recall(found: Ranking, exact: Ranking, k: int) -> np.ndarray:
    """`(n,)` share of each query's truly best `k` documents among those found."""
    return overlap(found.top(k), exact.top(k), k)


def ladder(index: Index) -> Sequence[int | None]:
    """The efforts to measure at: quarters to sixteenfold of the default, none beyond what changes anything."""
    if index.effort is None:
        return [None]
    most = index.most or max(1, len(index))
    return sorted({min(most, max(1, round(index.effort * step))) for step in _STEPS})


def climb(
    index: Index,
    teacher: np.ndarray,
    student: np.ndarray,
    exact: tuple[Ranking, Ranking],
    k: int,
    seed: int = 0,
) -> list[Rung]:
    """Recall of both at every effort of the ladder.

    Args:
        index: the index.
        teacher: `(n, d)` the teacher's vectors of the queries.
        student: `(n, d)` the student's, of the same queries.
        exact: the exact rankings of both, at least `k` deep.
        k: how deep to look.
        seed: of the bootstrap over queries.
    """
    rungs = []
    for effort in ladder(index):
        first = recall(index.search(teacher, k, effort), exact[0], k)
        second = recall(index.search(student, k, effort), exact[1], k)
        intervals = [mean_interval(values, seed=seed) for values in (first, second, second - first)]
        rungs.append(Rung(effort, *intervals))
    return rungs


def extra_effort(index: Index, student: np.ndarray, exact: Ranking, rungs: list[Rung], k: int) -> Extra | None:
    """The effort that restores the student's recall; None for an index that is exact.

    The ladder brackets it; whole numbers in between are then halved. Recall hardly ever falls as effort grows; where it
    does, what is found is an effort that is enough, and not for certain the smallest.
    """
    if index.effort is None:
        return None
    default = min(rungs, key=lambda rung: abs((rung.effort or 0) - (index.effort or 0)))
    target = default.teacher.value
    reaching = [rung for rung in rungs if rung.student.value >= target]
    last = rungs[-1]
    if not reaching:
        return Extra(index.effort, target, None, None, last.student.value, last.effort or 0)
    enough, reached = reaching[0].effort or 0, reaching[0].student.value
    short = max((rung.effort or 0 for rung in rungs if (rung.effort or 0) < enough), default=0)
    while enough - short > 1:
        middle = (enough + short) // 2
        value = float(recall(index.search(student, k, middle), exact, k).mean())
        if value >= target:
            enough, reached = middle, value
        else:
            short = middle
    return Extra(index.effort, target, enough, enough / index.effort, reached, last.effort or 0)
