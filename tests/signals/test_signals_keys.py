"""Keys: found when there, not found otherwise, even where first words collide."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from potstill.signals.keys import KEY_BYTES, WORD, count_distinct, find, sorted_order, text_keys
from potstill.texts import digest

words = st.integers(0, 3)  # few values: collisions of first words, of second words and of whole keys
key_lists = st.lists(st.tuples(words, words), max_size=20)


def as_keys(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, dtype=WORD).reshape(-1, 2).T


@given(held=key_lists.map(lambda pairs: sorted(set(pairs))), wanted=key_lists)
def test_find_agrees_with_a_dict(held, wanted):
    expected = [held.index(pair) if pair in held else -1 for pair in wanted]
    assert find(as_keys(held), as_keys(wanted)).tolist() == expected


@given(key_lists)
def test_sorted_order_sorts_by_both_words(pairs):
    assert as_keys(pairs)[:, sorted_order(as_keys(pairs))].T.tolist() == [list(pair) for pair in sorted(pairs)]


@given(st.lists(key_lists.map(lambda pairs: sorted(set(pairs))), max_size=4))
def test_count_distinct_agrees_with_a_set(parts):
    assert count_distinct([as_keys(part) for part in parts]) == len({pair for part in parts for pair in part})


def test_the_key_is_the_whole_digest():
    keys = text_keys(["a", "b", "a"])
    assert keys.shape == (2, 3)
    assert keys.T[1].tobytes() == digest("b")
    assert keys.nbytes == 3 * KEY_BYTES
    assert (keys[:, 0] == keys[:, 2]).all()
    assert (keys[:, 0] != keys[:, 1]).any()


def test_no_texts_no_keys():
    assert text_keys([]).shape == (2, 0)
    assert find(text_keys([]), text_keys(["a"])).tolist() == [-1]
    assert find(text_keys(["a"]), text_keys([])).tolist() == []
