"""Ensembles of given scores: by hand, against NumPy, with holes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation.combining import COMBINATIONS, combined, standardised

NAN = np.nan
seeds = st.integers(0, 2**31 - 1)


def scores(seed, systems=3, holes=0.0):
    random = np.random.default_rng(seed)
    tables = random.normal(size=(systems, 4, 6)) * random.uniform(0.1, 50, size=(systems, 1, 1))
    tables[random.random(tables.shape) < holes] = NAN
    return list(tables)


def test_standardised_leaves_holes_out():
    found = standardised(np.array([[1.0, 3.0, NAN], [2.0, 2.0, 2.0], [NAN, NAN, NAN]]))
    assert found[0, :2].tolist() == [-1.0, 1.0]
    assert np.isnan(found[0, 2])
    assert found[1].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(found[2]).all()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 5))
def test_mean_and_median_without_holes(seed, systems):
    tables = scores(seed, systems)
    level = np.stack([(each - each.mean(1, keepdims=True)) / each.std(1, keepdims=True) for each in tables])
    assert combined(tables, "mean") == pytest.approx(level.mean(axis=0))
    assert combined(tables, "median") == pytest.approx(np.median(level, axis=0))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_holes_are_left_out(seed):
    tables = scores(seed, 3, holes=0.4)
    level = np.stack([standardised(each) for each in tables])
    for how, by in (("mean", np.nanmean), ("median", np.nanmedian)):
        found = combined(tables, how)
        nobody = np.isnan(level).all(axis=0)
        assert np.isnan(found[nobody]).all()
        for row, column in zip(*np.nonzero(~nobody), strict=True):
            assert found[row, column] == pytest.approx(by(level[:, row, column]))


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(COMBINATIONS))
def test_scales_and_offsets_change_nothing(seed, how):
    tables = scores(seed, 3, holes=0.2)
    moved = [
        each * scale + offset for each, scale, offset in zip(tables, (0.1, 7.0, 300.0), (5.0, -2.0, 0.0), strict=True)
    ]
    assert combined(moved, how) == pytest.approx(combined(tables, how), nan_ok=True, abs=1e-6)


def test_one_system_keeps_its_order():
    (table,) = scores(3, 1)
    for how in COMBINATIONS:
        assert (np.argsort(combined([table], how)) == np.argsort(table)).all()


def test_a_majority_decides_pairs():
    tables = [np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 2.0, 1.0]]), np.array([[-100.0, 0.0, 100.0]])]
    vote = combined(tables, "vote")[0]
    assert np.round(vote).tolist() == [2.0, 0.0, -2.0]


def test_a_cycle_is_a_tie_in_the_order_of_the_mean():
    tables = [np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 3.0, 2.0]]), np.array([[2.0, 1.0, 3.5]])]
    vote, mean = combined(tables, "vote")[0], combined(tables, "mean")[0]
    assert np.round(vote).tolist() == [0.0, 0.0, 0.0]
    assert (np.argsort(vote) == np.argsort(mean)).all()


def test_who_has_no_score_has_no_vote():
    tables = [np.array([[1.0, 2.0, NAN]]), np.array([[2.0, 1.0, 3.0]]), np.array([[NAN, NAN, NAN]])]
    vote = combined(tables, "vote")[0]
    assert np.round(vote).tolist() == [-1.0, -1.0, 2.0]  # the first two differ on the first pair


@pytest.mark.parametrize(("tables", "how"), [([], "mean"), ([np.zeros((1, 2)), np.zeros((1, 3))], "mean"), ([], "b")])
def test_refused(tables, how):
    with pytest.raises(ValueError, match=r"need tables|must be one of"):
        combined(tables, how)
