"""Noised texts and halves of texts."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.queries.noise import halves, noised

WORDS = [f"w{i}" for i in range(200)]


def test_noise_is_seeded_by_the_text():
    text = " ".join(WORDS[:12])
    assert noised(text, 0.3, 0) == noised(text, 0.3, 0)
    assert noised(text, 0.3, 0) != noised(text, 0.3, 1)
    assert noised(text, 0.0, 0) == text
    assert noised("  one   word", 0.0, 0) == "one word"
    assert noised("word", 0.9, 0) == "word"
    assert noised("", 0.5, 0) == ""


def test_words_are_dropped_and_swapped_at_the_rate_asked():
    text = " ".join(WORDS)
    dropped = swapped = 0
    for seed in range(50):
        kept = noised(text, 0.2, seed).split()
        dropped += len(WORDS) - len(kept)
        order = [int(word[1:]) for word in kept]
        swapped += sum(a > b for a, b in itertools.pairwise(order))
    assert 0.17 < dropped / (50 * 200) < 0.23
    # A swapped pair takes two places: p / (1 + p) swaps a place, 0.8 of the places are left.
    assert 0.11 < swapped / (50 * 200) < 0.155


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), probability=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_noise_adds_nothing_and_leaves_something(text: str, probability: float, seed: int):
    left, before = noised(text, probability, seed), "".join(text.split())
    assert not Counter("".join(left.split())) - Counter(before)
    assert bool(left) == bool(before)


def test_characters_are_the_words_of_scripts_without_spaces():
    assert noised("銅製の蒸留釜", 0.0, 0) == "銅製の蒸留釜"
    assert " " not in noised("銅製の蒸留釜と泥炭の煙", 0.4, 3)
    assert noised("銅製の蒸留釜と泥炭の煙", 0.4, 3) != "銅製の蒸留釜と泥炭の煙"


def test_halves_by_hand():
    assert halves("copper pot stills", "peat smoke in malt") == "copper pot in malt"
    assert halves("a b c d", "e f g h") == "a b g h"
    assert halves("a b c", "e f g") == "a b f g"
    assert halves("one", "two") == "one two"
    assert halves("銅製の蒸留釜", "泥炭の煙だ") == "銅製のの煙だ"
    assert halves("蒸留釜と泥炭", "peat smoke") == "蒸留釜 smoke"
