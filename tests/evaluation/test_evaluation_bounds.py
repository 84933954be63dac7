from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.evaluation.bounds import loss_change, pair_orders

THREE = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # scores 1, 0.6, 0; distances sqrt 0.8, sqrt 2, sqrt 0.4


def test_three_documents_by_hand():
    # The student is turned by 0.6 towards the second axis: |dq| = sqrt(0.04 + 0.36) = 0.632.
    found = pair_orders(THREE, np.array([1.0, 0.0]), np.array([0.8, 0.6]), k=2)
    np.testing.assert_array_equal(found.ordered, [[False, True, True], [False, False, True]])
    # Radii: 0.4 / 0.894 = 0.447, 1 / 1.414 = 0.707, 0.6 / 0.632 = 0.949; the last two are above 0.632.
    radii = [0.4 / math.sqrt(0.8), 1 / math.sqrt(2), 0.6 / math.sqrt(0.4)]
    np.testing.assert_allclose(found.radius[found.ordered], radii)
    assert np.isnan(found.radius[~found.ordered]).all()
    np.testing.assert_array_equal(found.certified, [[False, False, True], [False, False, True]])
    # Its scores are 0.8, 0.96, 0.6: the first two change places.
    np.testing.assert_array_equal(found.kept, [[False, False, True], [False, False, True]])


def test_the_loss_of_two_documents_by_hand():
    # Scores 1, 0 against 0, 1: losses log(1 + 1/e) and log(1 + e) differ by exactly 1; |dq| = sqrt 2, K = 1.
    pair = np.eye(2)
    found = loss_change(pair, pair[0], pair[1], 1.0)
    assert found.gap == pytest.approx(1.0)
    assert found.bound == pytest.approx(2 * math.sqrt(2))
    assert not found.violated
    # Half the temperature doubles the scores: log(1 + e^2) - log(1 + e^-2) = 2.
    colder = loss_change(pair, pair[0], pair[1], 0.5, longest=3.0)
    assert colder.gap == pytest.approx(2.0)
    assert colder.bound == pytest.approx(12 * math.sqrt(2))


def test_the_bound_of_the_loss_is_reached():
    # Two opposite documents and a small error along them: the loss moves by 2 K |dq| / tau while its slope is 1.
    documents = np.array([[1.0], [-1.0]])
    found = loss_change(documents, np.array([-40.0]), np.array([-39.0]), 1.0)
    assert found.gap == pytest.approx(found.bound, rel=1e-12)
    assert not found.violated


def test_a_violated_bound_is_told():
    # A "longest" that is none: what a broken index would look like.
    assert loss_change(np.eye(2), np.eye(2)[0], np.eye(2)[1], 1.0, longest=0.1).violated


def test_copies_of_a_document_have_no_order():
    documents = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = pair_orders(documents, np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(found.ordered, [[False, False, True], [False, False, True], [False] * 3])
    np.testing.assert_array_equal(found.certified, found.ordered)


def worlds(width):
    numbers = st.floats(-10, 10, width=32)
    return st.tuples(
        arrays(np.float64, st.tuples(st.integers(1, 12), st.just(width)), elements=numbers),
        arrays(np.float64, (2, width), elements=numbers),
        st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0]),
    )


@given(world=st.integers(1, 6).flatmap(worlds), k=st.integers(1, 12))
@settings(max_examples=120, deadline=None)
def test_no_certified_pair_is_ever_violated_and_no_loss_leaves_its_bound(world, k):
    documents, (teacher, direction), step = world
    student = teacher + step * direction
    documents = documents[np.argsort(-(documents @ teacher), kind="stable")]
    found = pair_orders(documents, teacher, student, k)
    assert not (found.certified & ~found.kept).any()
    assert not (found.certified & ~found.ordered).any()
    assert (found.radius[found.certified] > np.linalg.norm(student - teacher)).all()
    if step == 0.0:
        np.testing.assert_array_equal(found.certified, found.ordered)
        np.testing.assert_array_equal(found.kept & found.ordered, found.ordered)
    for temperature in (1.0, 0.05):
        for label in range(min(3, len(documents))):
            change = loss_change(np.roll(documents, -label, axis=0), teacher, student, temperature)
            assert not change.violated
            assert change.gap <= change.bound * (1 + 1e-9) + 1e-9


def test_rounding_never_certifies_what_it_then_turns_round():
    # The worst error of all: along the difference of two documents, exactly as long as their gap allows, or a bit off.
    rng = np.random.default_rng(0)
    certified = 0
    for _ in range(400):
        pair, teacher = rng.standard_normal((2, 24)), rng.standard_normal(24)
        pair = pair[np.argsort(-(pair @ teacher))]
        apart = pair[0] - pair[1]
        student = teacher - apart * (apart @ teacher / (apart @ apart)) * (1 + rng.integers(-4, 5) * 2.0**-53)
        found = pair_orders(pair, teacher, student)
        assert not (found.certified & ~found.kept).any()
        assert not found.certified.any()  # too close to call
        certified += pair_orders(pair, teacher, teacher + (1 - 1e-6) * (student - teacher)).certified.any()
    assert certified == 400


def test_the_guarantee_is_not_empty_and_not_full():
    rng = np.random.default_rng(0)
    documents, teacher = rng.standard_normal((100, 64)), rng.standard_normal(64)
    documents = documents[np.argsort(-(documents @ teacher))]
    shares = []
    for step in (0.001, 0.01, 0.1, 1.0):
        found = pair_orders(documents, teacher, teacher + step * rng.standard_normal(64))
        shares.append(found.certified.sum() / found.ordered.sum())
        assert not (found.certified & ~found.kept).any()
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.99
    assert 0.1 < shares[2] < 0.9
