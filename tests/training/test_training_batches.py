from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.training.batches import Batches

lengths_of_rows = st.lists(st.integers(0, 60), min_size=1, max_size=300)


@given(lengths_of_rows, st.integers(1, 200), st.integers(1, 40), st.integers(0, 99), st.integers(0, 9), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_row_once_and_the_budget_is_kept(lengths, budget, most, seed, epoch, padded):
    batches = Batches(np.array(lengths), tokens_per_batch=budget, max_texts=most, seed=seed, padded=padded)
    plan = batches.plan(epoch)
    parts = list(plan)
    assert sorted(np.concatenate(parts)) == list(range(len(lengths)))
    counted = np.maximum(lengths, 1)
    for rows in parts:
        assert 1 <= len(rows) <= most
        cost = len(rows) * counted[rows].max() if padded else counted[rows].sum()
        assert cost <= budget or len(rows) == 1


@given(lengths_of_rows, st.integers(0, 99), st.integers(0, 9), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_plan_depends_on_seed_and_epoch_alone(lengths, seed, epoch, padded):
    def plan(seed, epoch):
        batches = Batches(np.array(lengths), tokens_per_batch=100, max_texts=16, seed=seed, padded=padded)
        batches.plan(epoch + 1)  # whatever was asked before
        return [rows.tolist() for rows in batches.plan(epoch)]

    assert plan(seed, epoch) == plan(seed, epoch)


def test_epochs_and_seeds_differ():
    batches = Batches(np.full(100, 5), tokens_per_batch=50, max_texts=10, seed=0)
    other = Batches(np.full(100, 5), tokens_per_batch=50, max_texts=10, seed=1)
    first = batches.plan(0).order.tolist()
    assert first != batches.plan(1).order.tolist()
    assert first != other.plan(0).order.tolist()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 80)), min_size=1, max_size=100))
@settings(max_examples=50, deadline=None)
def test_texts_padded_apart_are_counted_apart(pairs):
    lengths = np.array(pairs)
    plan = Batches(lengths, tokens_per_batch=120, max_texts=50, seed=0).plan(0)
    for rows in plan:
        assert len(rows) * np.maximum(lengths[rows], 1).max(axis=0).sum() <= 120 or len(rows) == 1


def test_length_buckets_leave_hardly_any_padding():
    lengths = np.random.default_rng(0).integers(1, 200, 5000)
    plan = Batches(lengths, tokens_per_batch=4000, max_texts=500, seed=0).plan(0)
    padded = sum(len(rows) * lengths[rows].max() for rows in plan)
    assert padded < 1.05 * lengths.sum()
    assert len(plan) < 1.10 * padded / 4000


def test_batches_of_short_and_long_texts_come_mixed():
    lengths = np.random.default_rng(0).integers(1, 200, 5000)
    sizes = np.array([len(rows) for rows in Batches(lengths, tokens_per_batch=4000, max_texts=500, seed=0).plan(0)])
    assert abs(np.corrcoef(np.arange(len(sizes)), sizes)[0, 1]) < 0.2


def test_nothing_to_plan():
    assert len(Batches(np.empty(0), tokens_per_batch=10, max_texts=5, seed=0).plan(0)) == 0


def test_a_position_beyond_the_end_is_an_error():
    plan = Batches(np.ones(4), tokens_per_batch=2, max_texts=2, seed=0).plan(0)
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Batches(np.ones(4), tokens_per_batch=0, max_texts=2, seed=0)
