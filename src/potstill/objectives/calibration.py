"""A temperature for a teacher, without labels: the one at which a typical query has a stated number of neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ._tensors import require_mask, require_shape


@dataclass(frozen=True)
class Calibration:
    """A calibrated temperature and what it does; record it with the run."""

    temperature: float
    perplexity: float
    """Median of exp(entropy) reached at `temperature`."""
    top1_mass: float
    """Median probability of the first candidate."""
    rows: int
    """Queries used."""
    constant_rows: int
    """Queries left out because their scores are all equal (or fewer than two): they say nothing at any temperature."""


@torch.no_grad()
def calibrate_temperature(scores: Tensor, perplexity: float = 16.0, mask: Tensor | None = None) -> Calibration:
    """Find the temperature at which the median perplexity of softmax(scores / temperature) is `perplexity`.

    Perplexity grows with temperature, so bisection finds it.

    Args:
        scores: (n, c) teacher scores of candidates; about a thousand queries are plenty. Leave the text itself and its
            repeats out (by `mask`).
        perplexity: number of effective neighbours, above 1; 8 to 64 serve most collections.
        mask: (n, c) bool, True where a candidate counts.

    Raises:
        ValueError: scores that are not finite or all constant, or a perplexity out of reach; says what is in reach.
    """
    require_shape("scores", scores, "n", "c")
    require_mask(mask, *scores.shape)
    scores = scores.detach().cpu().double()
    kept = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.cpu()
    if not scores[kept].isfinite().all():
        raise ValueError("scores hold NaN or infinite values where they count: leave these out by `mask`")
    if not perplexity > 1:
        raise ValueError(f"perplexity must be above 1, not {perplexity}")
    spread = scores.masked_fill(~kept, -math.inf).amax(1) - scores.masked_fill(~kept, math.inf).amin(1)
    useful = spread > 0
    if not useful.any():
        raise ValueError("scores are constant for every query, so no temperature can be calibrated")
    scores, kept, scale = scores[useful], kept[useful], spread[useful].median().item()

    low, high = scale * 1e-6, scale * 1e6
    least, most = (_perplexities(scores, t, kept).median().item() for t in (low, high))
    if not least < perplexity < most:
        raise ValueError(f"perplexity {perplexity:g} is out of reach: these candidates allow {least:.3g} to {most:.3g}")
    for _ in range(100):
        middle = math.sqrt(low * high)
        if _perplexities(scores, middle, kept).median().item() < perplexity:
            low = middle
        else:
            high = middle
        if high / low < 1 + 1e-9:
            break
    temperature = math.sqrt(low * high)
    return Calibration(
        temperature=temperature,
        perplexity=_perplexities(scores, temperature, kept).median().item(),
        top1_mass=_masked_log_softmax(scores, temperature, kept).exp().amax(1).median().item(),
        rows=int(useful.sum()),
        constant_rows=int((~useful).sum()),
    )


def _masked_log_softmax(scores: Tensor, temperature: float, kept: Tensor) -> Tensor:
    return torch.log_softmax(scores.masked_fill(~kept, -math.inf) / temperature, dim=1)


def _perplexities(scores: Tensor, temperature: float, kept: Tensor) -> Tensor:
    log_p = _masked_log_softmax(scores, temperature, kept)
    return (-(log_p.exp() * log_p.clamp(min=-1e300)).sum(1)).exp()
