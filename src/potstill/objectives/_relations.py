"""Relations to a bank of vectors, plain and in chunks: Relational Representation Distillation (arXiv 2407.12073).

Both softmaxes run over the same bank, so that one chunk serves both sides, and one pass gives loss and gradient:

    L = -sum_k p_T(k) log p_S(k) = logsumexp_k(s_k) - sum_k p_T(k) s_k,      dL/dz_S = (m_S - m_T) / tau_s,

where m is the mean of the bank's rows under each side's softmax: what attention over the bank would return.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._tensors import (
    Reduction,
    cross_entropy_rows,
    full_precision,
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
    offsets: Tensor | None = None,
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
        offsets: (m,) added to both sides' logits: log of how many rows of a larger bank each row stands for.
        reduction: "mean" over the rows that have a bank row, or "none".

    Returns:
        A scalar, or (n,).
    """
    _check(student, teacher, bank, student_temperature, teacher_temperature, mask, chunk, offsets)
    if chunk is None:
        whole = mask(0, bank.shape[0]) if callable(mask) else mask
        require_mask(whole, student.shape[0], bank.shape[0])
        keys = bank.detach().to(device=student.device, dtype=torch.float32).T
        more = 0.0 if offsets is None else offsets.to(device=student.device, dtype=torch.float32)
        log_teacher = _log_softmax(teacher.detach().float() @ keys / teacher_temperature + more, whole)
        log_student = _log_softmax(student.float() @ keys / student_temperature + more, whole)
        rows = cross_entropy_rows(log_teacher, log_student, whole)
        return reduce_rows(rows, None if whole is None else whole.any(dim=-1), reduction)
    rows, counted = _Chunked.apply(  # type: ignore[no-untyped-call]
        student.float() / student_temperature,
        teacher.detach().float() / teacher_temperature,
        bank.detach(),
        mask,
        offsets,
        chunk,
    )
    return reduce_rows(rows, None if mask is None else counted, reduction)


def _log_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Log-softmax over a long row, 0 where masked. Torch's own adds up in sequence: off by 1e-4 over 65,536 entries."""
    if mask is None:
        return scores - scores.logsumexp(dim=-1, keepdim=True)
    empty = ~mask.any(dim=-1, keepdim=True)
    kept = torch.where(mask, scores, float("-inf")).masked_fill(empty, 0.0)
    return torch.where(mask, scores - kept.logsumexp(dim=-1, keepdim=True), 0.0)


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
    *,
    offsets: Tensor | None = None,
) -> RelationSummary:
    """What to log beside the loss: teacher entropy, and whether both sides have the same first neighbour."""
    _check(student, teacher, bank, 1.0, teacher_temperature, mask, chunk, offsets)
    with torch.autocast(device_type=student.device.type, enabled=False):
        both = scan(student.float(), teacher.float() / teacher_temperature, bank, mask, offsets, chunk, firsts=True)
    entropy = torch.where(both.counted, both.teacher_entropy, 0.0)
    assert both.firsts is not None
    return RelationSummary(entropy, (both.firsts[0] == both.firsts[1]) & both.counted, both.counted)


class _Chunked(torch.autograd.Function):
    """The loss of each row and whether it counts. The gradient, m_S - m_T, is at hand when the forward pass ends."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        bank: Tensor,
        mask: Mask | None,
        offsets: Tensor | None,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        both = scan(student, teacher, bank, mask, offsets, chunk, means=ctx.needs_input_grad[0])
        if both.mean_difference is not None:
            ctx.save_for_backward(both.mean_difference)
        ctx.mark_non_differentiable(both.counted)
        return torch.where(both.counted, both.cross_entropy, 0.0), both.counted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        return gradients[0].unsqueeze(1) * difference, None, None, None, None, None


@dataclass(frozen=True)
class _Scan:
    """What one pass over the bank gives, each (n,) but the means; rows that do not count hold nothing of use."""

    counted: Tensor
    cross_entropy: Tensor
    teacher_entropy: Tensor
    firsts: Tensor | None
    """(2, n) the bank row with the highest score under the student and the teacher."""
    mean_difference: Tensor | None
    """(n, d) softmax-weighted mean of the bank under the student less that under the teacher; 0 in rows with none."""


# Stands for minus infinity: exp of it is 0 too, but 0 times it is 0 and not NaN.
_ABSENT = -1e30


def scan(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    mask: Mask | None,
    offsets: Tensor | None,
    chunk: int,
    *,
    means: bool = False,
    firsts: bool = False,
    step: Step | None = None,
) -> _Scan:
    """One pass over the bank with running maxima; both sides already divided by their temperatures.

    Sums are of scores less the row's running maximum, never of scores: the loss may be a thousandth of them, and
    float32 would lose it in the difference of two large numbers.
    """
    n, device = len(student), student.device
    step = step or (_fused(device.index or 0) if device.type == "cuda" else chunk_step)
    queries = torch.cat([student, teacher])
    highest = torch.full((2 * n,), _ABSENT, device=device)
    total = torch.zeros(2 * n, device=device)
    first = torch.zeros(2 * n, dtype=torch.long, device=device) if firsts else None
    mean = torch.zeros_like(queries) if means else None
    # Sum over the bank of exp(teacher score - maximum) x (student | teacher score - maximum).
    weighed = torch.zeros(2, n, device=device)
    for start in range(0, len(bank), chunk):
        stop = min(start + chunk, len(bank))
        keys = bank[start:stop].to(device=device, dtype=torch.float32)
        scores = queries @ keys.T
        if offsets is not None:
            scores += offsets[start:stop].to(device=device, dtype=torch.float32)
        if mask is not None:
            columns = mask(start, stop) if callable(mask) else mask[:, start:stop]
            require_mask(columns, n, stop - start)
            scores.view(2, n, stop - start).masked_fill_(~columns.to(device), _ABSENT)
        if first is not None:
            best, where = scores.max(dim=1)
            first = torch.where(best > highest, where + start, first)
        shrink = step(scores, highest, total, weighed)
        if mean is not None:
            mean.mul_(shrink.unsqueeze(1)).addmm_(scores, keys)
    counted = highest[n:] > _ABSENT
    difference = None
    if mean is not None:
        mean.div_(total.unsqueeze(1))
        difference = torch.where(counted.unsqueeze(1), mean[:n] - mean[n:], 0.0)
    weighed.div_(total[n:])
    cross_entropy, entropy = (total.log().view(2, n) - weighed).clamp(min=0.0).unbind()
    return _Scan(counted, cross_entropy, entropy, None if first is None else first.view(2, n), difference)


Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""What stands between the two products of a chunk. Of scores `(2n, c)` (the students' rows, then the teachers'), it
makes exp(score - maximum), and brings `highest (2n,)`, `total (2n,)` and `weighed (2, n)` up to date, all in place;
gives `(2n,)` what earlier means shrink by."""


def chunk_step(scores: Tensor, highest: Tensor, total: Tensor, weighed: Tensor) -> Tensor:
    """See `Step`."""
    n = weighed.shape[1]
    raised = torch.maximum(highest, scores.amax(dim=1))
    drop = highest - raised
    shrink = drop.exp()
    weighed.add_(drop.view(2, n) * total[n:]).mul_(shrink[n:])
    scores.sub_(raised.unsqueeze(1))
    probability = scores[n:].exp()
    weighed.add_(torch.linalg.vecdot(scores.view(2, n, -1), probability))
    scores[:n].exp_()
    scores[n:] = probability
    total.mul_(shrink).add_(scores.sum(dim=1))
    highest.copy_(raised)
    return shrink


@functools.cache
def _fused(device: int) -> Step:
    """One kernel for the step on this CUDA device, 1.2 to 3.4 times as fast; plain torch where it cannot be had."""
    try:
        from ._relations_kernel import fused_step

        place = torch.device("cuda", device)
        scores = torch.linspace(-3.0, 3.0, 4 * 5, device=place).view(4, 5)
        given = (torch.zeros(4, device=place), torch.ones(4, device=place), torch.ones(2, 2, device=place))
        ours, plain = (tuple(t.clone() for t in (scores, *given)) for _ in range(2))
        for mine, theirs in zip((fused_step(*ours), *ours), (chunk_step(*plain), *plain), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    except Exception as error:  # no Triton, no compiler for it, a driver that is too old: anything may be missing
        warnings.warn(f"relations to a bank run without their fused kernel: {error}", stacklevel=2)
        return chunk_step
    return fused_step


def _check(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    mask: Mask | None,
    chunk: int | None,
    offsets: Tensor | None,
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
    if offsets is not None:
        require_shape("offsets", offsets, bank.shape[0])
