"""Processes that train as one, batches that are encoded in parts: the gradient is that of the whole batch at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_toys import KINDS, QUERIES, gradients, layer_task

from potstill.training.gradient_cache import CachedPasses, cached_backward
from potstill.training.passes import Pass, encoded, joined

CHILD = Path(__file__).with_name("gloo_child.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rankers")


def whole_batch(folder: Path, kind: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    task, data = layer_task(folder, kind)
    batch = task.prepare(data, np.arange(QUERIES), 0)
    losses = task.losses(task(batch), batch)
    losses.total.backward()
    assert all(value > 0 for value in losses.terms.values())
    return losses.total.detach(), gradients(task)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Student and teacher apart: the difference is 1e-5 of the whole gradient's length, in the mean over numbers."""
    assert found.keys() == expected.keys()
    for part in ("query_tower.", "ranked."):
        names = [name for name in expected if name.startswith(part)]
        ours, theirs = (torch.cat([held[name].double().flatten() for name in names]) for held in (found, expected))
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm()), part


@pytest.mark.parametrize("at_once", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(folder, kind, at_once):
    loss, expected = whole_batch(folder, kind)
    (folder / "meet").unlink(missing_ok=True)
    (folder / "found.pt").unlink(missing_ok=True)
    children = [
        subprocess.Popen([sys.executable, str(CHILD), str(folder), kind, str(rank), "2", str(at_once)])
        for rank in range(2)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    found = torch.load(folder / "found.pt", weights_only=True)
    torch.testing.assert_close(found.pop("loss"), loss, rtol=1e-5, atol=1e-6)
    same(found, expected)


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_encoded_in_parts_has_the_gradient_of_the_whole(folder, kind, at_once):
    loss, expected = whole_batch(folder, kind)
    task, data = layer_task(folder, kind)
    batch = task.prepare(data, np.arange(QUERIES), 0)
    cached = CachedPasses(task.passes(batch), at_once)
    losses = task.losses(task.assembled(cached.values, batch), batch)
    losses.total.backward()
    assert not gradients(task)
    cached.spread()
    torch.testing.assert_close(losses.total.detach(), loss, rtol=1e-5, atol=1e-6)
    same(gradients(task), expected)


def test_dropout_drops_the_same_numbers_in_both_encodings():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    inputs = torch.randn(10, 4)
    seen: list[torch.Tensor] = []

    def run(start: int, stop: int) -> tuple[torch.Tensor]:
        seen.append(layer(inputs[start:stop]))
        return (seen[-1],)

    state = torch.get_rng_state()
    cached_backward([Pass("x", 10, run)], lambda values: values["x"][0].square().sum(), 3)
    assert len(seen) == 8
    for first, second in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(first, second)
    torch.set_rng_state(state)
    for part in seen[:4]:  # what is drawn afterwards goes on where the first encodings ended
        layer(torch.zeros_like(part))
    after = torch.rand(1)
    torch.set_rng_state(state)
    cached_backward([Pass("x", 10, run)], lambda values: values["x"][0].square().sum(), 3)
    assert torch.equal(torch.rand(1), after)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 13), st.integers(0, 1000))
def test_any_loss_of_embeddings_can_be_cached(count, at_once, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    passes = [Pass("x", count, lambda start, stop: ((inputs[start:stop] @ weight).tanh(),))]

    def loss(values):
        (vectors,) = values["x"]
        return torch.logsumexp(vectors @ vectors.T, dim=1).sum()

    loss(encoded(passes)).backward()
    expected, weight.grad = weight.grad, None
    value = cached_backward(passes, loss, at_once)
    torch.testing.assert_close(weight.grad, expected)
    torch.testing.assert_close(value, loss(encoded(passes)).detach())


def test_stretches_of_unequal_width_are_filled_up_with_nothing():
    parts = [
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)),
        (torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)),
    ]
    vectors, mask = joined(parts)
    assert vectors.tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert mask.tolist() == [[True] * 3, [True] * 3, [True, False, False]]
