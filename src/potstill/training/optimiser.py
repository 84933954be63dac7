"""One optimiser for a task: row-wise Adam for its tables, AdamW for the rest, one schedule for both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from .row_adam import RowAdam
from .trainable import Trainable

Schedule = Literal["linear", "cosine", "constant"]


def rate_factor(progress: float, schedule: Schedule, warmup: float) -> float:
    """What the learning rate is multiplied by.

    Args:
        progress: share of the run that is done before this update, from 0 to 1.
        schedule: after warm-up `linear` and `cosine` fall to 0, `constant` stays at 1.
        warmup: share of the run during which the factor rises linearly to 1.
    """
    if progress < warmup:
        return progress / warmup
    rest = min(1.0, (progress - warmup) / (1.0 - warmup))
    if schedule == "linear":
        return 1.0 - rest
    return 0.5 * (1.0 + math.cos(math.pi * rest)) if schedule == "cosine" else 1.0


class Optimiser:
    """Updates all that a task trains.

    Parameters with a learning rate of their own (a teacher that is trained beside its student) are a group apart: they
    have that peak rate, and their gradients are clipped apart.

    Args:
        task: whose tables (by rows) and parameters are updated.
        table_rate: peak learning rate of tables, which are neither clipped nor decayed.
        dense_rate: peak learning rate of parameters.
        weight_decay: of matrices among the parameters; vectors (biases, norms) are not decayed.
        clip: largest norm of the gradient of all parameters of a group together, None: not clipped.
    """

    def __init__(
        self, task: Trainable[Any], *, table_rate: float, dense_rate: float, weight_decay: float, clip: float | None
    ) -> None:
        self.task, self.table_rate, self.clip = task, table_rate, clip
        self.rows = RowAdam()
        self._names = dict(task.named_trainable())
        self._together: dict[bool, list[torch.nn.Parameter]] = {}
        groups: list[dict[str, Any]] = []
        for apart in (False, True):
            held = {name: value for name, value in self._names.items() if task.is_apart(name) == apart}
            if held:
                self._together[apart] = list(held.values())
                rate = task.rate_of(next(iter(held))) or dense_rate
                decays = {"params": [p for p in held.values() if p.ndim >= 2], "weight_decay": weight_decay}
                rests = {"params": [p for p in held.values() if p.ndim < 2], "weight_decay": 0.0}
                groups += [{**decays, "peak": rate}, {**rests, "peak": rate}]
        self.dense: torch.optim.AdamW | None = None
        if groups:
            self.dense = torch.optim.AdamW(groups, lr=dense_rate, fused=task.device.type in ("cpu", "cuda"))

    def step(self, factor: float) -> None:
        """Update from the gradients that are there, at `factor` times the learning rates, and clear them."""
        if self.dense is not None:
            if self.clip is not None:
                for parameters in self._together.values():
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
            for group in self.dense.param_groups:
                group["lr"] = group["peak"] * factor
            self.dense.step()
            self.dense.zero_grad(set_to_none=True)
        self.rows.step(self.task.touched(), self.table_rate * factor)
        self.task.clear_touched()

    def state_dict(self) -> dict[str, Tensor]:
        """All state as flat names -> tensors in use (not copies)."""
        state = {f"rows/{name}": value for name, value in self.rows.state_dict().items()}
        if self.dense is not None:
            for name, parameter in self._names.items():
                for key, value in self.dense.state.get(parameter, {}).items():
                    state[f"dense/{name}/{key}"] = value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the state that `state_dict` gave."""
        device = self.task.device
        self.rows.load_state_dict(
            {name.removeprefix("rows/"): value.to(device) for name, value in state.items() if name.startswith("rows/")}
        )
        for key, value in state.items():
            if key.startswith("dense/"):
                assert self.dense is not None
                name, _, field = key.removeprefix("dense/").rpartition("/")
                parameter = self._names[name]
                self.dense.state[parameter][field] = value.to(device)
