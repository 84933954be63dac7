"""The filters' arithmetic: values by hand, invariants, extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.queries.filters import (
    disagreement,
    entropy,
    found_again,
    log_softmax,
    picked,
    teacher_right,
    teacher_spread,
    with_source,
)

LOW = -np.inf
SCORES = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.floats(-1, 1, width=32))


def test_found_again():
    found = np.array([[3, 1], [3, 1], [3, -1], [3, 1]])
    assert found_again(found, np.array([1, 2, 3, -1])).tolist() == [True, False, True, True]


def test_with_source():
    found = np.array([[3, 1, 5], [3, 1, 5], [0, 1, -1], [7, 8, 9]])
    candidates, columns = with_source(found, np.array([1, 2, 6, -1]))
    assert candidates.tolist() == [[3, 1, 5], [3, 1, 2], [0, 1, 6], [7, 8, 9]]
    assert columns.tolist() == [1, 2, 2, -1]
    assert found[1].tolist() == [3, 1, 5], "what was found is left as it is"


def test_entropy_by_hand():
    assert entropy(np.zeros((1, 4)), 0.05)[0] == pytest.approx(math.log(4))
    assert entropy(np.array([[0.0, LOW, 0.0, LOW]]), 1.0)[0] == pytest.approx(math.log(2))
    two = np.array([[math.log(0.25), math.log(0.75)]])
    assert entropy(two, 1.0)[0] == pytest.approx(0.5623351, rel=1e-5)
    assert entropy(np.array([[1.0, -1.0]]), 0.05)[0] == pytest.approx(0, abs=1e-6)


def test_disagreement_by_hand():
    teacher = np.log(np.array([[0.5, 0.5]]))
    student = np.log(np.array([[0.25, 0.75]]))
    assert disagreement(teacher, student, 1.0)[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-5)
    assert disagreement(student, teacher, 1.0)[0] == pytest.approx(0.1308120, rel=1e-5)
    padded = [np.concatenate([part, [[LOW]]], axis=1) for part in (teacher, student)]
    assert disagreement(*padded, 1.0)[0] == pytest.approx(0.1438410, rel=1e-5)


def test_teacher_right_by_hand():
    teacher = np.log(np.array([[0.5, 0.3, 0.2]] * 3))
    student = np.log(np.array([[0.1, 0.6, 0.3]] * 3))
    found = teacher_right(teacher, student, np.array([0, 1, 2]), 1.0)
    expected = [math.log(0.5 * 0.9), math.log(0.3 * 0.4), math.log(0.2 * 0.7)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert found.dtype == np.float32
    assert picked(found, 1).tolist() == [0], "the teacher is right there and the student wrong"


def test_a_sure_student_keeps_its_digits():
    """At temperature 0.05 the student's probability rounds to 1; the criterion still tells two such apart."""
    teacher = np.array([[0.5, 0.4], [0.5, 0.4]])
    student = np.array([[1.0, -0.5], [1.0, -0.4]])
    found = teacher_right(teacher, student, np.array([0, 0]))
    expected = [-math.log1p(math.exp(-2)) - 30, -math.log1p(math.exp(-2)) - 28]
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_source_alone_has_no_rival():
    assert teacher_right(np.zeros((1, 1)), np.zeros((1, 1)), np.array([0]))[0] == LOW
    padded = np.array([[0.5, LOW]])
    assert teacher_right(padded, padded, np.array([0]))[0] == LOW


def test_what_is_refused():
    good = np.zeros((2, 3))
    with pytest.raises(ValueError, match="without a source"):
        teacher_right(good, good, np.array([0, -1]))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        disagreement(good, good[:, :2])
    with pytest.raises(ValueError, match="alone"):
        disagreement(good, np.array([[0, 0, LOW], [0, 0, 0]]))
    with pytest.raises(ValueError, match="row 1 has no finite score"):
        log_softmax(np.array([[0, 1], [LOW, LOW]]))
    with pytest.raises(ValueError, match="row 0"):
        entropy(np.array([[np.nan, 1]]))
    with pytest.raises(ValueError, match="row 1 is not a number"):
        picked(np.array([0, np.nan]), 1)


def test_picked():
    assert picked(np.array([0.1, 0.5, 0.3, 0.5, LOW]), 3).tolist() == [1, 2, 3]
    assert picked(np.array([1.0, 1.0, 1.0]), 2).tolist() == [0, 1]
    assert picked(np.array([1.0]), 5).tolist() == [0]
    assert picked(np.array([1.0]), 0).tolist() == []
    assert picked(np.zeros(0), 3).tolist() == []


def test_teacher_spread_by_hand():
    probabilities = np.array([0.2, 0.4, 0.8, 0.6, 1.0])
    groups = np.array(["a", "a", "b", "b", "c"])  # means 0.3, 0.7, 1.0
    assert teacher_spread(probabilities, groups) == pytest.approx(np.std([0.3, 0.7, 1.0]))
    both = np.stack([probabilities, np.full(5, 0.5)], axis=1)
    assert teacher_spread(both, groups) == pytest.approx(np.std([0.3, 0.7, 1.0]) / 2)
    assert teacher_spread(np.full(4, 0.5), np.arange(4)) == 0
    assert teacher_spread(np.zeros(0), np.zeros(0, dtype=np.int64)) == 0


@settings(max_examples=200, deadline=None)
@given(scores=SCORES, shift=st.floats(-3, 3), temperature=st.floats(0.03, 2))
def test_invariants_of_the_teacher_alone(scores: np.ndarray, shift: float, temperature: float):
    rows, candidates = scores.shape
    logs = log_softmax(scores, temperature)
    assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(rows), rel=1e-5)
    unsure = entropy(scores, temperature)
    assert (unsure >= -1e-6).all()
    assert (unsure <= math.log(candidates) + 1e-5).all()
    assert entropy(scores + np.float32(shift), temperature) == pytest.approx(unsure, abs=5e-4)
    order = np.random.default_rng(0).permutation(candidates)
    assert entropy(scores[:, order], temperature) == pytest.approx(unsure, abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), scores=SCORES)
def test_invariants_of_both(data: st.DataObject, scores: np.ndarray):
    student = data.draw(arrays(np.float32, scores.shape, elements=st.floats(-1, 1, width=32)))
    columns = data.draw(arrays(np.int64, len(scores), elements=st.integers(0, scores.shape[1] - 1)))
    assert disagreement(scores, scores) == pytest.approx(np.zeros(len(scores)), abs=1e-6)
    assert (disagreement(scores, student) >= -1e-5).all()
    right = teacher_right(scores, student, columns)
    assert (right <= 1e-5).all()
    p, q = (np.exp(log_softmax(s).astype(np.float64)) for s in (scores, student))
    rows = np.arange(len(scores))
    naive = np.log(p[rows, columns]) + np.log(1 - q[rows, columns] + 1e-300)
    sure = q[rows, columns] < 0.99
    assert right[sure] == pytest.approx(naive[sure], rel=1e-3, abs=1e-4)
    # A candidate that neither has changes nothing.
    wider = [np.concatenate([s, np.full((len(s), 1), LOW, dtype=np.float32)], axis=1) for s in (scores, student)]
    assert disagreement(*wider) == pytest.approx(disagreement(scores, student), rel=1e-5, abs=1e-5)
    assert teacher_right(*wider, columns) == pytest.approx(right, rel=1e-5, abs=1e-5)
    assert entropy(wider[0]) == pytest.approx(entropy(scores), rel=1e-5, abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(scores=arrays(np.float32, st.integers(0, 30), elements=st.floats(-5, 5, width=32)), keep=st.integers(0, 40))
def test_picked_are_the_best(scores: np.ndarray, keep: int):
    rows = picked(scores, keep)
    assert len(rows) == min(keep, len(scores))
    assert np.array_equal(rows, np.unique(rows))
    left = np.setdiff1d(np.arange(len(scores)), rows)
    if len(rows) and len(left):
        assert scores[rows].min() >= scores[left].max()
