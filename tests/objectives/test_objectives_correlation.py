"""Correlation of scores: golden values, what it does not see, soft ranks, constant rows, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import ScoreCorrelation
from potstill.objectives import _correlation as correlation
from potstill.objectives.functional import score_cmkd, score_correlation, soft_ranks

seeds = st.integers(0, 2**31 - 1)
FORMS = {
    "pearson": lambda s, t, mask=None, **more: score_correlation(s, t, mask=mask, **more),
    "spearman": lambda s, t, mask=None, **more: score_correlation(s, t, "spearman", mask=mask, **more),
    "cmkd": lambda s, t, mask=None, **more: score_cmkd(s, t, mask=mask, **more),
}


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def everything(*shape):
    return torch.ones(*shape, dtype=torch.bool)


class TestGolden:
    def test_pearson(self):
        # Deviations (-1, 0, 1) and (-1, 1, 0): correlation 1/2. And the reverse order: -1.
        rows = score_correlation(
            torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]),
            torch.tensor([[0.0, 2.0, 1.0], [9.0, 5.0, 1.0]]),
            reduction="none",
        )
        torch.testing.assert_close(rows, torch.tensor([0.5, 2.0]))

    def test_pearson_is_the_coefficient_of_the_textbook(self):
        s, t = random(6, 9, seed=1), random(6, 9, seed=2, scale=30)
        want = [1 - torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(s, t, strict=True)]
        torch.testing.assert_close(score_correlation(s, t, reduction="none"), torch.stack(want))

    def test_spearman_with_sharp_ranks(self):
        # Differences of ranks 2, 0, 1, 3: rho = 1 - 6 (4 + 0 + 1 + 9) / (n (n^2 - 1)) = -0.4.
        s, t = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[2.0, 1.0, 50.0, 0.0]])
        ranks = correlation.exact_ranks(t, everything(1, 4))
        torch.testing.assert_close(ranks, torch.tensor([[3.0, 2.0, 4.0, 1.0]]))
        assert score_correlation(s, t, "spearman", 1e-3).item() == pytest.approx(1.4, abs=1e-5)

    def test_cmkd_mixes_by_difficulty(self):
        s, t = random(5, 6, seed=1), random(5, 6, seed=2)
        p = torch.softmax(t / 0.7, dim=1)
        hard = -(p * p.log()).sum(dim=1) / math.log(6)
        values, ranks = (score_correlation(s, t, kind, reduction="none") for kind in ("pearson", "spearman"))
        torch.testing.assert_close(score_cmkd(s, t, 0.7, reduction="none"), (1 - hard) * values + hard * ranks)

    def test_cmkd_at_both_ends_of_difficulty(self):
        s, t = random(5, 6, seed=1), random(5, 6, seed=2)
        torch.testing.assert_close(score_cmkd(s, t, 1e-4), score_correlation(s, t, "pearson"))
        torch.testing.assert_close(score_cmkd(s, t, 1e4), score_correlation(s, t, "spearman"), atol=1e-5, rtol=1e-5)

    def test_cmkd_counts_the_candidates_that_count(self):
        s, t = random(3, 5, seed=1), random(3, 5, seed=2)
        mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] + [True] * 4])
        rows = score_cmkd(s, t, mask=mask, reduction="none")
        torch.testing.assert_close(rows[1], score_cmkd(s[1:2, :3], t[1:2, :3]))
        torch.testing.assert_close(rows[2], score_cmkd(s[2:, 1:], t[2:, 1:]))


class TestSoftRanks:
    def test_golden(self):
        got = soft_ranks(torch.tensor([[0.0, math.log(3)]]), 1.0)
        torch.testing.assert_close(got, torch.tensor([[1.25, 1.75]]))

    @settings(max_examples=50, deadline=None)
    @given(seeds, st.integers(1, 9), st.booleans())
    def test_go_to_the_exact_ranks_ties_included(self, seed, c, ties):
        noise = random(3, c, seed=seed)
        order = torch.randperm(c, generator=torch.Generator().manual_seed(seed))
        scores = noise.round() if ties else order + 0.1 * noise.clamp(-3, 3)
        mask = random(3, c, seed=seed + 1) > -0.7
        got = soft_ranks(scores, 1e-6, mask)
        want = torch.where(mask, correlation.exact_ranks(scores, mask), 0.0)
        torch.testing.assert_close(got, want, atol=1e-3, rtol=0)

    def test_exact_ranks_are_argsort_ranks(self):
        scores = random(4, 20, seed=3)
        want = scores.argsort(dim=1).argsort(dim=1) + 1.0
        torch.testing.assert_close(correlation.exact_ranks(scores, everything(4, 20)), want)

    @settings(max_examples=25, deadline=None)
    @given(seeds, st.floats(0.01, 10))
    def test_their_sum_is_exact_and_their_order_that_of_the_scores(self, seed, temperature):
        scores = random(2, 7, seed=seed)
        ranks = soft_ranks(scores, temperature)
        torch.testing.assert_close(ranks.sum(dim=1), torch.full((2,), 28.0))
        assert (ranks.gather(1, scores.argsort(dim=1)).diff(dim=1) >= -1e-5).all()

    def test_gradient(self):
        scores, mask = random(2, 6).double().requires_grad_(), random(2, 6, seed=1) > -0.7
        assert torch.autograd.gradcheck(lambda s: soft_ranks(s, 0.8, mask), (scores,), eps=1e-2, atol=2e-3, rtol=2e-3)

    def test_in_pieces_as_whole(self, monkeypatch):
        def value_and_gradient():
            scores = random(3, 11, seed=4).requires_grad_()
            ranks = soft_ranks(scores, 0.3, random(3, 11, seed=5) > -0.7)
            (ranks * random(3, 11, seed=6)).sum().backward()
            return ranks.detach(), scores.grad

        whole = value_and_gradient()
        for pairs in (1, 70, 200):
            monkeypatch.setattr(correlation, "PAIRS", pairs)
            torch.testing.assert_close(value_and_gradient(), whole)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="temperature"):
            soft_ranks(torch.zeros(1, 2), 0.0)
        with pytest.raises(ValueError, match="scores must have shape"):
            soft_ranks(torch.zeros(2), 1.0)


@pytest.mark.parametrize("form", FORMS)
class TestInvariants:
    @settings(max_examples=40, deadline=None)
    @given(seeds, st.integers(3, 9), st.floats(0.01, 100), st.floats(-5, 5))
    def test_blind_to_scale_and_offset_of_the_student(self, form, seed, c, scale, offset):
        s, t = random(3, c, seed=seed), random(3, c, seed=seed + 1)
        loss = FORMS[form](s, t)
        assert -1e-6 <= loss.item() <= 2 + 1e-6
        torch.testing.assert_close(FORMS[form](scale * (s + offset), t), loss, atol=1e-3, rtol=1e-3)

    @settings(max_examples=25, deadline=None)
    @given(seeds, st.integers(3, 9))
    def test_the_order_of_candidates_and_rows_is_nothing(self, form, seed, c):
        s, t = random(4, c, seed=seed), random(4, c, seed=seed + 1)
        generator = torch.Generator().manual_seed(seed)
        columns, rows = torch.randperm(c, generator=generator), torch.randperm(4, generator=generator)
        got = FORMS[form](s[rows][:, columns], t[rows][:, columns])
        torch.testing.assert_close(got, FORMS[form](s, t), atol=1e-5, rtol=1e-5)

    def test_masked_entries_are_as_if_absent_whatever_they_hold(self, form):
        s, t = random(3, 7, seed=1), random(3, 7, seed=2)
        mask = torch.tensor([True, True, False, True, False, True, True]).expand(3, 7)
        want = FORMS[form](s[:, mask[0]], t[:, mask[0]])
        s[:, 2], t[:, 2], t[:, 4] = float("inf"), float("nan"), float("-inf")
        s.requires_grad_()
        loss = FORMS[form](s, t, mask)
        torch.testing.assert_close(loss, want)
        loss.backward()
        assert s.grad.isfinite().all()
        assert (s.grad[:, [2, 4]] == 0).all()

    def test_gradient(self, form):
        s, t = random(3, 5, seed=1).double().requires_grad_(), random(3, 5, seed=2).double()
        mask = torch.tensor([[True] * 5, [True, False, True, True, True], [True] * 5])
        sharp = {} if form == "pearson" else {"rank_temperature": 0.7}
        assert torch.autograd.gradcheck(
            lambda s: FORMS[form](s, t, mask, **sharp), (s,), eps=1e-2, atol=3e-3, rtol=3e-3
        )

    def test_gradient_is_across_what_is_not_seen(self, form):
        """Neither an offset nor a scale of the student's row is pulled at."""
        s = random(4, 8, seed=1).requires_grad_()
        FORMS[form](s, random(4, 8, seed=2)).backward()
        assert s.grad.sum(dim=1).abs().max() < 1e-6
        assert (s.grad * s).sum(dim=1).abs().max() < 1e-6

    def test_a_constant_teacher_says_nothing(self, form):
        s, t = random(4, 5, seed=1).requires_grad_(), random(4, 5, seed=2)
        t[1], t[3] = 0.7, 0.0
        rows = FORMS[form](s, t, reduction="none")
        assert rows[1] == rows[3] == 0
        loss = FORMS[form](s, t)
        torch.testing.assert_close(loss, FORMS[form](s[[0, 2]], t[[0, 2]]))
        loss.backward()
        assert (s.grad[[1, 3]] == 0).all()

    def test_rows_with_fewer_than_two_candidates_are_left_out(self, form):
        s, t = random(3, 4, seed=1), random(3, 4, seed=2)
        mask = torch.tensor([[True] * 4, [False, True, False, False], [False] * 4])
        torch.testing.assert_close(FORMS[form](s, t, mask), FORMS[form](s[:1], t[:1]))
        alone = FORMS[form](s[:, :1].clone().requires_grad_(), t[:, :1])
        alone.backward()
        assert alone.item() == 0

    @pytest.mark.parametrize("level", [0.0, 0.7, -123.4])
    def test_a_constant_student_has_value_one_and_no_gradient(self, form, level):
        t = random(3, 300, seed=2)
        s = torch.full((3, 300), level)
        s[1] += 1e-7 * level * random(300, seed=3).sign()  # no more than rounding
        s[2] = random(300, seed=4)
        s.requires_grad_()
        rows = FORMS[form](s, t, reduction="none")
        torch.testing.assert_close(rows[:2], torch.ones(2))
        rows.sum().backward()
        assert (s.grad[:2] == 0).all()
        assert s.grad[2].isfinite().all()
        assert (s.grad[2] != 0).any()

    @pytest.mark.parametrize("scale", [1e-25, 1e25])
    def test_scores_of_any_size(self, form, scale):
        s, t = random(3, 6, seed=1), random(3, 6, seed=2)
        leaf = (s * scale).requires_grad_()
        loss, want = FORMS[form](leaf, t), FORMS[form](s, t)
        torch.testing.assert_close(loss, want)
        loss.backward()
        assert leaf.grad.isfinite().all()

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    def test_broken_scores_that_count_are_not_taken_for_constant_ones(self, form, bad):
        s, t = random(3, 5, seed=1), random(3, 5, seed=2)
        broken = s.clone()
        broken[1, 2] = bad
        assert FORMS[form](broken, t).isnan()
        assert FORMS[form](s, torch.where(broken == s, t, bad)).isnan()

    def test_half_precision_is_computed_in_float32(self, form):
        s, t = random(3, 5, seed=1).bfloat16(), random(3, 5, seed=2).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = FORMS[form](s, t)
        assert loss.dtype == torch.float32
        assert torch.equal(loss, FORMS[form](s.float(), t.float()))

    def test_bad_input(self, form):
        with pytest.raises(ValueError, match="teacher must have shape"):
            FORMS[form](torch.zeros(2, 3), torch.zeros(2, 4))
        with pytest.raises(ValueError, match="mask must be a bool"):
            FORMS[form](torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3))
        with pytest.raises(ValueError, match="needs candidates"):
            FORMS[form](torch.zeros(2, 0), torch.zeros(2, 0))
        with pytest.raises(ValueError, match="reduction"):
            FORMS[form](torch.zeros(2, 3), torch.zeros(2, 3), reduction="sum")
        with pytest.raises(ValueError, match="rank_temperature"):
            ScoreCorrelation(form, rank_temperature=0)


def test_a_long_constant_row_is_still_constant():
    s = torch.full((2, 50_000), 0.7, requires_grad=True)
    loss = score_correlation(s, random(2, 50_000))
    loss.backward()
    assert loss.item() == 1
    assert (s.grad == 0).all()


class TestSpearman:
    @settings(max_examples=25, deadline=None)
    @given(seeds)
    def test_sees_the_order_of_the_teacher_alone(self, seed):
        s, t = random(3, 8, seed=seed), random(3, 8, seed=seed + 1)
        want = score_correlation(s, t, "spearman")
        torch.testing.assert_close(score_correlation(s, t.exp(), "spearman"), want)
        torch.testing.assert_close(score_correlation(s, 5 * t - 2, "spearman"), want)

    def test_a_copy_is_near_the_minimum(self):
        t = random(50, 30)
        values = [score_correlation(t, t, "spearman", temperature).item() for temperature in (0.3, 0.1, 0.01, 1e-4)]
        assert values == sorted(values, reverse=True)
        assert values[1] < 0.005
        assert values[-1] < 1e-5

    def test_descent_recovers_the_order(self):
        t = random(4, 10, seed=2)
        s = random(4, 10, seed=1).requires_grad_()
        optimizer = torch.optim.Adam([s], lr=0.05)
        for _ in range(300):
            optimizer.zero_grad()
            score_correlation(s, t, "spearman").backward()
            optimizer.step()
        assert torch.equal(s.argsort(dim=1), t.argsort(dim=1))


class TestClass:
    @pytest.mark.parametrize("form", ScoreCorrelation.forms)
    def test_is_its_function(self, form):
        s, t, mask = random(3, 6, seed=1), random(3, 6, seed=2), random(3, 6, seed=3) > -1
        got = ScoreCorrelation(form, 0.2, 0.3)(s, t, mask=mask)
        want = score_cmkd(s, t, 0.3, 0.2, mask) if form == "cmkd" else score_correlation(s, t, form, 0.2, mask)
        assert torch.equal(got, want)

    def test_bad_options(self):
        with pytest.raises(ValueError, match="form must be one of pearson, spearman, cmkd"):
            ScoreCorrelation("kendall")
        with pytest.raises(ValueError, match="teacher_temperature"):
            ScoreCorrelation("cmkd", teacher_temperature=-1)
        with pytest.raises(ValueError, match="kind must be"):
            score_correlation(torch.zeros(1, 3), torch.zeros(1, 3), "kendall")
        with pytest.raises(ValueError, match="teacher_temperature"):
            score_cmkd(torch.zeros(1, 3), torch.zeros(1, 3), 0)
