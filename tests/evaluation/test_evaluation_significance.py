from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from potstill.errors import InputError
from potstill.evaluation import significance
from potstill.evaluation.significance import (
    compare,
    holm,
    mean_interval,
    mean_intervals,
    resampled_means,
    retention,
    sign_flip_p,
)


def by_query(values):
    return {f"q{i:04d}": float(value) for i, value in enumerate(values)}


def scores(seed, n=60):
    rng = np.random.default_rng(seed)
    teacher = rng.random(n)
    return teacher, np.clip(teacher - 0.03 + 0.15 * rng.standard_normal(n), 0, 1)


def test_two_queries_by_hand():
    # Draws of two: (a,a) 1/4 -> 0.5, one of each 1/2 -> 0.75, (b,b) 1/4 -> 1. Flipping signs never changes |-0.5 + 0|.
    found = retention({"a": 0.5, "b": 1.0}, {"a": 1.0, "b": 1.0})
    assert (found.value, found.low, found.high, found.p) == (0.75, 0.5, 1.0, 1.0)
    assert (found.difference.value, found.difference.low, found.difference.high) == (-0.25, -0.5, 0.0)
    assert found.as_json() == {"value": 0.75, "low": 0.5, "high": 1.0, "p": 1.0}


def test_a_perfect_copy_keeps_all():
    teacher = by_query(scores(0)[0])
    found = retention(dict(teacher), teacher)
    assert (found.value, found.p) == (1.0, 1.0)
    assert found.low == pytest.approx(1.0, abs=1e-12)
    assert found.high == pytest.approx(1.0, abs=1e-12)


def test_retention_is_a_ratio_of_means_not_a_mean_of_ratios():
    assert retention({"a": 0.1, "b": 0.9}, {"a": 0.2, "b": 0.8}).value == pytest.approx(1.0)


def test_resampling_equals_plain_indexing_and_does_not_depend_on_portions(monkeypatch):
    values = np.random.default_rng(3).random((23, 3))
    drawn = np.random.default_rng([7, 0]).integers(0, 23, size=(500, 23))
    means = resampled_means(values, seed=7, samples=500)
    np.testing.assert_allclose(means, values[drawn].mean(axis=1), rtol=1e-12)
    monkeypatch.setattr(significance, "_VALUES_AT_A_TIME", 100)
    np.testing.assert_allclose(resampled_means(values, seed=7, samples=500), means, rtol=1e-12)


def test_intervals_agree_with_scipy():
    teacher, student = scores(1)
    found = retention(by_query(student), by_query(teacher))
    theirs = stats.bootstrap(
        (student, teacher),
        lambda s, t, axis: s.mean(axis=axis) / t.mean(axis=axis),
        paired=True,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.004)
    assert found.high == pytest.approx(theirs.high, abs=0.004)
    assert found.low < found.value < found.high
    one = mean_interval(student)
    theirs = stats.bootstrap((student,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(6))
    assert one.low == pytest.approx(theirs.confidence_interval.low, abs=0.004)
    assert one.high == pytest.approx(theirs.confidence_interval.high, abs=0.004)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_p_values_agree_with_all_sign_patterns(shift):
    differences = np.random.default_rng(2).standard_normal(12) * 0.3 + shift
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(differences[:, None])[0] == pytest.approx(exact, abs=0.015)


def test_p_is_never_zero_and_one_without_difference():
    assert sign_flip_p(np.ones((200, 1)), samples=999)[0] == 1 / 1000
    assert sign_flip_p(np.zeros((200, 1)), samples=999)[0] == 1.0
    # 2 of 8 patterns have |sum| = 3.
    assert sign_flip_p(np.ones((3, 1)))[0] == pytest.approx(0.25, abs=0.02)


def test_p_values_do_not_depend_on_the_sign_of_rounding():
    # 0.1 + 0.2 + ... sums differ in the last bit by order; the observed pattern must still count as reached.
    differences = np.array([0.1, 0.2, 0.3])
    assert sign_flip_p(differences[:, None])[0] == pytest.approx(0.25, abs=0.02)


def test_null_p_values_are_about_uniform():
    rng = np.random.default_rng(11)
    p = np.array([sign_flip_p(rng.standard_normal((40, 1)), samples=400, seed=i)[0] for i in range(300)])
    assert 0.02 <= (p <= 0.05).mean() <= 0.09


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(12)
    inside = 0
    for seed in range(200):
        teacher = rng.random(80)
        student = 0.9 * teacher + 0.1 * (rng.random(80) - 0.5)
        found = compare(student[:, None], teacher[:, None], seed=seed, samples=500)[0]
        inside += found.low <= 0.9 <= found.high
    assert 0.89 <= inside / 200 <= 0.99


def test_several_measures_at_once_equal_each_alone():
    teacher, student = scores(4), scores(5)
    both = compare(np.stack(student, axis=1), np.stack(teacher, axis=1), seed=3, samples=800)
    for column in range(2):
        alone = compare(student[column][:, None], teacher[column][:, None], seed=3, samples=800)[0]
        assert both[column].low == pytest.approx(alone.low, rel=1e-12)
        assert both[column].p == alone.p
    assert [i.value for i in mean_intervals(np.stack(teacher, axis=1))] == pytest.approx(np.mean(teacher, axis=1))


def test_seeded_and_independent_of_the_order_of_queries():
    teacher, student = map(by_query, scores(6))
    first = retention(student, teacher, seed=1)
    assert retention(dict(reversed(student.items())), teacher, seed=1) == first
    assert retention(student, teacher, seed=2) != first


def test_a_teacher_of_zero_has_no_retention():
    found = retention({"a": 0.5, "b": 0.0}, {"a": 0.0, "b": 0.0})
    assert found.as_json() == {"value": None, "low": None, "high": None, "p": 1.0}
    assert found.difference.value == 0.25


def test_a_teacher_that_is_mostly_zero_has_no_interval():
    teacher, student = np.zeros(10), np.zeros(10)
    teacher[0], student[0] = 1.0, 0.5  # a draw misses the first query in 0.9 ** 10 = 35 % of all samples
    found = retention(by_query(student), by_query(teacher))
    assert (found.value, found.low, found.high) == (0.5, None, None)
    teacher[:5], student[:5] = 1.0, 0.5  # 0.1 % of all samples
    found = retention(by_query(student), by_query(teacher))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_different_queries_are_an_error():
    with pytest.raises(InputError, match=r"different queries .*'b'"):
        retention({"a": 1.0}, {"a": 1.0, "b": 1.0})
    with pytest.raises(InputError, match="no queries"):
        retention({}, {})


def test_holm_by_hand():
    # Sorted: 0.005*4, 0.01*3, 0.03*2, 0.04*1, then the running largest.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_never_lowers_and_keeps_the_order(p):
    corrected = holm(p)
    assert all(p[i] <= corrected[i] <= min(1.0, len(p) * p[i] + 1) for i in range(len(p)))
    assert all(corrected[i] <= corrected[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])
