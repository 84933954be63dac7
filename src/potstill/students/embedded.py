"""Texts after the lookup of their tokens: what can be mixed and moved, by a student and by a teacher alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Embedded:
    """Token embeddings of n texts, padded to the longest.

    Attributes:
        vectors: `(n, t, w)` one embedding a token; what stands where no token is does not matter.
        mask: `(n, t)` int64, 1 where a token is.
        prompt: how many tokens at the start of every text are the prompt's, where the pooling leaves them out; else 0.
    """

    vectors: Tensor
    mask: Tensor
    prompt: int = 0

    def moved(self, by: Tensor) -> Embedded:
        """The same texts, each token moved by a vector: `by (n, t, w)`."""
        return Embedded(self.vectors + by, self.mask, self.prompt)

    def halves(self) -> tuple[Embedded, Embedded]:
        """The first half of the texts and the second, both as wide as the longest of all."""
        vectors, masks = self.vectors.chunk(2), self.mask.chunk(2)
        return Embedded(vectors[0], masks[0], self.prompt), Embedded(vectors[1], masks[1], self.prompt)


def mixed(first: Embedded, second: Embedded, share: Tensor) -> Embedded:
    """Mix texts position by position: `share * first + (1 - share) * second`; `share (n,)` is MixKD's lambda.

    Where only one of the two has a token, the other adds nothing (zero), be it a transformer's padding or a table's: a
    padding's embedding is no part of a text, and a table has none. Both texts' tokens are attended to, except those of
    a text whose share is 0: a share of 1 is the first text itself.
    """
    ours = share.to(first.vectors.device, first.vectors.dtype)[:, None]
    held, other = first.mask * (ours > 0), second.mask * (ours < 1)
    vectors = (ours * held)[:, :, None] * first.vectors + ((1 - ours) * other)[:, :, None] * second.vectors
    return Embedded(vectors, ((held + other) > 0).long(), first.prompt)


def takes_embeddings(transformer: Any) -> bool:
    """Whether a sentence-transformers `Transformer` can start from token embeddings instead of ids."""
    named = inspect.signature(transformer.auto_model.forward).parameters
    return "inputs_embeds" in named and transformer.auto_model.get_input_embeddings() is not None


def looked_up(transformer: Any, ids: Tensor) -> Tensor:
    """Token embeddings of ids, as the model looks them up: `ids.shape + (w,)`."""
    vectors: Tensor = transformer.auto_model.get_input_embeddings()(ids)
    return vectors


def through(modules: Iterable[torch.nn.Module], inputs: Embedded) -> Tensor:
    """Vectors `(n, d)` from a pipeline of sentence-transformers modules, the `Transformer` first."""
    features: dict[str, Any] = {"inputs_embeds": inputs.vectors, "attention_mask": inputs.mask}
    if inputs.prompt:
        features["prompt_length"] = torch.tensor([inputs.prompt])
    for module in modules:
        features = module(features)
    vectors: Tensor = features["sentence_embedding"]
    return vectors
