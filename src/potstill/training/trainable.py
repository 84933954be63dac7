"""What the loop asks of anything that it trains: a student with its terms, a teacher of scores, a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..students.tower import TouchedRows
from .passes import Pass, Values

DataT = TypeVar("DataT", bound=Sized)


@dataclass
class Losses:
    """`total` is the sum of `terms`, each times its weight; `terms` are before weighting."""

    total: Tensor
    terms: dict[str, Tensor]


class Trainable(torch.nn.Module, ABC, Generic[DataT]):
    """Something the loop can train.

    All that a run changes is in its `state_dict`, and what it draws comes from the global generators or is settled by
    `(step, epoch)`: then checkpoints, exact resume, validation and early stop come with the loop.

    Attributes:
        kind: row of `defaults.DEFAULTS`.
        unit: what a row of the data is called, in the plural.
        padded: whether the texts of a batch are padded to one length.
    """

    unit: str = "texts"

    @property
    @abstractmethod
    def kind(self) -> str:
        """See the class."""

    @property
    def padded(self) -> bool:
        """See the class."""
        return True

    @property
    @abstractmethod
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss's terms, in the order in which `losses` gives them."""

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return next(self.parameters()).device

    @abstractmethod
    def lengths(self, data: DataT, epoch: int) -> np.ndarray:
        """Tokens that each row of the data brings into a batch of this epoch, `(n,)` or `(n, k)`; see `Batches`."""

    @abstractmethod
    def prepare(self, data: DataT, rows: np.ndarray, step: int, epoch: int) -> Any:
        """All that rows of the data need, as a batch on the device; what is drawn depends on step and epoch alone."""

    def passes(self, batch: Any) -> list[Pass]:
        """What `forward` encodes, in passes, for batches that are too large to be encoded at once."""
        raise NotImplementedError(f"{type(self).__name__} does not encode in passes")

    def assembled(self, values: Values, batch: Any) -> Any:
        """What the passes gave, as `forward` gives it."""
        raise NotImplementedError(f"{type(self).__name__} does not encode in passes")

    @abstractmethod
    def losses(self, outputs: Any, batch: Any) -> Losses:
        """The loss of what `forward(batch)` gave, in float32."""

    @abstractmethod
    def gradient_norms(self, losses: Losses, outputs: Any) -> dict[str, float]:
        """Norm of each weighted term's gradient with respect to the outputs; leaves the backward pass as it was."""

    def details(self, outputs: Any, batch: Any) -> dict[str, Any]:
        """What else to log now and then, after `losses`; JSON can hold it."""
        return {}

    @abstractmethod
    def identity(self, data: DataT) -> Mapping[str, Any]:
        """What decides the result beside settings and recipe, by name; JSON can hold it."""

    def touched(self) -> dict[str, list[TouchedRows]]:
        """What the last passes used of tables that are trained by rows; most have none."""
        return {}

    def clear_touched(self) -> None:
        """Forget what the last passes used."""

    def is_apart(self, name: str) -> bool:
        """Whether a parameter belongs to a group of its own, which is clipped apart."""
        return False

    def rate_of(self, name: str) -> float | None:
        """Peak learning rate of a parameter's group; None: the run's."""
        return None

    def named_trainable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Parameters for the dense optimiser."""
        return ((name, value) for name, value in self.named_parameters() if value.requires_grad)
