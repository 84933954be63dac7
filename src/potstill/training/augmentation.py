"""More from few texts: inputs between texts and beside them, with the live teacher's vectors of the same inputs.

Mixed (MixKD, ICLR 2021): two texts' token embeddings are mixed position by position in teacher and student alike, with
one lambda ~ Beta(a, a) for both, and the student's vector is matched to the teacher's. Of MixKD's three terms this is
the one that needs no labels.

At a disagreement (backward pass distillation, arXiv 2301.12006): the token embeddings x of a text are moved to where
teacher and student differ more,

    x' = x + eta g / |g|,    g = grad_x |f_T(x) - f_S(x)|^2,

k times, and the student's vector of x' is matched to the teacher's. The gradient goes through both models, as in the
paper; with the teacher's vector held fixed the step would find where the student changes, not where the two differ. x
lies in the student's embedding space; `SameInputs` carries the move to the teacher's. |g| and eta are of a whole text,
eta in units of the mean length of a token embedding; prompts and special tokens stay where they are.

Everything drawn depends on the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..objectives.base import Objective
from ..recipe import AugmentSpec, Role
from ..students.embedded import Embedded, mixed
from ..students.tokens import Tokens
from .same_inputs import SameInputs

_TINY = 1e-30


@dataclass(frozen=True)
class AugmentedTerm:
    """The student's vectors against the teacher's on made inputs: `match:l2@mixed`, `match:l2@disagreement`."""

    name: str
    weight: float
    kind: Literal["mixed", "disagreement"]
    objective: Objective
    spec: AugmentSpec


class Drawn(NamedTuple):
    """What is made of one role's texts in one batch: tokens, places among them, and the first text's share."""

    tokens: Tokens
    first: np.ndarray
    second: np.ndarray
    shares: np.ndarray
    moved: np.ndarray


class Matched(NamedTuple):
    """Vectors `(k, d)` of made inputs: the student's, and the teacher's, which are constants."""

    student: Tensor
    teacher: Tensor


class Augmentation:
    """Makes inputs from a batch's texts and has them read by student and teacher.

    Args:
        spec: how much and how far.
        sides: student and teacher for each role whose texts take part.
        objective: what compares the vectors.
        seed: of what is drawn.
    """

    def __init__(self, spec: AugmentSpec, sides: Mapping[Role, SameInputs], objective: Objective, *, seed: int) -> None:
        self.spec, self.sides, self.seed = spec, dict(sides), seed
        name = f"{objective.family}:{objective.form}"
        wanted: tuple[tuple[Literal["mixed", "disagreement"], float], ...] = (
            ("mixed", spec.mix),
            ("disagreement", spec.disagree),
        )
        self.terms = tuple(
            AugmentedTerm(f"{name}@{kind}", weight, kind, objective, spec) for kind, weight in wanted if weight
        )

    def draw(self, texts: Mapping[Role, Tokens], step: int) -> dict[Role, Drawn]:
        """Choose, for each role that has texts in the batch, which are mixed with which and which are moved."""
        drawn: dict[Role, Drawn] = {}
        for number, role in enumerate(self.sides, 1):
            count = len(texts.get(role, ()))
            if not count:
                continue
            random = np.random.default_rng([self.seed, step, 0, number])
            some = max(1, round(self.spec.share * count))
            first = random.permutation(count)[: some if count > 1 else 0]  # one text alone has no partner
            second = (first + random.integers(1, max(2, count), len(first))) % count
            shares = random.beta(self.spec.mix_alpha, self.spec.mix_alpha, len(first)).astype(np.float32)
            drawn[role] = Drawn(texts[role], first, second, shares, np.sort(random.permutation(count)[:some]))
        return drawn

    def __call__(self, drawn: Mapping[Role, Drawn]) -> dict[str, Matched]:
        """Read what was drawn; by the terms' names, without those for which there is no text."""
        found: dict[str, Matched] = {}
        for term in self.terms:
            read = self._mixed if term.kind == "mixed" else self._moved
            parts = [read(self.sides[role], one) for role, one in drawn.items() if self._enough(one, term)]
            if parts:
                student, teacher = zip(*parts, strict=True)
                found[term.name] = Matched(torch.cat(student), torch.cat(teacher))
        return found

    def _enough(self, drawn: Drawn, term: AugmentedTerm) -> bool:
        return bool(len(drawn.first if term.kind == "mixed" else drawn.moved))

    def _mixed(self, side: SameInputs, drawn: Drawn) -> Matched:
        both = side.read(drawn.tokens.select(np.concatenate([drawn.first, drawn.second])))
        shares = torch.from_numpy(drawn.shares)
        student = side.tower.forward_embedded(mixed(*side.tower.embed(both.student).halves(), shares)).float()
        teacher = side.teacher.forward_embedded(mixed(*side.teacher.embed(both.teacher).halves(), shares))
        return Matched(student, teacher.detach().to(student.device))

    def _moved(self, side: SameInputs, drawn: Drawn) -> Matched:
        both = side.read(drawn.tokens.select(drawn.moved))
        embedded, theirs = side.tower.embed(both.student), side.teacher.embed(both.teacher)
        ours, own = side.own(both, embedded.mask, teacher=False), side.own(both, theirs.mask, teacher=True)
        still = Embedded(embedded.vectors.detach(), embedded.mask, embedded.prompt)
        by = torch.zeros_like(still.vectors)
        for _ in range(self.spec.disagree_steps):
            with torch.enable_grad():
                by.requires_grad_()
                teacher = side.teacher.forward_embedded(side.carried(by, ours, theirs, own))
                student = side.tower.forward_embedded(still.moved(by)).float()
                gap = (teacher.to(student.device) - student).square().sum()
                (slope,) = torch.autograd.grad(gap, by)
            slope = slope * ours[:, :, None]
            length = slope.flatten(1).norm(dim=1).clamp(min=_TINY)[:, None, None]
            by = by.detach() + self.spec.disagree_size * side.unit * slope / length
        with torch.no_grad():
            teacher = side.teacher.forward_embedded(side.carried(by, ours, theirs, own))
        student = side.tower.forward_embedded(embedded.moved(by)).float()
        return Matched(student, teacher.to(student.device))
