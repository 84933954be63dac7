"""Regression on scores, and which lists to learn from: MSE, MarginMSE, the error filter of SSKD."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._tensors import Reduction, full_precision, positive_columns, reduce_rows, require_mask, require_shape


@full_precision
def score_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "mean") -> Tensor:
    """Squared difference of raw scores: mean over a row's candidates, then over rows.

    Both sides must be on one scale, offset included: a cross-encoder's logits are not on that of a cosine.

    Args:
        student: (n, c) scores.
        teacher: (n, c) scores of the same candidates.
        mask: (n, c) bool, True where a candidate counts.
        reduction: "mean" over the rows that have a candidate, or "none".

    Returns:
        A scalar, or (n,).
    """
    errors, present = _errors("score_mse", student, teacher, mask)
    count = present.sum(dim=1)
    return reduce_rows(errors.square().sum(dim=1) / count.clamp(min=1), count > 0, reduction)


@full_precision
def margin_mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    positives: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of margins, positive less negative: MarginMSE (Hofstaetter et al., arXiv 2010.02666).

        mean over negatives j of ((s_p - s_j) - (t_p - t_j))^2

    Adding a constant to a row of either side changes nothing; the scales must agree.

    Args:
        student: (n, c) scores.
        teacher: (n, c) scores of the same candidates.
        mask: (n, c) bool, True where a candidate counts.
        positives: (n,) integer column of each query's positive, -1 where none is known; None: column 0. All other
            columns are negatives.
        reduction: "mean" over the rows whose positive and at least one negative count, or "none".

    Returns:
        A scalar, or (n,).
    """
    errors, present = _errors("margin_mse", student, teacher, mask)
    if positives is None:
        positives = torch.where(present[:, 0], 0, -1)
    column, known = positive_columns(positives, mask, *errors.shape)
    negative = present.scatter(1, column, False) & known.unsqueeze(1)
    differences = torch.where(negative, errors.gather(1, column) - errors, 0.0)
    count = negative.sum(dim=1)
    return reduce_rows(differences.square().sum(dim=1) / count.clamp(min=1), count > 0, reduction)


@torch.no_grad()
def keep_wrong(teacher: Tensor, positives: Tensor, fraction: float, mask: Tensor | None = None) -> Tensor:
    """Which lists to learn from: SSKD's error filter (arXiv 2006.07114), as a mask of rows.

    Kept: every list whose known positive the teacher ranks first, every list without a known positive, and of the
    others, which the teacher gets wrong, the least wrong share by the rank it gives the positive. A candidate that ties
    with the positive is no error; of two lists equally wrong the earlier is kept. "Of the others" means: of those in
    this call.

    Args:
        teacher: (n, c) scores.
        positives: (n,) integer column of each query's positive, -1 where none is known.
        fraction: 0 to 1, share of the wrong lists that is kept, to the nearest number of lists; 0.75 as published.
        mask: (n, c) bool, True where a candidate counts; a positive must count.

    Returns:
        (n,) bool.
    """
    require_shape("teacher", teacher, "n", "c")
    require_mask(mask, *teacher.shape)
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be 0 to 1, not {fraction}")
    column, known = positive_columns(positives, mask, *teacher.shape)
    if not known.any():
        return ~known
    better = teacher > teacher.gather(1, column)
    if mask is not None:
        better &= mask
    above = torch.where(known, better.sum(dim=1), 0)
    wrong = int((above > 0).sum())
    kept = len(above) - wrong + math.floor(fraction * wrong + 0.5)
    order = torch.sort(above, stable=True).indices
    return torch.zeros_like(known).scatter(0, order[:kept], True)


def _errors(name: str, student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Student less teacher, 0 where a candidate does not count; and where one does."""
    require_shape("student", student, "n", "c")
    require_shape("teacher", teacher, *student.shape)
    require_mask(mask, *student.shape)
    if student.shape[1] == 0:
        raise ValueError(f"{name} needs at least one candidate a query")
    errors = student.float() - teacher.float()
    if mask is None:
        return errors, torch.ones_like(errors, dtype=torch.bool)
    return torch.where(mask, errors, 0.0), mask
