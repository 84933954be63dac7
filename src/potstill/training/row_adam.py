"""Adam for tables of which a batch uses a few rows: cost is that of the rows used, not of the table.

Every row is its own Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) whose clock ticks only when a batch uses the
row: moments of untouched rows stay as they are, and the bias correction counts the row's own updates. A word seen for
the first time late in training therefore moves by the learning rate, as it would have at the start; with one clock for
the whole table (`torch.optim.SparseAdam`) it would jump by up to three times that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..students.tower import TouchedRows


class _Moments:
    """State of one table, float32, made at its first use."""

    def __init__(self, table: Tensor) -> None:
        self.first = torch.zeros_like(table, dtype=torch.float32)
        self.second = torch.zeros_like(table, dtype=torch.float32)
        self.updates = torch.zeros(table.shape[0], dtype=torch.int64, device=table.device)


class RowAdam:
    """Row-wise Adam over named tables. No weight decay and no clipping: both would touch, or couple, all rows."""

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.betas, self.eps = betas, eps
        self._moments: dict[str, _Moments] = {}

    @torch.no_grad()
    def step(self, touched: Mapping[str, Iterable[TouchedRows]], learning_rate: float) -> None:
        """Update the rows that were used.

        Args:
            touched: name of a table (the same at every step) -> what each forward pass of this step used of it. Rows
                used by several passes are updated once, with the sum of their gradients.
            learning_rate: of this step.
        """
        for name, uses in touched.items():
            with_gradient = [use for use in uses if use.sub.grad is not None]
            if not with_gradient:
                continue
            table, rows, values, gradient = _merged(with_gradient)
            if rows.numel() == 0:
                continue
            moments = self._moments.get(name)
            if moments is None:
                moments = self._moments[name] = _Moments(table)
            table.index_copy_(0, rows, self._moved(moments, rows, values, gradient, learning_rate))

    def _moved(self, moments: _Moments, rows: Tensor, values: Tensor, gradient: Tensor, learning_rate: float) -> Tensor:
        beta1, beta2 = self.betas
        first = moments.first.index_select(0, rows).lerp_(gradient, 1 - beta1)
        moments.first.index_copy_(0, rows, first)
        second = moments.second.index_select(0, rows).mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        moments.second.index_copy_(0, rows, second)
        updates = moments.updates.index_select(0, rows).add_(1)
        moments.updates.index_copy_(0, rows, updates)
        clock = updates.to(torch.float64)
        correction1 = (1 - beta1**clock).to(torch.float32).unsqueeze_(1)
        correction2 = (1 - beta2**clock).sqrt_().to(torch.float32).unsqueeze_(1)
        denominator = second.sqrt_().div_(correction2).add_(self.eps)
        return torch.addcdiv(values, first.div_(correction1), denominator, value=-learning_rate)

    def state_dict(self) -> dict[str, Tensor]:
        """All moments and clocks, as flat names -> tensors; the tensors are those in use, not copies."""
        state: dict[str, Tensor] = {}
        for name, moments in self._moments.items():
            state |= {
                f"{name}.first": moments.first,
                f"{name}.second": moments.second,
                f"{name}.updates": moments.updates,
            }
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the state that `state_dict` gave."""
        self._moments = {}
        for name in sorted({key.rpartition(".")[0] for key in state}):
            moments = _Moments.__new__(_Moments)
            moments.first = state[f"{name}.first"]
            moments.second = state[f"{name}.second"]
            moments.updates = state[f"{name}.updates"]
            self._moments[name] = moments


def _merged(uses: list[TouchedRows]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One use of a table: distinct rows, their present values, and the sum of their gradients."""
    table, rows, sub = uses[0]
    assert sub.grad is not None
    if len(uses) == 1:
        return table, rows, sub.detach(), sub.grad
    rows, place = torch.unique(torch.cat([use.rows for use in uses]), return_inverse=True)
    gradient = torch.zeros(rows.shape[0], table.shape[1], dtype=sub.dtype, device=table.device)
    start = 0
    for use in uses:
        assert use.sub.grad is not None
        gradient.index_add_(0, place[start : start + use.rows.shape[0]], use.sub.grad)
        start += use.rows.shape[0]
    return table, rows, table.index_select(0, rows), gradient
