"""Adam for tables of which a batch uses a few rows: cost is that of the rows used, not of the table.

Every row is an Adam of its own (Kingma and Ba, arXiv 1412.6980, algorithm 1) with one step size for the whole row and
no momentum (beta1 = 0): for the gradient `g (r,)` of a row that is used the t-th time,

    v <- beta2 v + (1 - beta2) mean(g^2)        row <- row - rate * g / (sqrt(v / (1 - beta2^t)) + eps)

Its clock t ticks only when a batch uses the row, so a word seen for the first time late in training moves as far as it
would have at the start. A row is used in few batches, far apart, and a momentum would add gradients of long ago: on
static students one second moment a row came out closer to the teacher than one a number, and no momentum closer than
any; it is also the cheapest, and the state is two numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..students.tower import TouchedRows


@dataclass
class _Rows:
    """State of one table: `second (V, 1)` float32, the running mean of squares; `updates (V, 1)` int64, the clocks."""

    second: Tensor
    updates: Tensor


class RowAdam:
    """Row-wise Adam over named tables. No weight decay and no clipping: both would touch, or couple, all rows."""

    def __init__(self, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta2, self.eps = beta2, eps
        self._state: dict[str, _Rows] = {}

    @torch.no_grad()
    def step(self, touched: Mapping[str, Iterable[TouchedRows]], learning_rate: float) -> None:
        """Update the rows that were used; all others keep their bytes.

        Args:
            touched: name of a table (the same at every step) -> what each forward pass of this step used of it, with
                gradients. Rows used by several passes are updated once, with the sum of their gradients.
            learning_rate: of this step.
        """
        for name, uses in touched.items():
            with_gradient = [use for use in uses if use.sub.grad is not None and use.rows.numel()]
            if with_gradient:
                self._step(name, *_merged(with_gradient), learning_rate)

    def _step(
        self, name: str, table: Tensor, rows: Tensor, values: Tensor, gradient: Tensor, learning_rate: float
    ) -> None:
        state = self._state.get(name)
        if state is None:
            second = torch.zeros(table.shape[0], 1, dtype=torch.float32, device=table.device)
            state = self._state[name] = _Rows(second, torch.zeros_like(second, dtype=torch.int64))
        square = torch.linalg.vector_norm(gradient, dim=1, keepdim=True).square_().div_(gradient.shape[1])
        second = state.second.index_select(0, rows).lerp_(square, 1 - self.beta2)
        updates = state.updates.index_select(0, rows).add_(1)
        state.second.index_copy_(0, rows, second)
        state.updates.index_copy_(0, rows, updates)
        correction = (1 - self.beta2 ** updates.double()).sqrt_().float()
        step = learning_rate / second.sqrt_().div_(correction).add_(self.eps)
        table.index_copy_(0, rows, values.addcmul_(gradient, step, value=-1))

    def state_dict(self) -> dict[str, Tensor]:
        """All state as flat names -> tensors; the tensors are those in use, not copies."""
        tensors: dict[str, Tensor] = {}
        for name, state in self._state.items():
            tensors |= {f"{name}.second": state.second, f"{name}.updates": state.updates}
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the state that `state_dict` gave."""
        names = {key.rpartition(".")[0] for key in tensors}
        self._state = {name: _Rows(tensors[f"{name}.second"], tensors[f"{name}.updates"]) for name in names}


def _merged(uses: list[TouchedRows]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All uses of a table as one: table, distinct rows, a copy of these rows, and the sums of their gradients."""
    gradients = [use.sub.grad for use in uses if use.sub.grad is not None]
    table = uses[0].table
    if len(uses) == 1:
        return table, uses[0].rows, uses[0].sub.detach(), gradients[0]
    rows, places = torch.unique(torch.cat([use.rows for use in uses]), return_inverse=True)
    total = torch.zeros(rows.shape[0], table.shape[1], dtype=table.dtype, device=table.device)
    for place, gradient in zip(places.split([len(use.rows) for use in uses]), gradients, strict=True):
        total.index_add_(0, place, gradient)
    return table, rows, table.index_select(0, rows), total
