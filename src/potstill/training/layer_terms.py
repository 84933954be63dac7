"""Terms of LEAD (arXiv 2212.05225): the student's blocks rank the candidates as the teacher's do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..objectives import LayerPairs, LayerRankings, ScoreKL, pair_layers
from ..objectives.functional import layer_kl, score_kl
from ..recipe import LayersSpec
from ..teachers.blocks import Tap


@dataclass(frozen=True)
class LayerTerm:
    """Distributions of blocks over candidates, the student's against the teacher's.

    `teacher` names the live ranker whose blocks these are; None: those of the teacher of vectors, as stored.
    """

    name: str
    weight: float
    documents: Literal["batch", "sample", "mined", "pooled", "all"]
    count: int
    objective: LayerRankings
    teacher: str | None = None
    spec: LayersSpec = field(default_factory=LayersSpec)
    live: bool = True
    keep_wrong: float | None = None

    def pairs(self, student: int, teacher: int, *, seed: int, step: int) -> LayerPairs:
        """The blocks paired at this update, for these depths."""
        count = self.spec.count or max(1, min(student - 1, teacher))
        return pair_layers(student, teacher, count, self.spec.map, seed=seed, step=step, every=self.spec.redraw)

    def factor(self, epoch: int) -> float:
        """What the weight is multiplied by in this epoch."""
        return self.spec.decay**epoch


@dataclass(frozen=True)
class DrawnLayers:
    """A layer term in one batch.

    Attributes:
        student, teacher: the taps of each side, paired by place; after the teacher's stands its last block where the
            weights need it.
        stored: the teacher's blocks' vectors of queries `(q, k, w)` and documents `(u, k, w)`, in the order of
            `teacher`; None: its ranker is live.
        factor: of the term's weight.
    """

    student: tuple[Tap, ...]
    teacher: tuple[Tap, ...]
    stored: tuple[Tensor, Tensor] | None
    factor: float


def drawn_taps(term: LayerTerm, student: int, teacher: int, *, seed: int, step: int) -> tuple[tuple[Tap, ...], ...]:
    """Taps of student and teacher of this update."""
    pairs = term.pairs(student, teacher, seed=seed, step=step)
    ours = tuple(Tap(block, term.spec.place) for block in pairs.student)
    theirs = tuple(Tap(block, term.spec.place) for block in pairs.teacher)
    return ours, (*theirs, Tap(teacher - 1, term.spec.place)) if term.objective.form == "agreement" else theirs


def layer_value(
    term: LayerTerm,
    student: Tensor,
    teacher: Tensor,
    *,
    positives: Tensor | None,
    mask: Tensor | None,
    rivals: Tensor | None,
    detach: bool,
) -> Tensor:
    """The term's value: LEAD's L_lyr.

    Args:
        term: decides the weights.
        student: `(k, q, c)` scores of the student's blocks.
        teacher: `(k, q, c)` of the teacher's; one more, its last block's, where the weights are by agreement.
        positives: `(q,)` column of each query's positive, -1 where none is known; None: not needed.
        mask: `(q, c)` True where a candidate counts; None: all.
        rivals: the same for the weights' contrastive loss alone: without others that are known to fit.
        detach: whether the teacher gets no gradient.
    """
    chosen, last = teacher[: len(student)], teacher[-1]
    weights = term.objective.weights(
        chosen.detach(), positives=positives, last=last.detach(), mask=mask if rivals is None else rivals
    )
    return layer_kl(student, chosen.detach() if detach else chosen, weights, mask)


def response_value(
    objective: ScoreKL, student: Tensor, teacher: Tensor, mask: Tensor | None, *, detach: bool
) -> Tensor:
    """LEAD's response term of a teacher that is trained too: KL in both directions, each side softened by its own T.

    Args:
        objective: the temperatures.
        student: `(q, c)` scores.
        teacher: `(q, c)` scores.
        mask: `(q, c)` True where a candidate counts.
        detach: whether the side that is the target of a direction gets no gradient from it.
    """
    ours, theirs = objective.student_temperature, objective.teacher_temperature
    towards = score_kl(student, teacher.detach() if detach else teacher, ours, theirs, mask)
    back = score_kl(teacher, student.detach() if detach else student, theirs, ours, mask)
    value = towards + back
    return value * (ours * theirs) if objective.scale_by_temperature else value


def stacked(scores: Tensor, columns: Tensor | None) -> Tensor:
    """Scores `(k, q, u)` as `(k, q, c)`: each query's own candidates, where it has some."""
    return scores if columns is None else scores.gather(2, columns.expand(len(scores), *columns.shape))


def places_of(taps: tuple[Tap, ...], wanted: tuple[Tap, ...], device: torch.device) -> Tensor:
    """Where each wanted tap is among the taps."""
    return torch.tensor([taps.index(tap) for tap in wanted], dtype=torch.int64, device=device)
