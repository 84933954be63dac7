"""Ids in order: a sequence like any other, with look-up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.collection import Ids

NAMES = st.lists(st.text(max_size=5), unique=True)


@given(NAMES)
def test_it_is_the_list_it_was_made_of(names: list[str]) -> None:
    ids = Ids(names)
    assert list(ids) == names
    assert len(ids) == len(names)
    assert [ids[i] for i in range(-len(names), len(names))] == names + names
    assert ids[1:-1] == names[1:-1]
    assert ids.first_repeat() is None


@given(NAMES, st.lists(st.text(max_size=5)))
def test_rows_finds_those_that_are_there(names: list[str], wanted: list[str]) -> None:
    rows = Ids(names).rows(names + wanted).tolist()
    assert rows[: len(names)] == list(range(len(names)))
    assert rows[len(names) :] == [names.index(name) if name in names else -1 for name in wanted]


@given(st.lists(st.sampled_from("abcdef")))
def test_the_first_repeat_is_the_one_a_reader_meets_first(names: list[str]) -> None:
    expected = next(((names.index(name), i) for i, name in enumerate(names) if name in names[:i]), None)
    assert Ids(names).first_repeat() == expected


def test_equal_hashes_do_no_harm() -> None:
    ids = Ids(["a", "b", "c", "b"])
    ids._hashes[:] = type(ids._hashes)("q", [hash("c")] * 4)
    ids._order = None
    assert ids.rows(["c"]).tolist() == [2]
    assert ids.first_repeat() == (1, 3)


def test_membership_and_bounds() -> None:
    ids = Ids(["a", "b"])
    assert "a" in ids
    assert "c" not in ids
    assert 1 not in ids
    ids.append("c")
    assert "c" in ids
    with pytest.raises(IndexError):
        ids[3]
    assert repr(ids) == "Ids(3)"
