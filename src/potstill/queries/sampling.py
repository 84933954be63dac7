"""Nucleus sampling whose chance belongs to a text, not to its batch.

`generate` of transformers draws all rows of a batch from one stream of random numbers, so that a text's words would
change with its neighbours. Here every token is found by inverting the distribution at a uniform number that depends on
the seed, the text, the sample and the position alone. What is left to the batch is the rounding of the model's own
sums, which padding can move in their last bit: it decides only where a number falls within it of the border of two
tokens (about one token in a million).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .drawing import rank

if TYPE_CHECKING:
    from torch import Tensor


def uniforms(text: str, seed: int, samples: int, steps: int) -> np.ndarray:
    """The numbers (samples, steps) float64 in [0, 1) that a text's tokens are drawn with."""
    return np.random.default_rng(rank(seed, "generated", text)).random((samples, steps))


def nucleus_draw(logits: Tensor, chance: Tensor, top_p: float, temperature: float) -> Tensor:
    """Draw a token for each row from its nucleus, by inverting the distribution.

    Args:
        logits: (n, v); -inf forbids a token.
        chance: (n,) float64 uniform numbers in [0, 1).
        top_p: the nucleus is the smallest set of most probable tokens that holds this much probability (Holtzman et
            al., "The Curious Case of Neural Text Degeneration").
        temperature: divides the logits.

    Returns:
        (n,) int64 tokens.
    """
    import torch

    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    total = ordered.double().cumsum(dim=-1)
    inside = (total - ordered < top_p) & (ordered > 0)  # the most probable token always is
    last = inside.sum(dim=-1, keepdim=True) - 1
    aimed = chance[:, None] * total.gather(1, last)
    place = torch.minimum(torch.searchsorted(total, aimed, right=True), last)
    return tokens.gather(1, place).squeeze(1)


class Draws:
    """A logits processor for greedy search: it leaves open the one token that was drawn.

    It draws on the CPU, so that the accelerator's way to sort and sum decides nothing.

    Args:
        chance: (n, steps) float64, one row for each row of the batch.
        top_p: see `nucleus_draw`.
        temperature: see `nucleus_draw`.
    """

    def __init__(self, chance: Tensor, top_p: float, temperature: float) -> None:
        self.chance, self.top_p, self.temperature = chance, top_p, temperature
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, v) of the next token; -inf for all but one in each row."""
        drawn = nucleus_draw(scores.cpu(), self.chance[:, self.step], self.top_p, self.temperature)
        self.step += 1
        return scores.new_full(scores.shape, float("-inf")).scatter(1, drawn[:, None].to(scores.device), 0.0)
