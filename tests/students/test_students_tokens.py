"""Ragged token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.students import Tokens

RAGGED = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=8)


@given(RAGGED, st.data())
def test_select_takes_texts_in_the_order_asked_for(rows, data):
    tokens = Tokens.of(rows, truncated=3)
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)) if rows else []
    chosen = tokens.select(picked)
    assert [ids.tolist() for ids in chosen] == [rows[i] for i in picked]
    assert chosen.truncated == 0
    assert tokens.ids.dtype == np.int32
    assert tokens.offsets.dtype == chosen.offsets.dtype == np.int64
    assert chosen.lengths.tolist() == [len(rows[i]) for i in picked]


@given(RAGGED, RAGGED)
def test_join_is_one_after_another(first, second):
    joined = Tokens.join([Tokens.of(first, 1, 2), Tokens.of(second, 3, 4)])
    assert [ids.tolist() for ids in joined] == first + second
    assert (joined.truncated, joined.unknown) == (4, 6)
    assert len(Tokens.join([])) == 0


@given(RAGGED, st.booleans())
def test_padding_keeps_ids_and_masks_the_rest(rows, left):
    ids, mask = Tokens.of(rows).padded(7, left=left)
    assert ids.shape == mask.shape == (len(rows), max([1, *map(len, rows)]))
    for row, given_ids in enumerate(rows):
        assert ids[row][mask[row] == 1].tolist() == given_ids
        assert (ids[row][mask[row] == 0] == 7).all()
        ordered = sorted(mask[row], reverse=not left)
        assert mask[row].tolist() == ordered


def test_rows_out_of_range():
    with pytest.raises(IndexError):
        Tokens.of([[1]])[1]
