"""Large batches in little memory, exactly: gradient caching (GradCache, arXiv 2101.06983).

A contrastive loss needs the vectors of the whole batch, but not their graphs all at once. Texts are first encoded a
stretch at a time without graphs; the loss is taken of these vectors, and its gradient with respect to them kept; then
each stretch is encoded once more, with its graph, and handed its rows of that gradient. Any loss will do whose inputs
are what passes give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from .gathering import gathered, share
from .passes import Parts, Pass, Values, joined


class CachedPasses:
    """The passes of one batch, encoded `at_once` texts at a time.

    Args:
        passes: what the loss is a function of.
        at_once: texts of a stretch.
        autocast: entered around every encoding.

    Attributes:
        values: all texts, without a graph behind them; the backward pass of a loss leaves its gradient here.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        at_once: int,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._passes, self._autocast = passes, autocast
        self._stretches = [list(_stretches(*share(one.texts), at_once)) for one in passes]
        self._random: list[list[_RandomState]] = []
        self._own: list[Parts | None] = []
        values: dict[str, Parts] = {}
        with torch.no_grad(), autocast():
            for one, stretches in zip(passes, self._stretches, strict=True):
                parts: list[Parts] = []
                self._random.append([])
                for stretch in stretches:
                    self._random[-1].append(_RandomState())
                    parts.append(one.run(*stretch))
                self._own.append(joined(parts) if parts else None)
        for one, own in zip(passes, self._own, strict=True):
            for tensor in own or ():
                if tensor.is_floating_point():
                    tensor.requires_grad_()
            values[one.slot] = gathered(own)
        self.values: Values = values

    def spread(self) -> None:
        """Encode every stretch again, and send the gradient that its rows got back through it."""
        for one, stretches, states, own in zip(self._passes, self._stretches, self._random, self._own, strict=True):
            first = share(one.texts)[0]
            for (start, stop), state in zip(stretches, states, strict=True):
                assert own is not None
                with state.again(), self._autocast():
                    parts = one.run(start, stop)
                tensors, gradients = [], []
                for part, whole in zip(parts, own, strict=True):
                    if part.requires_grad and whole.grad is not None:
                        rows = whole.grad[start - first : stop - first]
                        tensors.append(part)
                        gradients.append(rows[tuple(slice(0, size) for size in part.shape)])
                if tensors:
                    torch.autograd.backward(tensors, gradients)


def cached_backward(passes: Sequence[Pass], loss: Callable[[Values], Tensor], at_once: int) -> Tensor:
    """Add the gradient of `loss` of everything that the passes give to their parameters; returns the loss, detached.

    Args:
        passes: texts and what encodes them.
        loss: a scalar from all of them, by slot.
        at_once: texts that are encoded at a time.
    """
    cached = CachedPasses(passes, at_once)
    value = loss(cached.values)
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call]
    cached.spread()
    return value.detach()


def _stretches(start: int, stop: int, at_once: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, at_once):
        yield first, min(first + at_once, stop)


class _RandomState:
    """The generators as they stand now, so that dropout drops the same numbers again."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @contextmanager
    def again(self) -> Iterator[None]:
        """Inside, they stand as they stood; outside, as if nothing had been drawn."""
        with torch.random.fork_rng(devices=range(len(self._cuda))):
            torch.set_rng_state(self._cpu)
            if self._cuda:
                torch.cuda.set_rng_state_all(self._cuda)
            yield
