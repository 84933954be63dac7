"""Relations to a bank of vectors, plain and in chunks: Relational Representation Distillation (arXiv 2407.12073).

Both softmaxes run over the same bank, so a chunk serves both sides, and with the softmax-weighted mean of the bank
("what attention would return", m_T for the teacher) the loss needs no second look at it:

    L = -sum_k p_T(k) log p_S(k) = logsumexp_k(s_k) - <z_S, m_T> / tau_s,      dL/dz_S = (m_S - m_T) / tau_s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

Mask = Tensor | Callable[[int, int], Tensor]
"""(n, m) bool, True where a bank row counts; or a function (start, stop) -> those columns, where n x m is too much."""


@full_precision
def relation_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    mask: Mask | None = None,
    chunk: int | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of softmax(teacher . bank / T_t) against softmax(student . bank / T_s): H(teacher) + KL, in nats.

    Teacher and bank are constants: the gradient flows to `student` alone.

    Args:
        student: (n, d).
        teacher: (n, d).
        bank: (m, d) of any float type.
        student_temperature: T_s > 0.
        teacher_temperature: T_t > 0.
        mask: (n, m) bool, True where a bank row counts, or a function that gives columns `start` to `stop` of it.
        chunk: bank rows looked at together. The batch x bank products are then never held, so that memory beyond the
            inputs does not depend on the bank's size; same value and gradient. None: all at once.
        reduction: "mean" over the rows that have a bank row, or "none".

    Returns:
        A scalar, or (n,).
    """
    _check(student, teacher, bank, student_temperature, teacher_temperature, mask, chunk)
    if chunk is None:
        whole = mask(0, bank.shape[0]) if callable(mask) else mask
        require_mask(whole, student.shape[0], bank.shape[0])
        keys = bank.detach().float().T
        log_teacher = log_probabilities(teacher.detach().float() @ keys, teacher_temperature, whole)
        log_student = log_probabilities(student.float() @ keys, student_temperature, whole)
        rows = cross_entropy_rows(log_teacher, log_student, whole)
        return reduce_rows(rows, None if whole is None else whole.any(dim=-1), reduction)
    rows, counted = _Chunked.apply(  # type: ignore[no-untyped-call]
        student.float() / student_temperature,
        teacher.detach().float() / teacher_temperature,
        bank.detach(),
        mask,
        chunk,
    )
    return reduce_rows(rows, None if mask is None else counted, reduction)


@dataclass(frozen=True)
class RelationSummary:
    """What to log beside the loss, each (n,): the loss less `entropy` is the KL gap."""

    entropy: Tensor
    """H(p_T) in nats; exp of it is the number of effective neighbours."""
    agrees: Tensor
    """bool: teacher and student give the same bank row the highest score."""
    counted: Tensor
    """bool: the row has a bank row that counts."""


@torch.no_grad()
def relation_summary(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    teacher_temperature: float,
    mask: Mask | None = None,
    chunk: int = 8192,
) -> RelationSummary:
    """What to log beside the loss: teacher entropy, and whether both sides have the same first neighbour."""
    _check(student, teacher, bank, 1.0, teacher_temperature, mask, chunk)
    with torch.autocast(device_type=student.device.type, enabled=False):
        target = teacher.float() / teacher_temperature
        both = _attend(torch.cat([student.float(), target]), bank, mask, chunk, means=slice(len(student), None))
    first_student, first_teacher = both.first.chunk(2)
    log_total = both.log_total[len(student) :]
    counted = log_total > float("-inf")
    entropy = torch.where(counted, log_total - (target * both.mean).sum(dim=-1), 0.0).clamp(min=0.0)
    return RelationSummary(entropy, (first_student == first_teacher) & counted, counted)


class _Chunked(torch.autograd.Function):
    """The loss of each row and whether it counts; the gradient is at hand when the forward pass ends: (m_S - m_T)."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, bank: Tensor, mask: Mask | None, chunk: int
    ) -> tuple[Tensor, Tensor]:
        n = len(student)
        means = slice(0 if ctx.needs_input_grad[0] else n, None)
        both = _attend(torch.cat([student, teacher]), bank, mask, chunk, means)
        log_total, target = both.log_total[:n], both.mean[-n:] if n else both.mean
        counted = log_total > float("-inf")
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(both.mean[:n] - target)
        ctx.mark_non_differentiable(counted)
        return torch.where(counted, log_total - (student * target).sum(dim=-1), 0.0), counted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        return gradients[0].unsqueeze(1) * difference, None, None, None, None


@dataclass(frozen=True)
class _Attention:
    log_total: Tensor
    """(q,) logsumexp of the scores; -inf where no bank row counts."""
    mean: Tensor
    """(rows asked for, d) softmax-weighted mean of the bank; 0 where no bank row counts."""
    first: Tensor
    """(q,) the bank row of the highest score."""


def _attend(queries: Tensor, bank: Tensor, mask: Mask | None, chunk: int, means: slice) -> _Attention:
    """Softmax attention of (q, d) scaled queries over the bank, one chunk of it at a time, with a running maximum.

    `mask` has one row per student, used for both halves of `queries`. Means are made for the rows of `means` alone.
    """
    q, device = len(queries), queries.device
    highest = torch.full((q,), float("-inf"), device=device)
    total = torch.zeros(q, device=device)
    mean = torch.zeros_like(queries[means])
    first = torch.zeros(q, dtype=torch.long, device=device)
    for start in range(0, len(bank), chunk):
        stop = min(start + chunk, len(bank))
        keys = bank[start:stop].to(device=device, dtype=torch.float32)
        scores = queries @ keys.T
        if mask is not None:
            columns = mask(start, stop) if callable(mask) else mask[:, start:stop]
            require_mask(columns, q // 2, stop - start)
            # Scores of both halves are masked in place by a view: no copy of the mask.
            scores.view(2, q // 2, stop - start).masked_fill_(~columns, float("-inf"))
        best, where = scores.max(dim=1)
        first = torch.where(best > highest, where + start, first)
        raised = torch.maximum(highest, best)
        level = torch.where(raised > float("-inf"), raised, 0.0)
        shrink = (highest - level).exp_()
        scores.sub_(level.unsqueeze(1)).exp_()
        total.mul_(shrink).add_(scores.sum(dim=1))
        mean.mul_(shrink[means].unsqueeze(1)).addmm_(scores[means], keys)
        highest = raised
    safe = torch.where(total > 0, total, 1.0)
    return _Attention(highest + safe.log(), mean.div_(safe[means].unsqueeze(1)), first)


def _check(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    mask: Mask | None,
    chunk: int | None,
) -> None:
    require_shape("student", student, "n", "d")
    require_shape("teacher", teacher, *student.shape)
    require_shape("bank", bank, "m", student.shape[1])
    if bank.shape[0] == 0:
        raise ValueError("the bank is empty")
    if not callable(mask):
        require_mask(mask, student.shape[0], bank.shape[0])
    require_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
