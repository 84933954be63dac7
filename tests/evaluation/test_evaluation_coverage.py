"""How far made queries lie from real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation.coverage import Coverage, Nearness, coverage, nearest_cosines


def at(*degrees: float) -> np.ndarray:
    """Vectors of several lengths at these angles."""
    angles = np.radians(degrees)
    return (
        np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * np.arange(1, len(degrees) + 1)[:, None]
    )


def made() -> Coverage:
    found = coverage(at(0, 60, 90), at(0, 30, 120), ["spans", "generated", "spans"])
    assert found is not None
    return found


def test_by_hand():
    found = made()
    half = np.sqrt(3) / 2
    assert found.real_to_made.mean == pytest.approx((1 + half + half) / 3)
    assert found.made_to_real.mean == pytest.approx((1 + half + half) / 3)
    assert found.real_to_real is not None
    assert found.real_to_real.mean == pytest.approx((0.5 + half + half) / 3)
    assert found.real_to_real.above == {"0.5": 1.0, "0.6": 2 / 3, "0.7": 2 / 3, "0.8": 2 / 3, "0.9": 0.0}
    to, back = found.by_source["generated"]
    assert (to.count, back.count) == (3, 1)
    assert to.mean == pytest.approx((half + half + 0.5) / 3)
    assert back.mean == pytest.approx(half)
    to, back = found.by_source["spans"]
    assert to.mean == pytest.approx((1 + 0.5 + half) / 3)
    assert list(found.by_source) == ["generated", "spans"]


def test_percentiles():
    found = Nearness.of(np.linspace(0, 1, 11, dtype=np.float32))
    assert (found.p10, found.p50, found.p90) == pytest.approx((0.1, 0.5, 0.9))
    assert found.above == pytest.approx({"0.5": 6 / 11, "0.6": 5 / 11, "0.7": 4 / 11, "0.8": 3 / 11, "0.9": 2 / 11})


def test_nothing_to_compare():
    assert coverage(at(), at(0), ["spans"]) is None
    assert coverage(at(0), at(), []) is None
    alone = coverage(at(0), at(60), ["spans"])
    assert alone is not None
    assert alone.real_to_real is None
    assert len(alone.lines()) == 3


def test_as_json_and_lines():
    found = made()
    text = json.dumps(found.as_json(), allow_nan=False)
    assert json.loads(text)["by_source"]["generated"]["made_to_real"]["count"] == 1
    lines = found.lines()
    assert lines[0].startswith("real to the nearest made query: cosine 0.911 (10/50/90 %: 0.866/0.866/0.973; 100% from")
    assert lines[-1] == "spans (2): real to made 0.789, made to real 0.933"


def test_zero_vectors_are_near_to_nothing():
    zero = np.zeros((1, 2), dtype=np.float32)
    assert nearest_cosines(zero, at(0, 90)).tolist() == [0.0]
    assert nearest_cosines(at(180), np.concatenate([zero, at(0)])).tolist() == [0.0]


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 12), others=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_nearest_are_those_of_all_cosines(rows: int, others: int, seed: int):
    random = np.random.default_rng(seed)
    a, b = (random.normal(size=(n, 4)).astype(np.float32) for n in (rows, others))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    assert nearest_cosines(a, b) == pytest.approx((unit[0] @ unit[1].T).max(axis=1), abs=1e-6)
    if rows > 1:
        products = unit[0] @ unit[0].T
        np.fill_diagonal(products, -2)
        assert nearest_cosines(a, None) == pytest.approx(products.max(axis=1), abs=1e-6)
    # A query that is among the others is as near as can be, whatever its length.
    assert nearest_cosines(3 * a, a) == pytest.approx(np.ones(rows), abs=1e-6)
