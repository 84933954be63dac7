"""Processes that train as one: each encodes a share of a batch, all see the whole.

Every process computes the whole loss from the same gathered tensors. A gathered tensor hands the gradient of that loss
back to the process that made the part, times the number of processes; gradients of parameters are then averaged over
processes, as data-parallel training does. The sum over processes of what each part contributes is thus the gradient of
one process with the whole batch, and parameters behind the gather (heads), whose gradient is the same everywhere, keep
theirs. LEAD's released code leaves the factor out, so that its gradients are a share of the true ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> tuple[int, int]:
    """Rank and number of the processes that train together; (0, 1) alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def together() -> None:
    """Wait until every process is here."""
    if processes()[1] > 1:
        dist.barrier()


def share(count: int) -> tuple[int, int]:
    """The stretch start..stop of `count` texts that is this process's."""
    rank, world = processes()
    return count * rank // world, count * (rank + 1) // world


def gathered(parts: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
    """Tensors of all processes, joined along the first dimension in the order of their ranks.

    Other dimensions are filled up with zeros to the largest (masks, with False), so masks must travel with what they
    mask. Every process must call this equally often.

    Args:
        parts: this process's; None where its share is empty.
    """
    _, world = processes()
    if world == 1:
        assert parts is not None
        return parts
    said: list[Any] = [None] * world
    mine = None if parts is None else [(tuple(p.shape), p.dtype, p.requires_grad, p.device.type) for p in parts]
    dist.all_gather_object(said, mine)
    shapes = [shape for shape in said if shape is not None]
    whole = []
    for number, (_, dtype, _, _) in enumerate(shapes[0]):
        rows = [0 if shape is None else shape[number][0][0] for shape in said]
        others = tuple(max(sizes) for sizes in zip(*(shape[number][0][1:] for shape in shapes), strict=True))
        wants = any(shape[number][2] for shape in shapes)
        tensor = parts[number] if parts is not None else torch.zeros((0, *others), dtype=dtype, device=_device())
        if wants and not tensor.requires_grad:
            tensor.requires_grad_()
        whole.append(_Gather.apply(tensor, rows, others))  # type: ignore[no-untyped-call]
    return tuple(whole)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes; where a process has none, it counts as zero."""
    _, world = processes()
    if world == 1:
        return
    held = list(parameters)
    there = torch.tensor([parameter.grad is not None for parameter in held], dtype=torch.uint8, device=_device())
    dist.all_reduce(there, op=dist.ReduceOp.MAX)
    for parameter, some in zip(held, there.tolist(), strict=True):
        if some:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: list[int], others: tuple[int, ...]) -> Tensor:
        rank, world = processes()
        ctx.start, ctx.shape, ctx.world = sum(rows[:rank]), tensor.shape, world
        held = tensor.new_zeros((max(rows), *others))
        held[tuple(slice(0, size) for size in tensor.shape)] = tensor
        sent = held.to(torch.uint8) if held.dtype == torch.bool else held
        received = [torch.empty_like(sent) for _ in range(world)]
        dist.all_gather(received, sent.contiguous())
        found = torch.cat([part[:count] for part, count in zip(received, rows, strict=True)])
        return found.to(tensor.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        own = gradient[ctx.start : ctx.start + ctx.shape[0]]
        return own[tuple(slice(0, size) for size in ctx.shape)] * ctx.world, None, None
