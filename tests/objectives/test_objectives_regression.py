"""Regression on scores, the error filter, the scaled KL, the one-hot loss as an objective."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import Contrastive, ScoreKL, ScoreRegression, inner_scores
from potstill.objectives.functional import (
    contrastive,
    keep_wrong,
    margin_mse,
    relation_cross_entropy,
    relation_summary,
    score_kl,
    score_mse,
)

seeds = st.integers(0, 2**31 - 1)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def smooth(function, *inputs):
    """Gradients against finite differences; the maths is float32, so steps are wide."""
    return torch.autograd.gradcheck(function, inputs, eps=1e-2, atol=2e-3, rtol=2e-3)


class TestScoreMSE:
    def test_golden(self):
        loss = score_mse(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 3.0]]))
        assert loss.item() == pytest.approx((2.5 + 4.5) / 2)

    def test_mean_over_a_rows_entries_then_over_rows(self):
        s, t = random(2, 4, seed=1), random(2, 4, seed=2)
        mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
        want = ((s[0, 0] - t[0, 0]) ** 2 + ((s[1] - t[1]) ** 2).mean()) / 2
        torch.testing.assert_close(score_mse(s, t, mask), want)

    def test_gradient(self):
        s, t = random(3, 4, seed=1).double().requires_grad_(), random(3, 4, seed=2).double().requires_grad_()
        mask = random(3, 4, seed=3) > -0.5
        assert smooth(lambda s, t: score_mse(s, t, mask), s, t)


class TestMarginMSE:
    def test_golden(self):
        # Margins 1 and 3 against 0 and 5: squares 1 and 4.
        loss = margin_mse(torch.tensor([[4.0, 3.0, 1.0]]), torch.tensor([[5.0, 5.0, 0.0]]))
        assert loss.item() == pytest.approx(2.5)

    def test_positives_in_any_column(self):
        s, t = random(4, 5, seed=1), random(4, 5, seed=2)
        swapped = torch.tensor([3, 1, 2, 0, 4])
        want = margin_mse(s, t)
        got = margin_mse(s[:, swapped], t[:, swapped], positives=torch.full((4,), 3))
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(margin_mse(s, t, positives=torch.zeros(4, dtype=torch.long)), want)

    def test_rows_without_a_positive_or_a_negative_are_left_out(self):
        s, t = random(4, 3, seed=1), random(4, 3, seed=2)
        mask = torch.tensor([[True] * 3, [False, True, True], [True, False, False], [True, True, False]])
        rows = margin_mse(s, t, mask, reduction="none")
        assert rows[1] == rows[2] == 0
        torch.testing.assert_close(margin_mse(s, t, mask), (rows[0] + rows[3]) / 2)
        positives = torch.tensor([1, -1, 0, -1])
        rows = margin_mse(s, t, positives=positives, reduction="none")
        assert rows[1] == rows[3] == 0
        torch.testing.assert_close(margin_mse(s, t, positives=positives), (rows[0] + rows[2]) / 2)

    def test_a_row_that_is_left_out_may_hold_anything(self):
        s, t = random(2, 3, seed=1), random(2, 3, seed=2)
        s[1] = float("nan")
        s.requires_grad_()
        margin_mse(s, t, positives=torch.tensor([0, -1])).backward()
        assert s.grad.isfinite().all()

    def test_one_candidate_is_no_margin(self):
        s = random(3, 1).requires_grad_()
        loss = margin_mse(s, random(3, 1, seed=1))
        loss.backward()
        assert loss.item() == 0
        assert (s.grad == 0).all()

    def test_gradient(self):
        s, t = random(3, 4, seed=1).double().requires_grad_(), random(3, 4, seed=2).double().requires_grad_()
        mask = torch.tensor([[True, True, False, True], [True] * 4, [True, False, False, True]])
        assert smooth(lambda s, t: margin_mse(s, t, mask), s, t)
        assert smooth(lambda s: margin_mse(s, t.detach(), positives=torch.tensor([2, -1, 0])), s)

    @settings(max_examples=50, deadline=None)
    @given(seeds, st.integers(2, 7))
    def test_blind_to_shifts_and_to_the_order_of_negatives(self, seed, c):
        s, t = random(3, c, seed=seed), random(3, c, seed=seed + 1)
        want = margin_mse(s, t)
        shifted = margin_mse(s + random(3, 1, seed=seed + 2), t + random(3, 1, seed=seed + 3))
        torch.testing.assert_close(shifted, want, atol=1e-4, rtol=1e-4)
        order = torch.cat([torch.tensor([0]), 1 + torch.randperm(c - 1, generator=torch.Generator().manual_seed(seed))])
        torch.testing.assert_close(margin_mse(s[:, order], t[:, order]), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", [score_mse, margin_mse])
class TestBoth:
    def test_a_copy_has_no_loss_and_no_gradient(self, function):
        teacher = random(4, 5)
        student = teacher.clone().requires_grad_()
        loss = function(student, teacher)
        loss.backward()
        assert loss.item() == 0
        assert (student.grad == 0).all()

    def test_masked_entries_are_as_if_absent_whatever_they_hold(self, function):
        s, t = random(3, 6, seed=1), random(3, 6, seed=2)
        mask = torch.tensor([True, True, False, True, False, True]).expand(3, 6)
        want = function(s[:, mask[0]], t[:, mask[0]])
        s[:, 2], t[:, 2], t[:, 4] = float("inf"), float("nan"), float("-inf")
        s.requires_grad_()
        loss = function(s, t, mask)
        torch.testing.assert_close(loss, want)
        loss.backward()
        assert s.grad.isfinite().all()
        assert (s.grad[:, [2, 4]] == 0).all()

    def test_nothing_counts_is_zero_with_a_graph(self, function):
        s = random(2, 3).requires_grad_()
        loss = function(s, random(2, 3), torch.zeros(2, 3, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert (s.grad == 0).all()

    def test_half_precision_is_computed_in_float32(self, function):
        s, t = random(3, 5, seed=1).bfloat16(), random(3, 5, seed=2).bfloat16()
        assert function(s, t).dtype == torch.float32
        torch.testing.assert_close(function(s, t), function(s.float(), t.float()))

    def test_bad_input(self, function):
        with pytest.raises(ValueError, match="teacher must have shape"):
            function(torch.zeros(2, 3), torch.zeros(2, 4))
        with pytest.raises(ValueError, match="mask must be a bool"):
            function(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3))
        with pytest.raises(ValueError, match="at least one candidate"):
            function(torch.zeros(2, 0), torch.zeros(2, 0))
        with pytest.raises(ValueError, match="reduction"):
            function(torch.zeros(2, 3), torch.zeros(2, 3), reduction="sum")


def test_bad_positives():
    with pytest.raises(ValueError, match="column 3"):
        margin_mse(torch.zeros(1, 3), torch.zeros(1, 3), positives=torch.tensor([3]))
    with pytest.raises(ValueError, match="masked out"):
        margin_mse(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[True, False]]), positives=torch.tensor([1]))


class TestKeepWrong:
    # Ranks of the positive, column 0: 1, 3, 2, 4, 2.
    TEACHER = torch.tensor([[9.0, 1, 2, 3], [5.0, 6, 7, 1], [5.0, 6, 1, 1], [0.0, 1, 2, 3], [5.0, 1, 6, 1]])

    @pytest.mark.parametrize(
        ("fraction", "rows"),
        [
            (0.0, [0]),
            (0.25, [0, 2]),
            (0.5, [0, 2, 4]),
            (0.75, [0, 1, 2, 4]),
            (1.0, [0, 1, 2, 3, 4]),
        ],
    )
    def test_golden(self, fraction, rows):
        kept = keep_wrong(self.TEACHER, torch.zeros(5, dtype=torch.long), fraction)
        assert kept.nonzero().flatten().tolist() == rows

    def test_rows_without_a_positive_are_kept_and_do_not_count_as_wrong(self):
        kept = keep_wrong(self.TEACHER, torch.tensor([0, -1, 0, -1, 0]), 0.5)
        assert kept.tolist() == [True, True, True, True, False]
        assert keep_wrong(self.TEACHER, torch.full((5,), -1), 0.0).all()

    def test_a_tie_is_no_error(self):
        assert keep_wrong(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([0, 1]), 0.0).all()

    def test_masked_candidates_beat_nobody(self):
        mask = torch.tensor([[True, False, True, True]]).expand(5, 4)
        teacher = self.TEACHER.masked_fill(~mask, float("nan"))
        kept = keep_wrong(teacher, torch.zeros(5, dtype=torch.long), 0.0, mask)
        assert kept.tolist() == [True, False, True, False, False]

    @settings(max_examples=50, deadline=None)
    @given(seeds, st.integers(1, 30), st.integers(1, 6), st.floats(0, 1))
    def test_counts_and_order(self, seed, n, c, fraction):
        teacher = random(n, c, seed=seed).round()
        positives = torch.randint(-1, c, (n,), generator=torch.Generator().manual_seed(seed))
        kept = keep_wrong(teacher, positives, fraction)
        above = [0 if p < 0 else int((row > row[p]).sum()) for row, p in zip(teacher, positives, strict=True)]
        wrong = sorted((a, i) for i, a in enumerate(above) if a)
        want = {i for i, a in enumerate(above) if not a} | {i for _, i in wrong[: int(fraction * len(wrong) + 0.5)]}
        assert set(kept.nonzero().flatten().tolist()) == want

    def test_bad_input(self):
        positives = torch.zeros(5, dtype=torch.long)
        for bad in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match="fraction must be 0 to 1"):
                keep_wrong(self.TEACHER, positives, bad)
        with pytest.raises(ValueError, match="column 4"):
            keep_wrong(self.TEACHER, positives + 4, 0.5)
        with pytest.raises(ValueError, match="masked out"):
            keep_wrong(self.TEACHER, positives, 0.5, torch.zeros(5, 4, dtype=torch.bool))
        with pytest.raises(ValueError, match="positives must have shape"):
            keep_wrong(self.TEACHER, positives[:2], 0.5)


class TestScaledKL:
    def test_the_factor_is_the_product_of_the_temperatures(self):
        s, t = random(3, 4, seed=1), random(3, 4, seed=2)
        value = ScoreKL(2.0, 3.0, scale_by_temperature=True)(s, t)
        torch.testing.assert_close(value, 6 * score_kl(s, t, 2.0, 3.0))

    def test_the_gradient_keeps_its_size_at_high_temperatures(self):
        """Hinton's limit: (s - t) / c for rows that sum to 0."""
        s, t = random(1, 5, seed=1), random(1, 5, seed=2)
        s, t = (s - s.mean()).requires_grad_(), t - t.mean()
        for temperature in (100.0, 1000.0):
            (gradient,) = torch.autograd.grad(ScoreKL(temperature, temperature, scale_by_temperature=True)(s, t), s)
            torch.testing.assert_close(gradient, (s - t).detach() / 5, atol=2e-2, rtol=2e-2)

    def test_must_be_a_truth_value(self):
        with pytest.raises(ValueError, match="true or false, not 'yes'"):
            ScoreKL(scale_by_temperature="yes")


def test_kl_over_a_fixed_matrix_is_distillation_through_the_teachers_classifier():
    student, teacher, classes = random(4, 6, seed=1), random(4, 6, seed=2), random(9, 6, seed=3)
    got = score_kl(inner_scores(student, classes), inner_scores(teacher, classes), 0.5, 0.5)
    entropy = relation_summary(student, teacher, classes, 0.5).entropy.mean()
    torch.testing.assert_close(got, relation_cross_entropy(student, teacher, classes, 0.5, 0.5) - entropy)


class TestClasses:
    def test_they_are_their_functions(self):
        s, t, positives = random(3, 4, seed=1), random(3, 4, seed=2), torch.tensor([1, -1, 3])
        mask = torch.tensor([[True] * 4, [True] * 4, [False, True, True, True]])
        assert torch.equal(ScoreRegression()(s, t, mask=mask), score_mse(s, t, mask))
        assert torch.equal(ScoreRegression("margin-mse")(s, t, mask=mask), margin_mse(s, t, mask))
        got = ScoreRegression("margin-mse")(s, t, positives=positives, mask=mask)
        assert torch.equal(got, margin_mse(s, t, mask, positives=positives))
        assert torch.equal(Contrastive()(s, positives, mask=mask), contrastive(s, positives, 0.05, mask))

    def test_needs(self):
        assert ScoreRegression("margin-mse").needs_positives
        assert not ScoreRegression("mse").needs_positives
        assert Contrastive().needs_positives
        assert Contrastive().signals == frozenset()

    def test_one_hot_is_the_log_of_the_candidates_where_scores_say_nothing(self):
        assert Contrastive(0.3)(torch.zeros(4, 8), torch.arange(4)).item() == pytest.approx(math.log(8))

    def test_bad_options(self):
        with pytest.raises(ValueError, match="form must be one of mse, margin-mse"):
            ScoreRegression("huber")
        with pytest.raises(ValueError, match="temperature must be a positive"):
            Contrastive(0.0)
