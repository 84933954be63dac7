"""How a vote goes: who is heard, who is dropped, how often teachers differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..objectives import ListVote, MarginVote
from ..objectives.functional import list_vote_weights, vote_weights
from .documents import list_masks
from .terms import VoteTerm


@torch.no_grad()
def vote_report(term: VoteTerm, student: Tensor, heard: Tensor, present: Tensor) -> dict[str, Any]:
    """What to log of one batch of a vote.

    Args:
        term: the vote.
        student: `(q, c)` scores.
        heard: `(k, q, c)` the teachers', over their temperatures.
        present: `(k, q, c)` where there is one.

    Returns:
        `contested`: the share of samples (lists, or pairs of a margin) in which the hard vote drops somebody; `entropy`
        of the weights (nats, mean); and by teacher `dropped`, how often the hard vote drops it of those in which it
        votes, and `weight`, its mean one.
    """
    objective = term.objective
    if isinstance(objective, MarginVote):
        own = student[:, 1:] - student[:, :1]
        theirs, there = heard[:, :, 1:] - heard[:, :, :1], present[:, :, 1:] & present[:, :, :1]
        own, theirs = own.reshape(-1) / term.student_temperature, theirs.reshape(len(heard), -1)
        there = there.reshape(len(heard), -1)
        weights = objective.weights(own, theirs, there)
        hard = vote_weights(own, theirs, objective.tie, dead_zone=objective.dead_zone, mask=there)
    else:
        assert isinstance(objective, ListVote)
        there, mask = list_masks(present)
        lowest = torch.finfo(student.dtype).min
        own = torch.softmax((student / objective.student_temperature).masked_fill(~mask, lowest), dim=1) * mask
        theirs = torch.softmax(heard.masked_fill(~mask, lowest), dim=2) * mask
        hard = list_vote_weights(own, theirs, mask=there)
        soft = objective.soft_temperature
        weights = hard
        if soft is not None:
            weights = list_vote_weights(own, theirs, soft=(soft, objective.soft_sharpness), mask=there)
    counted = there.any(dim=0)
    dropped = there & (hard == 0)
    samples = max(int(counted.sum()), 1)
    entropy = -torch.xlogy(weights, weights).sum(dim=0)[counted].sum() / samples
    voted = there.sum(dim=1).clamp(min=1)
    return {
        "contested": float(dropped.any(dim=0).sum() / samples),
        "entropy": float(entropy),
        "dropped": dict(zip(term.teachers, (dropped.sum(dim=1) / voted).tolist(), strict=True)),
        "weight": dict(zip(term.teachers, (weights.sum(dim=1) / voted).tolist(), strict=True)),
    }
