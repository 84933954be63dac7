"""A batch as passes: runs of texts that are encoded apart and put together again.

A pass encodes any stretch `start..stop` of its texts. That one thing serves three ends: a whole batch at once, a batch
that is spread over processes (each encodes its stretch, and all get everything), and a batch that is too large to be
encoded at once (gradient caching).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .gathering import gathered, share

Parts = tuple[Tensor, ...]
"""What a stretch of n texts came to: tensors whose first dimension is n."""

Values = Mapping[str, Parts]
"""By the slot of each pass: all its texts."""


class Pass(NamedTuple):
    """Texts that one model encodes.

    Attributes:
        slot: name in the batch.
        texts: how many.
        run: encodes texts `start..stop`.
    """

    slot: str
    texts: int
    run: Callable[[int, int], Parts]


def encoded(passes: Sequence[Pass]) -> dict[str, Parts]:
    """Run every pass, over all processes there are; each ends with all texts, with gradients to those it encoded."""
    found: dict[str, Parts] = {}
    for one in passes:
        start, stop = share(one.texts)
        found[one.slot] = gathered(one.run(start, stop) if stop > start else None)
    return found


def joined(parts: Sequence[Parts]) -> Parts:
    """Stretches one after another; where they differ in another dimension than the first, filled up with zeros."""
    return tuple(
        torch.cat([widened(part, shape_over(column)) for part in column]) for column in zip(*parts, strict=True)
    )


def shape_over(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """The largest of each dimension but the first."""
    return tuple(max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True))


def widened(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor with zeros (False) at the ends of its dimensions but the first, up to `shape`."""
    missing = [(0, want - have) for have, want in zip(tensor.shape[1:], shape, strict=True)]
    if not any(more for _, more in missing):
        return tensor
    return torch.nn.functional.pad(tensor, [size for pair in reversed(missing) for size in pair])
