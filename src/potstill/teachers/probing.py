"""A first look at a scorer: a few pairs that any working model tells apart."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..signals import pair_text
from .loading import first_line
from .scorer import PairSource

# Two single tokens each, were all words unknown: a model that has lost its vocabulary finds all of them alike.
_PROBES = (("water", "water"), ("water", "7"), ("7", "water"), ("вода", "水"))


def probe(source: PairSource, model: str, fix: str) -> None:
    """Score a few pairs; here a model that cannot work shows it.

    Args:
        source: of scores.
        model: names it in messages.
        fix: what to do where it cannot score at all.

    Raises:
        InputError: it cannot score a pair, gives NaN or infinite scores, or one score to all.
    """
    try:
        scores = source.encode([pair_text(*pair) for pair in _PROBES], "pair")[:, 0]
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        said = first_line(error)
        raise InputError(f"the model loads, but cannot score a pair: {said}", where=model, fix=fix) from error
    if not np.isfinite(scores).all():
        raise InputError(
            "the model gives NaN or infinite scores",
            where=model,
            fix="check its weights; with float16, try the scorer's `dtype: float32`",
        )
    if np.ptp(scores) <= 1e-7 * max(1.0, float(np.abs(scores).max())):
        alike = ", ".join(f"{query!r} with {document!r}" for query, document in _PROBES)
        raise InputError(
            f"the model gives the same score ({scores[0]:.6g}) to {alike}",
            where=model,
            fix="check that its tokenizer files (tokenizer.json) are there and whole, and that it was trained",
        )
