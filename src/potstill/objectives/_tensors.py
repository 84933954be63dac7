"""What the pure functions share: float32, shape checks, masked rows, reductions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

Reduction = Literal["mean", "none"]
P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function outside any autocast region: similarities and softmax stay float32 in mixed-precision training."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        tensor = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        with torch.autocast(device_type=tensor.device.type, enabled=False):
            return function(*args, **kwargs)

    return inner


def require_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    """Raise ValueError unless `tensor` has this shape; a str stands for any size and names it in the message."""
    actual = tuple(tensor.shape)
    fits = len(actual) == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, actual, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), not {actual}")


def require_positive(**values: float) -> None:
    """Raise ValueError for a temperature (or the like) that is not a positive finite number."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, not {value}")


def require_mask(mask: Tensor | None, *shape: int) -> None:
    """Raise ValueError unless `mask` is None or a bool tensor of this shape."""
    if mask is None:
        return
    require_shape("mask", mask, *shape)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be a bool tensor, True where an entry counts, not {mask.dtype}")


def positive_columns(positives: Tensor, mask: Tensor | None, n: int, c: int) -> tuple[Tensor, Tensor]:
    """Check the columns of known positives, -1 where there is none, against (n, c) scores.

    Returns:
        (n, 1) columns to gather by, 0 where none is known; and (n,) bool, True where one is.

    Raises:
        ValueError: a column that does not exist, or a positive that is masked out.
    """
    require_shape("positives", positives, n)
    known = positives >= 0
    if positives.numel() and int(positives.max()) >= c:
        raise ValueError(f"positives name column {int(positives.max())}, but scores have {c} columns")
    column = positives.clamp(min=0).long().unsqueeze(1)
    if mask is not None and not bool((mask.gather(1, column).squeeze(1) | ~known).all()):
        raise ValueError("a positive is masked out")
    return column, known


def reduce_rows(rows: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """Mean over the rows that count, or the rows themselves with 0 where a row does not count.

    Args:
        rows: (n,) one value a row.
        counted: (n,) bool, None: all of them. The mean over no row at all is 0, and stays in the graph.
        reduction: "mean" or "none".
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f'reduction must be "mean" or "none", not {reduction!r}')
    if counted is not None:
        rows = torch.where(counted, rows, 0.0)
    if reduction == "none":
        return rows
    total = rows.sum()
    if counted is not None:
        return total / counted.sum().clamp(min=1)
    return total / max(rows.shape[0], 1)


def log_probabilities(scores: Tensor, temperature: float, mask: Tensor | None) -> Tensor:
    """Log-softmax of (..., c) scores over the entries that count, 0 at the others (so that sums may run over all).

    The entries that do not count may hold anything, NaN and infinities included. A row with none gives zeros.
    """
    if mask is None:
        return torch.log_softmax(scores.float() / temperature, dim=-1)
    empty = ~mask.any(dim=-1, keepdim=True)
    kept = torch.where(mask, scores.float(), float("-inf")).masked_fill(empty, 0.0)
    return torch.where(mask, torch.log_softmax(kept / temperature, dim=-1), 0.0)


def cross_entropy_rows(log_target: Tensor, log_student: Tensor, mask: Tensor | None) -> Tensor:
    """-sum_c p_c log q_c of each row; both from `log_probabilities`."""
    target = log_target.exp()
    if mask is not None:
        target = torch.where(mask, target, 0.0)
    return -(target * log_student).sum(dim=-1)


def kl_rows(log_target: Tensor, log_student: Tensor, mask: Tensor | None) -> Tensor:
    """sum_c p_c (log p_c - log q_c) of each row; both from `log_probabilities`."""
    target = log_target.exp()
    if mask is not None:
        target = torch.where(mask, target, 0.0)
    return (target * (log_target - log_student)).sum(dim=-1)
