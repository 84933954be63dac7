"""Nucleus sampling by inversion: the right distribution, and chance that belongs to the text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.queries.sampling import Draws, nucleus_draw, uniforms

LOGITS = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]]))


def drawn(chance: list[float], top_p: float, temperature: float = 1.0) -> list[int]:
    rows = LOGITS.expand(len(chance), -1)
    return nucleus_draw(rows, torch.tensor(chance, dtype=torch.float64), top_p, temperature).tolist()


def test_by_hand():
    # In falling order: token 1 has [0, 0.5), 3 has [0.5, 0.75), 2 has [0.75, 0.9), 0 the rest.
    assert drawn([0.0, 0.49, 0.51, 0.74, 0.76, 0.89, 0.91, 0.999999], 1.0) == [1, 1, 3, 3, 2, 2, 0, 0]
    # A nucleus of 0.7 is {1, 3}, shared out 2 : 1.
    assert drawn([0.0, 0.66, 0.67, 0.999999], 0.7) == [1, 1, 3, 3]
    assert drawn([0.0, 0.5, 0.999999], 0.5) == [1, 1, 1]
    assert drawn([0.999999], 1e-9) == [1], "the most probable token is always in the nucleus"


def test_temperature():
    # Squared and normalised: 0.25, 0.0625, 0.0225, 0.01 of 0.345.
    assert drawn([0.72, 0.73, 0.90, 0.91, 0.97, 0.98], 1.0, 0.5) == [1, 3, 3, 2, 2, 0]


@settings(max_examples=100, deadline=None)
@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12),
    top_p=st.floats(0.05, 1.0),
    temperature=st.floats(0.3, 3.0),
)
def test_a_grid_of_numbers_gives_the_distribution(logits: list[float], top_p: float, temperature: float):
    count = 2000
    chance = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    rows = torch.tensor([logits]).expand(count, -1)
    found = np.bincount(nucleus_draw(rows, chance, top_p, temperature).numpy(), minlength=len(logits)) / count
    p = np.exp(np.array(logits, dtype=np.float64) / temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    if np.abs(before - top_p).min() < 1e-4:  # float32 may see the border of the nucleus elsewhere
        return
    gaps = np.diff(np.sort(p))
    if ((gaps > 0) & (gaps < 1e-6)).any():  # nor can it tell which of two nearly equal ones comes first
        return
    nucleus = np.zeros_like(p)
    nucleus[order[before < top_p]] = p[order[before < top_p]]
    assert np.abs(found - nucleus / nucleus.sum()).max() <= 1 / count + 1e-5


def test_forbidden_tokens_are_never_drawn():
    logits = torch.tensor([[0.0, float("-inf"), 0.0, float("-inf")]]).expand(100, -1)
    chance = torch.linspace(0, 0.999999, 100, dtype=torch.float64)
    assert set(nucleus_draw(logits, chance, 1.0, 1.0).tolist()) == {0, 2}


def test_the_processor_leaves_one_token_and_moves_on():
    draws = Draws(torch.tensor([[0.1, 0.6], [0.95, 0.1]], dtype=torch.float64), 1.0, 1.0)
    first = draws(torch.zeros(2, 1, dtype=torch.int64), LOGITS.expand(2, -1))
    second = draws(torch.zeros(2, 2, dtype=torch.int64), LOGITS.expand(2, -1))
    assert first.argmax(dim=1).tolist() == [1, 0]
    assert second.argmax(dim=1).tolist() == [3, 1]
    assert torch.isfinite(first).sum().item() == 2


def test_chance_belongs_to_text_seed_sample_and_step():
    own = uniforms("peat", 0, 3, 5)
    assert own.shape == (3, 5)
    assert np.array_equal(own, uniforms("peat", 0, 3, 5))
    assert len(np.unique(own)) == 15
    for other in (uniforms("malt", 0, 3, 5), uniforms("peat", 1, 3, 5)):
        assert not np.isin(other, own).any()
    assert ((own >= 0) & (own < 1)).all()


@pytest.mark.parametrize("text", ["", "\ud800", "高い山"])
def test_any_text_has_numbers(text: str):
    assert np.isfinite(uniforms(text, 0, 1, 2)).all()
