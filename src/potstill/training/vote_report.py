"""How a vote goes: who is heard, who is dropped, how often teachers differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..objectives import ListVote, MarginVote, PointVote
from ..objectives.functional import list_vote_weights, vote_weights
from .ballot import list_masks
from .terms import VoteTerm


@torch.no_grad()
def vote_report(term: VoteTerm, student: Tensor, heard: Tensor, present: Tensor) -> dict[str, Any]:
    """What to log of one batch of a vote.

    Args:
        term: the vote.
        student: `(q, c)` scores.
        heard: `(v, q, c)` what the voters say, on one scale.
        present: `(v, q, c)` where there is one.

    Returns:
        `contested`: the share of samples (lists, or pairs of a margin) in which the hard vote drops somebody; `entropy`
        of the weights (nats, mean); and by teacher `dropped`, how often the hard vote drops it of those in which it
        votes, and `weight`, its mean one.
    """
    objective = term.objective
    if isinstance(objective, MarginVote):
        own, theirs, both, others = objective.margins(student / term.student_temperature, heard, mask=present)
        there = both & others
        weights = objective.weights(own, theirs, there)
        hard = vote_weights(own, theirs, objective.tie, dead_zone=objective.dead_zone, mask=there)
    elif isinstance(objective, PointVote):
        own, theirs, there = (student / term.student_temperature).flatten(), heard.flatten(1), present.flatten(1)
        weights = objective.weights(own, theirs, there)
        hard = vote_weights(own, theirs, objective.tie, dead_zone=objective.dead_zone, mask=there)
    else:
        assert isinstance(objective, ListVote)
        there, mask = list_masks(present)
        own, theirs = objective.probabilities(student, heard, mask=mask, teacher_mask=there)
        weights = objective.weights(own, theirs, there)
        hard = list_vote_weights(own, theirs, mask=there)
    counted = there.any(dim=0)
    dropped = there & (hard == 0)
    samples = max(int(counted.sum()), 1)
    entropy = -torch.xlogy(weights, weights).sum(dim=0)[counted].sum() / samples
    voted = there.sum(dim=1).clamp(min=1)
    return {
        "contested": float(dropped.any(dim=0).sum() / samples),
        "entropy": float(entropy),
        "dropped": dict(zip(term.voters, (dropped.sum(dim=1) / voted).tolist(), strict=True)),
        "weight": dict(zip(term.voters, (weights.sum(dim=1) / voted).tolist(), strict=True)),
    }
