"""Noised texts: what a generator rewrites (EmbedDistill's other arm), and halves of two texts joined (MixKD for texts).

MixKD mixes the embeddings of two inputs; where teacher and student have tokenizers of their own, two texts are joined
instead: the first half of one and the second half of the other.
"""

from __future__ import annotations

import random

from .drawing import rank
from .words import unspaced


def noised(text: str, probability: float, seed: int) -> str:
    """Drop each word, then swap each with its neighbour, with this probability; at least one word is left.

    In a script without spaces, single characters take the place of words. Seed and text decide alone.
    """
    pieces, joint = _pieces(text)
    if len(pieces) < 2 or not probability:
        return joint.join(pieces)
    rng = random.Random(rank(seed, "noise", text))
    kept = [piece for piece in pieces if rng.random() >= probability] or [rng.choice(pieces)]
    place = 0
    while place + 1 < len(kept):
        if rng.random() < probability:
            kept[place], kept[place + 1] = kept[place + 1], kept[place]
            place += 1  # a word is moved once
        place += 1
    return joint.join(kept)


def halves(first: str, second: str) -> str:
    """The first half of one text and the second half of another, by words; a middle word belongs to both halves."""
    (left, before), (right, after) = _pieces(first), _pieces(second)
    start, end = before.join(left[: (len(left) + 1) // 2]), after.join(right[len(right) // 2 :])
    return (before if before == after else " ").join([start, end])


def _pieces(text: str) -> tuple[list[str], str]:
    """What a text is made of, and what stands between."""
    return (list("".join(text.split())), "") if unspaced(text) else (text.split(), " ")
