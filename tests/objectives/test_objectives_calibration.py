"""A temperature without labels: reached on any scale, whatever is left out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import calibrate_temperature


class TestCalibration:
    @settings(max_examples=25, deadline=None)
    @given(st.floats(1.5, 90.0), st.floats(1e-3, 1e3), st.floats(-50, 50))
    def test_reaches_the_perplexity_on_any_scale(self, perplexity, scale, offset):
        scores = torch.randn(64, 100, generator=torch.Generator().manual_seed(0)).double()
        found = calibrate_temperature(scores * scale + offset, perplexity)
        assert found.perplexity == pytest.approx(perplexity, rel=1e-3)
        p = torch.softmax((scores * scale + offset) / found.temperature, 1)
        reached = (-(p * p.clamp(min=1e-300).log()).sum(1)).exp().median().item()
        assert reached == pytest.approx(perplexity, rel=1e-3)
        assert found.top1_mass == pytest.approx(p.amax(1).median().item())
        assert (found.rows, found.constant_rows) == (64, 0)

    def test_follows_the_scale_of_the_teacher(self):
        scores = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
        narrow, wide = calibrate_temperature(scores * 0.01), calibrate_temperature(scores)
        assert wide.temperature == pytest.approx(100 * narrow.temperature, rel=1e-4)

    def test_masked_and_constant_rows(self):
        scores = torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
        holed = torch.cat([scores, torch.full((64, 5), float("nan"))], dim=1)
        holed[:3] = 1.0
        mask = torch.arange(55).expand(64, 55) < 50
        found = calibrate_temperature(holed, 10.0, mask)
        assert found.constant_rows == 3
        assert found.temperature == calibrate_temperature(scores[3:], 10.0).temperature

    def test_bad_input(self):
        scores = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
        with pytest.raises(ValueError, match="constant"):
            calibrate_temperature(torch.ones(4, 10))
        with pytest.raises(ValueError, match="NaN"):
            calibrate_temperature(scores.masked_fill(scores > 1, math.nan))
        with pytest.raises(ValueError, match="out of reach: these candidates allow 1 to 10"):
            calibrate_temperature(scores, 16.0)
        with pytest.raises(ValueError, match="above 1"):
            calibrate_temperature(scores, 1.0)
