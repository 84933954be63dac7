"""The blocks of a transformer: what chosen ones make of a batch, keeping no more of it than is asked for.

Block l is the l-th layer, counted from 0; what enters the first (the embedding output) is no block. In the hidden
states that transformers can return, block l is entry l + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError

Place = Literal["first", "mean"]
"""Where a block's vector of a text is read: at its first token, or as the mean over its tokens."""


class Tap(NamedTuple):
    """Where a model's vectors of a text are read on the way: after which block, and at which place of it."""

    block: int
    place: Place


def block_prefix(model: torch.nn.Module, depth: int, *, where: str = "student.layers") -> str:
    """Name of the list of a transformer's `depth` layers inside it.

    Raises:
        InputError: there is none, or its layers share their weights.
    """
    for name, module in model.named_modules():
        stack = isinstance(module, torch.nn.ModuleList) and len(module) == depth and name != ""
        if stack and len({id(layer) for layer in module}) == depth:
            return str(name)
    raise InputError(
        f"the layers of a {type(model).__name__} cannot be told apart (or share their weights)",
        where=where,
        fix="use a student tiny:2x128, or a model id" if where == "student.layers" else "use another model",
    )


class Blocks:
    """The blocks of one transformer.

    Args:
        model: a transformers encoder.
        where: what an error names.

    Attributes:
        depth: how many there are.

    Raises:
        InputError: its layers cannot be told apart.
    """

    def __init__(self, model: Any, *, where: str = "objectives") -> None:
        self.depth = int(model.config.num_hidden_layers)
        stack = model.get_submodule(block_prefix(model, self.depth, where=where))
        self._layers: list[torch.nn.Module] = list(stack)

    @contextmanager
    def taken(self, chosen: Sequence[int], keep: Callable[[Tensor], Tensor]) -> Iterator[dict[int, Tensor]]:
        """While inside, every pass through the model notes `keep(output (n, t, w))` of the chosen blocks, by block."""
        found: dict[int, Tensor] = {}

        def hook(block: int) -> Callable[[torch.nn.Module, Any, Any], None]:
            def note(_: torch.nn.Module, __: Any, output: Any) -> None:
                found[block] = keep(output[0] if isinstance(output, tuple | list) else output)

            return note

        handles = [self._layers[block].register_forward_hook(hook(block)) for block in set(chosen)]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()


def at_place(hidden: Tensor, mask: Tensor, place: Place) -> Tensor:
    """One vector `(n, w)` a text from a block's output.

    Args:
        hidden: `(n, t, w)`.
        mask: `(n, t)`, 1 where a token is, wherever the padding stands.
        place: the first token's vector, or the mean over tokens.
    """
    if hidden.ndim != 3 or hidden.shape[:2] != mask.shape:
        raise InputError(
            f"a block gives numbers of shape {tuple(hidden.shape)} for texts of shape {tuple(mask.shape)}",
            where="objectives",
            fix="this model's blocks cannot be read: use another model, or leave the layers objective out",
        )
    if place == "first":
        first = mask.argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    counted = mask.to(hidden.dtype).unsqueeze(2)
    return (hidden * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
