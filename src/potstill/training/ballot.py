"""What several teachers say of a batch's candidates, on one scale, and what comes of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..objectives import MarginVote, PointVote
from .terms import VoteTerm


def heard(term: VoteTerm, voices: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Bring teachers to one scale, and teachers that vote together to one voice.

    Args:
        term: says how.
        voices: `(k, q, c)` scores, NaN where a teacher has none.
        mask: `(q, c)` True where a candidate counts; None: all.

    Returns:
        `(v, q, c)` the voices of `term.voters`, 0 where there is none, and where there is one.
    """
    present = ~voices.isnan() if mask is None else ~voices.isnan() & mask
    shape = (-1, 1, 1)
    if term.zscore:
        voices = _standardised(voices, present)
    if term.offsets:
        voices = voices - torch.tensor(term.offsets, device=voices.device).view(shape)
    voices = voices / torch.tensor(term.temperatures, device=voices.device).view(shape)
    if term.weights:  # the mean of the weighted is then their sum
        voices = voices * torch.tensor(term.weights, device=voices.device).view(shape) * len(term.weights)
    known = torch.where(present, voices, 0.0)
    if len(term.voters) == len(term.teachers):
        return known, present
    said, there = [], []
    for group in term.groups:
        count = present[group].sum(dim=0)
        said.append(known[group].sum(dim=0) / count.clamp(min=1))
        there.append(count > 0)
    return torch.stack(said), torch.stack(there)


def voted(term: VoteTerm, student: Tensor, said: Tensor, present: Tensor, labels: Tensor | None = None) -> Tensor:
    """The value of a term of several teachers.

    Args:
        term: the term.
        student: `(q, c)` scores.
        said: `(v, q, c)`, and
        present: `(v, q, c)`, see `heard`.
        labels: `(q, c)` 1 at documents known to fit, 0 at others of such a query, NaN elsewhere; None: none.
    """
    if isinstance(term.objective, MarginVote):
        return term.objective(student / term.student_temperature, said, mask=present, labels=labels)
    if isinstance(term.objective, PointVote):
        flat = present.flatten(1)
        points = (student / term.student_temperature).flatten()
        return term.objective(points, said.flatten(1), mask=flat, labels=None if labels is None else labels.flatten())
    asked, mask = list_masks(present)
    return term.objective(student, said, mask=mask, teacher_mask=asked, labels=labels)


def list_masks(present: Tensor) -> tuple[Tensor, Tensor]:
    """Who votes on a list, `(k, q)`, and on which candidates, `(q, c)`: those that all who vote have a score of.

    A teacher votes where it has a score of at least two candidates.
    """
    asked = present.sum(dim=2) >= 2
    return asked, (present | ~asked.unsqueeze(2)).all(dim=0) & present.any(dim=0)


def labels_of(positives: Tensor, mask: Tensor) -> Tensor:
    """`(q, c)` labels of lists: 1 at the column that is known to fit, 0 at the others, NaN where there is none.

    That nobody judged the others is taken for a 0, as every contrastive loss takes it.

    Args:
        positives: `(q,)` column, -1 where none is known.
        mask: `(q, c)` True where a candidate counts.
    """
    columns = torch.arange(mask.shape[1], device=mask.device)
    labels = (columns == positives.unsqueeze(1)).float()
    return labels.masked_fill(~mask | (positives < 0).unsqueeze(1), torch.nan)


def _standardised(said: Tensor, present: Tensor) -> Tensor:
    """Scores `(k, q, c)` at mean 0 and deviation 1 over each teacher's own of a query."""
    count = present.sum(dim=2, keepdim=True).clamp(min=1)
    known = torch.where(present, said, 0.0)
    apart = torch.where(present, known - known.sum(dim=2, keepdim=True) / count, 0.0)
    deviation = (apart.square().sum(dim=2, keepdim=True) / count).sqrt()
    return apart / deviation.clamp(min=1e-6)
