"""Votes of several teachers: weights without gradient.

GOVERN (arXiv 2405.03764). The update rule is reconstructed from descriptions of the paper; open choices are options.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ._tensors import full_precision, require_mask, require_positive, require_shape

Tie = Literal["keep_all", "drop"]


@torch.no_grad()
@full_precision
def vote_weights(
    student: Tensor,
    teachers: Tensor,
    tie: Tie = "keep_all",
    *,
    dead_zone: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Weights of the teachers that win the sign vote of each sample: 1 / (number kept), 0 for the minority.

    Teacher k votes with the sign of `teachers[k] - student`: the direction in which any of the usual losses would pull
    the student. The side with more votes is kept.

    Args:
        student: (n,) the student's present outputs.
        teachers: (k, n) outputs of the teachers on the same scale.
        tie: "keep_all" makes a tied sample the mean ensemble; "drop" gives it no weight at all.
        dead_zone: teachers within this distance of the student vote for neither side.
        mask: (k, n) bool, True where a teacher has an output. A sample without any has no weight.

    Returns:
        (k, n); columns sum to 1 (to 0 in the two cases named above). No gradient.
    """
    present = _checked(student, teachers, mask)
    if tie not in ("keep_all", "drop"):
        raise ValueError(f'tie must be "keep_all" or "drop", not {tie!r}')
    if not dead_zone >= 0:
        raise ValueError(f"dead_zone must not be negative, got {dead_zone}")
    direction = torch.where(present, teachers.float() - student.float(), 0.0)
    votes = torch.where(direction.abs() > dead_zone, direction.sign(), 0.0)
    majority = votes.sum(dim=0).sign()
    kept = present & (votes == majority)
    tied = majority == 0
    kept = torch.where(tied, present if tie == "keep_all" else torch.zeros_like(present), kept)
    return kept / kept.sum(dim=0).clamp(min=1)


@torch.no_grad()
@full_precision
def soft_vote_weights(
    student: Tensor, teachers: Tensor, temperature: float, sharpness: float, *, mask: Tensor | None = None
) -> Tensor:
    """A vote without jumps (ours): with u = tanh((teacher - student) / temperature), softmax(sharpness * mean(u) * u).

    Sharpness 0 is the mean ensemble; temperature to 0 with sharpness to infinity is `vote_weights`. Unlike the hard
    vote it comes to rest under a constant learning rate.

    Args:
        student: (n,).
        teachers: (k, n).
        temperature: > 0; a quarter of the median |teacher - student| is a good start.
        sharpness: >= 0; 4 to 8.
        mask: (k, n) bool, True where a teacher has an output.

    Returns:
        (k, n); columns sum to 1 (to 0 where no teacher has an output). No gradient.
    """
    present = _checked(student, teachers, mask)
    require_positive(temperature=temperature)
    if not 0 <= sharpness < float("inf"):
        raise ValueError(f"sharpness must be a finite number, 0 or more, not {sharpness}")
    lean = torch.where(present, torch.tanh((teachers.float() - student.float()) / temperature), 0.0)
    verdict = lean.sum(dim=0) / present.sum(dim=0).clamp(min=1)
    return _softmax_over_teachers(sharpness * verdict * lean, present)


@torch.no_grad()
@full_precision
def list_vote_weights(
    student: Tensor,
    teachers: Tensor,
    *,
    soft: tuple[float, float] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Weights of whole teachers for each list, by the agreement of their descent directions.

    With g_k = p_k - p_student (each sums to 0), teacher k's standing is sum_j sign<g_k, g_j>, itself included; those
    above 0 are kept, all of them when none is. Two candidates give exactly the scalar rule of `vote_weights`. There is
    no vote per document: it would leak into a shift of all scores.

    Args:
        student: (n, c) probabilities.
        teachers: (k, n, c) probabilities over the same candidates, 0 where one does not count.
        soft: (temperature, sharpness): cosines of directions through tanh and a softmax in place of signs and a cut.
        mask: (k, n) bool, True where a teacher says anything about the query.

    Returns:
        (k, n); columns sum to 1 (to 0 where no teacher says anything). No gradient.
    """
    require_shape("student", student, "n", "c")
    require_shape("teachers", teachers, "k", *student.shape)
    require_mask(mask, *teachers.shape[:2])
    present = torch.ones(teachers.shape[:2], dtype=torch.bool, device=student.device) if mask is None else mask
    direction = torch.where(present.unsqueeze(-1), teachers.float() - student.float(), 0.0)
    if soft is None:
        agreement = torch.einsum("knc,jnc->kjn", direction, direction).sign()
        standing = agreement.sum(dim=1)
        kept = present & (standing > 0)
        kept = torch.where(kept.any(dim=0), kept, present)
        return kept / kept.sum(dim=0).clamp(min=1)
    temperature, sharpness = soft
    require_positive(temperature=temperature)
    unit = torch.nn.functional.normalize(direction, dim=-1)
    lean = torch.tanh(torch.einsum("knc,jnc->kjn", unit, unit) / temperature)
    standing = lean.sum(dim=1) / present.sum(dim=0).clamp(min=1)
    return _softmax_over_teachers(sharpness * standing, present)


def _checked(student: Tensor, teachers: Tensor, mask: Tensor | None) -> Tensor:
    require_shape("student", student, "n")
    require_shape("teachers", teachers, "k", student.shape[0])
    if teachers.shape[0] == 0:
        raise ValueError("a vote needs at least one teacher")
    require_mask(mask, *teachers.shape)
    return torch.ones_like(teachers, dtype=torch.bool) if mask is None else mask


def _softmax_over_teachers(logits: Tensor, present: Tensor) -> Tensor:
    none = ~present.any(dim=0)
    logits = logits.masked_fill(~present, float("-inf")).masked_fill(none, 0.0)
    return torch.softmax(logits, dim=0).masked_fill(none, 0.0)
