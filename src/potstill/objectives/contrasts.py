"""Contrasts with teacher vectors: each text has one vector that fits, and no relation to the others is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._tensors import require_positive, require_shape
from .base import Objective
from .functional import bank_contrast, embedding_match, noise_contrast


class _AgainstBank(Objective):
    """What contrasts with a bank declare."""

    family = "relations"
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = True
    minimum_candidates = 1
    perfect_value = None
    alignment = "always"


@dataclass(frozen=True)
class BankContrast(_AgainstBank):
    """InfoNCE of student queries and teacher keys (DisCo, DistilCSE): relations to a bank as T_t goes to 0.

    `relations:disco`.

    Attributes:
        temperature: of the softmax; None: its inverse is learned, as published, from e on.
    """

    temperature: float | None = None

    form = "disco"

    def __post_init__(self) -> None:
        if self.temperature is not None:
            require_positive(temperature=self.temperature)

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        bank: Tensor,
        ids: Tensor | None = None,
        bank_ids: Tensor | None = None,
        mask: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Compute the mean over texts.

        Args:
            student: (n, d).
            teacher: (n, d).
            bank: (m, d) teacher vectors: the batch's own may be among them.
            ids: (n,) integers, equal for equal texts; None: no text of the batch is in the bank.
            bank_ids: (m,) the same for the bank.
            mask: (n, m) bool: further rows to leave out.
            scale: scalar that is learned; for `temperature` None, and for it alone.
        """
        if (scale is None) == (self.temperature is None):
            raise ValueError("`scale` is given where temperature is None, and only there")
        factor = 1.0 / self.temperature if scale is None and self.temperature is not None else scale
        assert factor is not None
        return bank_contrast(student, teacher, bank, factor, _others(ids, bank_ids, mask))


@dataclass(frozen=True)
class NoiseContrast(_AgainstBank):
    """Contrastive representation distillation by noise-contrastive estimation; `relations:crd`.

    Attributes:
        temperature: T of `functional.noise_contrast`.
    """

    temperature: float = 0.07

    form = "crd"

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        bank: Tensor,
        ids: Tensor | None = None,
        bank_ids: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Compute the mean over texts; arguments as for `BankContrast`."""
        return noise_contrast(student, teacher, bank, self.temperature, _others(ids, bank_ids, mask))


@dataclass(frozen=True)
class CrossMetric(Objective):
    """Squared distance from the teacher's vector of the text's partner; `relations:cross-metric` (TSCM, 2024).

    A query's partner is a document that it fits, and a document's the query. It tells the student where to meet the
    index, and not how: use it beside matching.
    """

    family = "relations"
    form = "cross-metric"
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = True
    perfect_value = None
    alignment = "always"

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean over texts: (n, d) the student's vectors, (n, d) the teacher's vectors of their partners."""
        return embedding_match(student, teacher.detach(), "squared")


def _others(ids: Tensor | None, bank_ids: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Where a bank row is another text."""
    if (ids is None) != (bank_ids is None):
        raise ValueError("ids and bank_ids go together")
    if ids is None or bank_ids is None:
        return mask
    require_shape("ids", ids, "n")
    require_shape("bank_ids", bank_ids, "m")
    others = ids.unsqueeze(1) != bank_ids
    return others if mask is None else torch.logical_and(others, mask)
