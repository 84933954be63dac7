"""Layers: every block ranks the candidates, and student blocks learn from teacher blocks (LEAD, arXiv 2212.05225)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ._tensors import require_positive, require_shape
from .base import Objective
from .functional import contrastive, layer_kl, layer_weights, score_kl

LayerPlan = Literal["random", "uniform", "last", "skip"]
Weighting = Literal["adaptive", "uniform", "agreement"]


@dataclass(frozen=True)
class LayerPairs:
    """Which student block learns from which teacher block, from 0, both ascending. The embedding output is no block."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]


def pair_layers(
    student_depth: int,
    teacher_depth: int,
    count: int,
    plan: LayerPlan = "random",
    *,
    seed: int = 0,
    step: int = 0,
    every: int = 10,
) -> LayerPairs:
    """Choose `count` blocks on each side and pair them in order.

    Args:
        student_depth: number of blocks of the student.
        teacher_depth: number of blocks of the teacher.
        count: pairs, at most the smaller depth.
        plan: "random": both sides drawn without replacement and sorted, held for `every` updates, as published.
            "uniform": evenly spread, the last block included. "last": the last blocks of both. "skip": the student's
            last blocks with every (teacher_depth // student_depth)-th teacher block from the first.
        seed: with the draw's number makes a private generator, so that all ranks draw alike, whatever else they draw.
        step: the present update.
        every: updates between draws; nothing else hangs on it.
    """
    for name, value in (("student_depth", student_depth), ("teacher_depth", teacher_depth), ("every", every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not 1 <= count <= min(student_depth, teacher_depth):
        raise ValueError(f"count must be 1 to {min(student_depth, teacher_depth)} for these depths, not {count}")
    if plan == "random":
        generator = random.Random(f"{seed}:{step // every}")
        return LayerPairs(_draw(generator, student_depth, count), _draw(generator, teacher_depth, count))
    last = tuple(range(student_depth - count, student_depth))
    if plan == "uniform":
        return LayerPairs(spread(student_depth, count), spread(teacher_depth, count))
    if plan == "last":
        return LayerPairs(last, tuple(range(teacher_depth - count, teacher_depth)))
    if plan == "skip":
        stride = max(teacher_depth // student_depth, 1)
        return LayerPairs(last, tuple(range(0, count * stride, stride)))
    raise ValueError(f"plan must be one of {', '.join(get_args(LayerPlan))}, not {plan!r}")


def _draw(generator: random.Random, depth: int, count: int) -> tuple[int, ...]:
    return tuple(sorted(generator.sample(range(depth), count)))


def spread(depth: int, count: int) -> tuple[int, ...]:
    """`count` of `depth` blocks, evenly spread, the last one included."""
    return tuple(-(-(k * depth) // count) - 1 for k in range(1, count + 1))


@dataclass(frozen=True)
class LayerRankings(Objective):
    """Weighted KL of teacher layers to student layers over the candidates; `layers:adaptive` and others.

    Attributes:
        form: weights of the layers. "adaptive": by each teacher layer's contrastive loss on the batch, as published.
            "uniform": 1/k each, the scale-matched comparison. "agreement" (ours, no labels): by the KL of the teacher's
            last layer to each chosen one.
        temperature: of the weights; 10 as published.
    """

    form: Weighting = "adaptive"
    temperature: float = 10.0

    family = "layers"
    forms = get_args(Weighting)
    signals = frozenset({"layers"})
    inputs = "layers"
    equal_widths = False
    minimum_candidates = 2
    perfect_value = 0.0
    alignment = "never"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")
        require_positive(temperature=self.temperature)

    @property
    def needs_positives(self) -> bool:
        """True of the published weights."""
        return self.form == "adaptive"

    def weights(
        self,
        teacher: Tensor,
        *,
        positives: Tensor | None = None,
        last: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Compute the (k,) weights, without gradient; arguments as for the call."""
        require_shape("teacher", teacher, "k", "n", "c")
        if self.form == "uniform":
            return torch.full((len(teacher),), 1 / len(teacher), device=teacher.device)
        with torch.no_grad():
            if self.form == "adaptive":
                if positives is None:
                    raise ValueError("layers:adaptive needs positives; without labels use layers:agreement")
                losses = [contrastive(layer, positives, mask=mask) for layer in teacher]
            else:
                if last is None:
                    raise ValueError("layers:agreement needs `last`, the scores of the teacher's last layer")
                losses = [score_kl(layer, last, mask=mask) for layer in teacher]
        return layer_weights(torch.stack(losses), self.temperature)

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        positives: Tensor | None = None,
        last: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Compute the sum over layers of weight x KL, mean over queries.

        Args:
            student: (k, n, c) scores of the chosen student blocks.
            teacher: (k, n, c) scores of their teacher blocks.
            positives: (n,) column of each query's positive, for "adaptive".
            last: (n, c) scores of the teacher's last block, for "agreement".
            mask: (n, c) bool, True where a candidate counts.
        """
        teacher = teacher.detach()
        weights = self.weights(teacher, positives=positives, last=last, mask=mask)
        return layer_kl(student, teacher, weights, mask)
