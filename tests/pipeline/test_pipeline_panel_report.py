"""How far teachers agree."""

import numpy as np
import pytest

from potstill.pipeline.panel_report import pairs_of


def test_copies_opposites_and_strangers():
    random = np.random.default_rng(0)
    one = random.normal(size=(200, 8))
    found = {
        (pair.first, pair.second): pair
        for pair in pairs_of({"a": one, "copy": 3 * one + 1, "inverse": -one, "other": random.normal(size=(200, 8))})
    }
    assert found["a", "copy"].rank_correlation == pytest.approx(1)
    assert found["a", "copy"].same_sign == 1
    assert "two votes" in found["a", "copy"].line()
    assert found["a", "inverse"].rank_correlation == pytest.approx(-1)
    assert found["a", "inverse"].same_sign == 0
    assert abs(found["a", "other"].rank_correlation) < 0.1
    assert found["a", "other"].same_sign == pytest.approx(0.5, abs=0.05)
    assert "two votes" not in found["a", "other"].line()


def test_holes_and_ties_are_left_out():
    one = np.array([[1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    other = np.array([[1.0, 2.0, np.nan, 2.0], [4.0, 3.0, 2.0, 1.0]])
    (pair,) = pairs_of({"one": one, "other": other})
    assert pair.compared == 2
    assert pair.same_sign == 0.5
    nothing = pairs_of({"one": one, "hole": np.full((2, 4), np.nan)})[0]
    assert (nothing.rank_correlation, nothing.same_sign) == (None, None)
    assert "no common list" in nothing.line()


def test_the_most_alike_come_first():
    random = np.random.default_rng(1)
    one = random.normal(size=(50, 6))
    pairs = pairs_of({"a": one, "b": random.normal(size=(50, 6)), "c": one + 0.1 * random.normal(size=(50, 6))})
    assert (pairs[0].first, pairs[0].second) == ("a", "c")
