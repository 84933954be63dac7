"""Correlation of scores, for teachers whose scores have another offset and scale than the student's.

Pearson of the scores and Spearman of their ranks, alone or mixed by difficulty as in CMKD (Correlation Matching, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ._tensors import (
    Reduction,
    cross_entropy_rows,
    full_precision,
    log_probabilities,
    reduce_rows,
    require_mask,
    require_positive,
    require_shape,
)

Correlation = Literal["pearson", "spearman"]

ROUNDING = 1e-6
"""A row whose scores differ by less than this share of the largest is constant: so much is the noise of float32."""
PAIRS = 2**22
"""Pairs of candidates compared at once in soft ranks."""


@full_precision
def score_correlation(
    student: Tensor,
    teacher: Tensor,
    kind: Correlation = "pearson",
    rank_temperature: float = 0.1,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """1 - correlation of the student's scores with the teacher's over each query's candidates: 0 best, 2 worst.

    A positive scale and an offset for each row of the student change nothing, nor do those of the teacher. "spearman"
    is the Pearson correlation of `soft_ranks` of the student with the exact ranks of the teacher (ties share their
    mean). The student's rows are brought to standard deviation 1 beforehand, so that a rank temperature means the same
    whatever their scale; as soft ranks are not quite ranks, a copy of the teacher has a value a little above 0.

    A row in which the teacher's scores are all alike says nothing and is left out. A row in which the student's are has
    no correlation to improve on: value 1, no gradient. Two candidates correlate by +1 or -1, without gradient: it takes
    three to teach.

    Args:
        student: (n, c) scores.
        teacher: (n, c) scores of the same candidates.
        kind: "pearson" or "spearman".
        rank_temperature: of the soft ranks, in standard deviations of a row; for "spearman" alone.
        mask: (n, c) bool, True where a candidate counts.
        reduction: "mean" over the rows in which the teacher's scores differ, or "none".

    Returns:
        A scalar, or (n,).
    """
    mask = _checked(student, teacher, mask)
    require_positive(rank_temperature=rank_temperature)
    own, _ = _unit_rows(student, mask)
    theirs, counted = _unit_rows(teacher, mask)
    if kind == "pearson":
        rows = _distances(own, theirs)
    elif kind == "spearman":
        rows = _rank_distances(own, teacher, rank_temperature, mask)
    else:
        raise ValueError(f'kind must be "pearson" or "spearman", not {kind!r}')
    return reduce_rows(rows, counted, reduction)


@full_precision
def score_cmkd(
    student: Tensor,
    teacher: Tensor,
    teacher_temperature: float = 1.0,
    rank_temperature: float = 0.1,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """(1 - h) (1 - Pearson) + h (1 - Spearman), where h is the difficulty of each query to the teacher; after CMKD.

    h = H(softmax(teacher / T)) / log(candidates): 0 where the teacher is sure of one document, whose score then counts;
    1 where it finds all alike, of which the order is all that can be learned. That weights change with difficulty is
    CMKD's; these weights are ours, since the paper's could not be confirmed, and so is the relaxation of ranks. So is
    taking raw scores: the paper brings a row to standard deviation 1 before its softmax, which would hide how far apart
    a teacher puts its candidates.

    Args:
        student: (n, c) scores.
        teacher: (n, c) scores of the same candidates.
        teacher_temperature: T > 0, on the scale of the teacher's scores: see `calibrate_temperature`.
        rank_temperature: as for `score_correlation`, and so is what becomes of constant rows.
        mask: (n, c) bool, True where a candidate counts.
        reduction: "mean" over the rows in which the teacher's scores differ, or "none".

    Returns:
        A scalar, or (n,). No gradient flows through the weights.
    """
    mask = _checked(student, teacher, mask)
    require_positive(teacher_temperature=teacher_temperature, rank_temperature=rank_temperature)
    own, _ = _unit_rows(student, mask)
    theirs, counted = _unit_rows(teacher, mask)
    log_p = log_probabilities(teacher.detach(), teacher_temperature, mask)
    most = mask.sum(dim=1).clamp(min=2).log()
    difficulty = (cross_entropy_rows(log_p, log_p, mask) / most).clamp(0.0, 1.0)
    values, ranks = _distances(own, theirs), _rank_distances(own, teacher, rank_temperature, mask)
    return reduce_rows((1.0 - difficulty) * values + difficulty * ranks, counted, reduction)


@full_precision
def soft_ranks(scores: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Ranks with a gradient: 0.5 + sum_l sigmoid((z_k - z_l) / temperature), from 1 for the lowest score upwards.

    As the temperature goes to 0 they go to the exact ranks, ties sharing their mean; their sum is exact at any. Work
    grows with c^2, memory does not.

    Args:
        scores: (n, c).
        temperature: > 0, on the scale of the scores.
        mask: (n, c) bool, True where an entry counts; the others are ranked by nobody and have rank 0.

    Returns:
        (n, c).
    """
    require_shape("scores", scores, "n", "c")
    require_mask(mask, *scores.shape)
    require_positive(temperature=temperature)
    present = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    values = torch.where(present, scores.float(), 0.0) / temperature
    ranks: Tensor = _SoftRanks.apply(values, present)  # type: ignore[no-untyped-call]
    return torch.where(present, ranks, 0.0)


class _SoftRanks(torch.autograd.Function):
    """Soft ranks a few columns at a time; the backward makes each sigmoid again instead of keeping n x c x c of them.

    dL/dz_k = sum_l slope_kl (g_k - g_l), where slope = sigmoid (1 - sigmoid) and g is the gradient of the ranks.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, present: Tensor) -> Tensor:
        ctx.save_for_backward(values, present)
        ranks = torch.empty_like(values)
        for columns in _blocks(values):
            ranks[:, columns] = _beaten(values, present, columns).sum(dim=2)
        return ranks + 0.5

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, present = ctx.saved_tensors
        gradient = torch.where(present, gradient, 0.0)
        result = torch.empty_like(values)
        for columns in _blocks(values):
            beaten = _beaten(values, present, columns)
            slopes = torch.where(present.unsqueeze(1), beaten * (1.0 - beaten), 0.0)
            apart = gradient[:, columns].unsqueeze(2) - gradient.unsqueeze(1)
            result[:, columns] = (slopes * apart).sum(dim=2)
        return result, None


def _blocks(values: Tensor) -> Iterator[slice]:
    width = max(PAIRS // max(values.numel(), 1), 1)
    return (slice(start, start + width) for start in range(0, values.shape[1], width))


def _beaten(values: Tensor, present: Tensor, columns: slice) -> Tensor:
    """(n, k, c): how far each of these columns lies above each of all, 0 where that one does not count."""
    return torch.where(present.unsqueeze(1), torch.sigmoid(values[:, columns].unsqueeze(2) - values.unsqueeze(1)), 0.0)


def exact_ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Ranks from 1 for the lowest upwards among the entries that count; ties share their mean.

    A row in which one of these is NaN or infinite is NaN.
    """
    broken = (mask & ~scores.detach().isfinite()).any(dim=1, keepdim=True)
    values = torch.where(mask, scores.detach().float(), float("inf"))
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return ((below + upto + 1) / 2).masked_fill(broken, float("nan"))


def _checked(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    require_shape("student", student, "n", "c")
    require_shape("teacher", teacher, *student.shape)
    require_mask(mask, *student.shape)
    if student.shape[1] == 0:
        raise ValueError("a correlation needs candidates, and there are none")
    return torch.ones_like(student, dtype=torch.bool) if mask is None else mask


def _unit_rows(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows less their mean at length one, 0 where nothing counts or all is alike; and (n,) which rows have a spread.

    NaN and infinities that count make their row NaN; a row is not taken for constant because of them.
    """
    values = torch.where(mask, scores.float(), 0.0)
    mean = values.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    centred = torch.where(mask, values - mean, 0.0)
    reach = centred.detach().abs().amax(dim=1, keepdim=True)
    flat = reach <= ROUNDING * values.detach().abs().amax(dim=1, keepdim=True)
    # Divided by their largest first, squares neither overflow nor vanish.
    scaled = torch.where(flat, 0.0, centred) / torch.where(flat, 1.0, reach)
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(flat, 1.0, length), ~flat.squeeze(1)


def _distances(own: Tensor, theirs: Tensor) -> Tensor:
    return 1.0 - (own * theirs).sum(dim=1)


def _rank_distances(own: Tensor, teacher: Tensor, rank_temperature: float, mask: Tensor) -> Tensor:
    """1 - Spearman, from the student's unit rows and the teacher's scores."""
    deviations = own * mask.sum(dim=1, keepdim=True).sqrt()
    ranks, _ = _unit_rows(soft_ranks(deviations, rank_temperature, mask), mask)
    theirs, _ = _unit_rows(exact_ranks(teacher, mask), mask)
    return _distances(ranks, theirs)
