from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.evaluation import paired, retention


def by_query(values):
    return {f"q{i:03d}": float(value) for i, value in enumerate(values)}


def test_two_queries_and_two_seeds_by_hand():
    # Means over seeds: a 0.5 and 1, b 0.25 and 0.75; both differences are 0.25, so every draw's is, and 2 of 4 sign
    # patterns reach it.
    found = paired([{"x": 0.4, "y": 1.0}, {"y": 1.0, "x": 0.6}], [{"x": 0.25, "y": 0.75}])
    assert (found.a, found.b) == pytest.approx((0.75, 0.5))
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((0.25,) * 3)
    assert found.p == pytest.approx(0.5, abs=0.02)
    assert found.queries == 2
    assert found.seeds_a == pytest.approx((0.7, 0.8))
    assert found.seeds_b == pytest.approx((0.5,))
    assert json.loads(json.dumps(found.as_json())) == found.as_json()


def test_one_seed_is_the_paired_test_that_retention_has():
    rng = np.random.default_rng(0)
    a, b = by_query(rng.random(50)), by_query(rng.random(50))
    found, kept = paired(a, b, seed=3), retention(a, b, seed=3)
    assert (found.difference, found.p) == (kept.difference, kept.p)
    assert paired([a], [b], seed=3) == found
    assert paired(dict(reversed(a.items())), b, seed=3) == found
    assert paired([a, a, a], b, seed=3).difference.value == pytest.approx(found.difference.value)


def test_seeds_take_noise_away():
    rng = np.random.default_rng(1)
    base = rng.random(200)
    runs = [by_query(base + 0.02 + 0.2 * rng.standard_normal(200)) for _ in range(8)]
    one, many = paired(runs[0], by_query(base)), paired(runs, by_query(base))
    assert many.difference.high - many.difference.low < 0.6 * (one.difference.high - one.difference.low)
    assert many.difference.low <= np.mean(many.seeds_a) - many.b <= many.difference.high


def test_turned_round_it_changes_sign_alone():
    rng = np.random.default_rng(2)
    a, b = by_query(rng.random(40)), by_query(rng.random(40))
    there, back = paired(a, b), paired(b, a)
    assert there.p == back.p
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.difference.low == pytest.approx(-back.difference.high)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"x": 1.0}, {"y": 1.0}, r"b, seed number 1: .*\(2 differ, such as 'x'\)"),
        ([{"x": 1.0}, {"x": 1.0, "z": 0.0}], {"x": 1.0}, "a, seed number 2: .*'z'"),
        ({"x": 1.0}, [{"x": 1.0}, {"x": float("nan")}], "b, seed number 2: the value of query 'x' is not a finite"),
        ([], {"x": 1.0}, "a has no values"),
        ({}, {}, "no queries"),
    ],
)
def test_what_does_not_fit_is_told(a, b, message):
    with pytest.raises(InputError, match=message):
        paired(a, b)
