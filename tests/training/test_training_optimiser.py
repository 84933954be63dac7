from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_toys import bytes_of, some_data, toy_task

from potstill.recipe import TrainingSpec
from potstill.training.defaults import DEFAULTS, resolved
from potstill.training.optimiser import Optimiser, rate_factor


def test_warm_up_and_decay_have_these_values():
    assert rate_factor(0.05, "linear", 0.1) == pytest.approx(0.5)
    assert rate_factor(0.1, "linear", 0.1) == 1.0
    assert rate_factor(0.55, "linear", 0.1) == pytest.approx(0.5)
    assert rate_factor(1.0, "linear", 0.1) == 0.0
    assert rate_factor(0.55, "cosine", 0.1) == pytest.approx(0.5)
    assert rate_factor(0.9, "constant", 0.1) == 1.0
    assert rate_factor(0.0, "constant", 0.0) == 1.0


@given(st.floats(0, 1), st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 0.99))
def test_the_factor_stays_between_0_and_1(progress, schedule, warmup):
    assert 0.0 <= rate_factor(progress, schedule, warmup) <= 1.0


def one_step(task, optimiser, data, factor=1.0):
    batch = task.prepare(data, np.arange(12), 0)
    task.losses(task(batch), batch).total.backward()
    optimiser.step(factor)


def test_parameters_get_adamw_with_clipping_and_decay_of_matrices_only():
    data, task = some_data(), toy_task("dense")
    task.eval()  # no dropout
    optimiser = Optimiser(task, table_rate=1.0, dense_rate=0.01, weight_decay=0.1, clip=0.5)
    copy = toy_task("dense")
    copy.eval()
    tower = copy.query_tower
    reference = torch.optim.AdamW(
        [
            {"params": [tower.words, tower.out.weight], "weight_decay": 0.1},
            {"params": [tower.out.bias], "weight_decay": 0.0},
        ],
        lr=0.01 * 0.7,
    )
    for _ in range(3):
        one_step(task, optimiser, data, 0.7)
        batch = copy.prepare(data, np.arange(12), 0)
        copy.losses(copy(batch), batch).total.backward()
        torch.nn.utils.clip_grad_norm_(copy.parameters(), 0.5)
        reference.step()
        reference.zero_grad()
    for name, value in task.state_dict().items():
        torch.testing.assert_close(value, copy.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_tables_are_not_among_the_parameters_and_only_used_rows_change():
    data, task = some_data(), toy_task("head")
    optimiser = Optimiser(task, table_rate=0.1, dense_rate=0.01, weight_decay=0.5, clip=1e-9)
    before = task.query_tower.table.clone()
    one_step(task, optimiser, data)
    used = np.unique(data.query_tokens.select(np.arange(12)).ids)
    changed = (task.query_tower.table != before).any(dim=1).nonzero().squeeze(1).numpy()
    assert changed.tolist() == used.tolist()
    assert {name.split("/")[0] for name in optimiser.state_dict()} == {"rows", "dense"}
    assert task.touched() == {}


@pytest.mark.parametrize("kind", ["static", "head", "dense"])
def test_state_goes_on_in_the_same_bytes(kind):
    data = some_data()

    def run(stop_at):
        task = toy_task(kind)
        task.train()
        torch.manual_seed(0)
        rates = {"table_rate": 0.1, "dense_rate": 0.01, "weight_decay": 0.1, "clip": 1.0}
        optimiser = Optimiser(task, **rates)
        for step in range(6):
            if step == stop_at:
                saved = {name: value.clone() for name, value in optimiser.state_dict().items()}
                optimiser = Optimiser(task, **rates)
                optimiser.load_state_dict(saved)
            one_step(task, optimiser, data)
        return bytes_of(task)

    assert run(None) == run(3)


def test_defaults_fill_in_only_what_was_left_out():
    spec = resolved(TrainingSpec(epochs=9), "static")
    assert spec.epochs == 9
    assert spec.learning_rate == DEFAULTS["static"].learning_rate
    taught = {"cross-encoder", "dual-pooled", "dual-encoder", "late-interaction", "ranker", "generator"}
    assert set(DEFAULTS) == {"static", "layers", "tiny", "model", *taught}
