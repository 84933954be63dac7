"""What the length of one query's error allows and forbids, when student and teacher search the same documents.

With `dq = student's vector - teacher's vector` of a query, every score moves by `<dq, d>`. By Cauchy and Schwarz:

- a difference of two scores moves by at most `|dq| |d_i - d_j|`, so documents `i`, `j` keep the teacher's order
  wherever `t_i - t_j > |dq| |d_i - d_j|`;
- a softmax loss at temperature `tau` moves by at most `(2 K / tau) |dq|`, K the longest document vector, whatever the
  label: no score moves by more than `K |dq|`, and the loss by no more than `2 / tau` times that.

Both are worst cases; they hold for every error of that length, the likely and the unlikely. (After the bounds of
EmbedDistill, Kim et al. 2023, arXiv 2301.12005, Theorem 3.1, for an inherited index; derived anew for single queries.)
Everything here is float64, and bounds are widened by what rounding could do, so a violation would be a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDING = 2.0**-53


@dataclass(frozen=True)
class PairOrders:
    """Pairs of a query's ranked documents; each `(min(k, c), c)` bool, True only where column `j` is after row `i`.

    Attributes:
        ordered: the teacher scores `i` higher than `j`, by more than rounding.
        certified: the order provably stays.
        kept: the student scores `i` higher than `j`.
        radius: float64, the error up to which the order provably stays, whatever its direction; NaN where the teacher
            orders nothing.
    """

    ordered: np.ndarray
    certified: np.ndarray
    kept: np.ndarray
    radius: np.ndarray


def pair_orders(documents: np.ndarray, teacher: np.ndarray, student: np.ndarray, k: int = 10) -> PairOrders:
    """Compare the order of a query's first `k` documents, among them and against the rest of the list.

    Args:
        documents: `(c, d)` float64 vectors in the teacher's order.
        teacher: `(d,)` float64.
        student: `(d,)` float64.
        k: how many first documents.
    """
    first = documents[:k]
    distances = np.stack([np.linalg.norm(documents - one, axis=1) for one in first]) if len(first) else np.empty((0, 0))
    margin = _margin(documents, teacher, student)
    theirs, own = documents @ teacher, documents @ student
    gaps = theirs[: len(first), None] - theirs[None, :]
    after = np.arange(len(documents))[None, :] > np.arange(len(first))[:, None]
    certain = gaps - np.linalg.norm(student - teacher) * distances
    ordered = (gaps > margin) & after
    return PairOrders(
        ordered=ordered,
        certified=(certain > margin) & after,
        kept=(own[: len(first), None] > own[None, :]) & after,
        radius=np.divide(gaps, distances, out=np.full(gaps.shape, np.nan), where=ordered),
    )


@dataclass(frozen=True)
class LossChange:
    """How far a softmax loss of one query may move, and how far it moves; `violated` if further, rounding aside."""

    bound: float
    gap: float
    violated: bool


def loss_change(
    documents: np.ndarray, teacher: np.ndarray, student: np.ndarray, temperature: float, longest: float | None = None
) -> LossChange:
    """Compare the cross entropy of teacher and student over a list whose first document is the label.

    Args:
        documents: `(c, d)` float64, c at least 1.
        teacher: `(d,)` float64.
        student: `(d,)` float64.
        temperature: `tau`, above 0.
        longest: `K`, at least the length of every one of these documents; None: the longest of them.
    """
    if longest is None:
        longest = float(np.linalg.norm(documents, axis=1).max())
    bound = 2.0 * longest / temperature * float(np.linalg.norm(student - teacher))
    losses = [_first_loss(documents @ query / temperature) for query in (teacher, student)]
    gap = abs(losses[1] - losses[0])
    margin = _margin(documents, teacher, student) / temperature + 1e-12 * (1.0 + max(map(abs, losses)))
    return LossChange(bound, gap, bool(gap > bound + margin))


def _first_loss(scores: np.ndarray) -> float:
    largest = scores.max()
    return float(np.log(np.exp(scores - largest).sum()) + largest - scores[0])


def _margin(documents: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> float:
    """Bound the rounding of a difference of two scores together with that of its bound.

    An inner product of `d` terms is off by at most `d u |q| |d_i|`, u being float64's rounding; either side of a
    comparison has two of them, and the bound itself is no larger than `(|t| + |s|) 2 K`.
    """
    longest = float(np.linalg.norm(documents, axis=1).max(initial=0.0))
    lengths = np.linalg.norm(teacher) + np.linalg.norm(student)
    return float(4.0 * (documents.shape[1] + 8) * _ROUNDING * lengths * longest)
