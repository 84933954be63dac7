"""Embedding matching and score distillation: golden values, invariants, properties, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import EmbeddingMatch, ScoreKL, inner_scores
from potstill.objectives.functional import contrastive, embedding_match, score_kl

seeds = st.integers(0, 2**31 - 1)
temperatures = st.floats(0.02, 5.0)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def unit(*shape, seed=0):
    return normalize(random(*shape, seed=seed), dim=-1)


def rotation(d, seed=0):
    return torch.linalg.qr(random(d, d, seed=seed).double())[0].float()


class TestEmbeddingMatch:
    @pytest.mark.parametrize(("metric", "value"), [("l2", math.sqrt(2)), ("squared", 2.0), ("cosine", 1.0)])
    def test_golden(self, metric, value):
        loss = embedding_match(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), metric)
        assert loss.item() == pytest.approx(value, abs=1e-6)

    @pytest.mark.parametrize("metric", ["l2", "squared", "cosine"])
    def test_a_copy_has_no_loss_and_no_gradient(self, metric):
        teacher = unit(5, 8)
        student = teacher.clone().requires_grad_()
        loss = embedding_match(student, teacher, metric)
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
        assert student.grad.abs().max() < 1e-6

    def test_l2_pulls_every_row_with_length_one(self):
        student = random(6, 4, seed=1).requires_grad_()
        embedding_match(student, random(6, 4, seed=2, scale=100), "l2", reduction="none").sum().backward()
        torch.testing.assert_close(student.grad.norm(dim=1), torch.ones(6))

    def test_unit_vectors_squared_is_two_minus_two_cosines(self):
        a, b = unit(9, 16, seed=1), unit(9, 16, seed=2)
        torch.testing.assert_close(embedding_match(a, b, "squared"), 2 * embedding_match(a, b, "cosine"))

    @pytest.mark.parametrize("metric", ["l2", "squared", "cosine"])
    def test_none_is_the_rows_of_the_mean(self, metric):
        a, b = random(7, 3, seed=1), random(7, 3, seed=2)
        rows = embedding_match(a, b, metric, reduction="none")
        assert rows.shape == (7,)
        torch.testing.assert_close(rows.mean(), embedding_match(a, b, metric))

    @settings(max_examples=25, deadline=None)
    @given(seeds)
    def test_joint_rotation_changes_nothing(self, seed):
        a, b, turn = unit(4, 6, seed=seed), unit(4, 6, seed=seed + 1), rotation(6, seed)
        for metric in ("l2", "squared", "cosine"):
            before = embedding_match(a, b, metric)
            torch.testing.assert_close(embedding_match(a @ turn, b @ turn, metric), before, atol=1e-5, rtol=1e-5)

    def test_half_precision_is_computed_in_float32(self):
        a, b = unit(4, 64, seed=1), unit(4, 64, seed=2)
        loss = embedding_match(a.bfloat16(), b.bfloat16())
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, embedding_match(a.bfloat16().float(), b.bfloat16().float()))

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"teacher must have shape \(2, 3\), not \(2, 4\)"):
            embedding_match(torch.zeros(2, 3), torch.zeros(2, 4))
        with pytest.raises(ValueError, match="student must have shape"):
            embedding_match(torch.zeros(3), torch.zeros(3))
        with pytest.raises(ValueError, match="metric"):
            embedding_match(torch.zeros(2, 3), torch.zeros(2, 3), "manhattan")
        with pytest.raises(ValueError, match="reduction"):
            embedding_match(torch.zeros(2, 3), torch.zeros(2, 3), reduction="sum")


class TestScoreKL:
    def test_golden(self):
        # p = (3/4, 1/4), q = (1/2, 1/2): KL = 0.75 ln 1.5 + 0.25 ln 0.5.
        loss = score_kl(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]))
        assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)

    def test_temperatures_divide_their_own_side(self):
        s, t = random(3, 5, seed=1), random(3, 5, seed=2)
        torch.testing.assert_close(score_kl(s, t, 0.5, 2.0), score_kl(s / 0.5, t / 2.0))
        assert not torch.allclose(score_kl(s, t, 0.5, 2.0), score_kl(s, t, 2.0, 0.5))

    def test_a_copy_has_no_loss_and_no_gradient(self):
        teacher = random(4, 7)
        student = teacher.clone().requires_grad_()
        loss = score_kl(student, teacher, 0.05, 0.05)
        loss.backward()
        assert abs(loss.item()) < 1e-6
        assert student.grad.abs().max() < 1e-5

    def test_gradient_is_the_difference_of_distributions(self):
        student, teacher = random(4, 7, seed=1).requires_grad_(), random(4, 7, seed=2)
        score_kl(student, teacher, 0.3, 0.6).backward()
        want = (torch.softmax(student / 0.3, 1) - torch.softmax(teacher / 0.6, 1)) / 0.3 / 4
        torch.testing.assert_close(student.grad, want)

    @settings(max_examples=50, deadline=None)
    @given(seeds, st.integers(1, 5), st.integers(1, 8), temperatures, temperatures)
    def test_never_negative_and_blind_to_shifts_and_order(self, seed, n, c, ts, tt):
        s, t = random(n, c, seed=seed), random(n, c, seed=seed + 1)
        loss = score_kl(s, t, ts, tt)
        assert loss.item() >= -1e-5
        shift_s, shift_t = random(n, 1, seed=seed + 2), random(n, 1, seed=seed + 3)
        torch.testing.assert_close(score_kl(s + shift_s, t + shift_t, ts, tt), loss, atol=1e-3, rtol=1e-3)
        generator = torch.Generator().manual_seed(seed)
        columns, rows = torch.randperm(c, generator=generator), torch.randperm(n, generator=generator)
        torch.testing.assert_close(
            score_kl(s[rows][:, columns], t[rows][:, columns], ts, tt), loss, atol=1e-5, rtol=1e-5
        )

    @settings(max_examples=25, deadline=None)
    @given(seeds)
    def test_masked_entries_are_as_if_absent_whatever_they_hold(self, seed):
        s, t = random(3, 6, seed=seed), random(3, 6, seed=seed + 1)
        mask = torch.tensor([True, True, False, True, False, True]).expand(3, 6)
        want = score_kl(s[:, mask[0]], t[:, mask[0]], 0.1, 0.2)
        s2, t2 = s.clone(), t.clone()
        s2[:, 2], t2[:, 2], t2[:, 4] = float("inf"), float("nan"), float("-inf")
        s2.requires_grad_()
        loss = score_kl(s2, t2, 0.1, 0.2, mask)
        torch.testing.assert_close(loss, want)
        loss.backward()
        assert s2.grad.isfinite().all()
        assert (s2.grad[:, [2, 4]] == 0).all()

    def test_a_row_with_no_candidate_is_left_out(self):
        s, t = random(3, 4, seed=1).requires_grad_(), random(3, 4, seed=2)
        mask = torch.ones(3, 4, dtype=torch.bool)
        mask[1] = False
        loss = score_kl(s, t, mask=mask)
        torch.testing.assert_close(loss, score_kl(s[[0, 2]], t[[0, 2]]))
        loss.backward()
        assert s.grad[1].abs().max() == 0
        assert score_kl(s, t, mask=mask, reduction="none")[1] == 0

    def test_nothing_counts_is_zero_with_a_graph(self):
        student = random(2, 3).requires_grad_()
        loss = score_kl(student, random(2, 3), mask=torch.zeros(2, 3, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert (student.grad == 0).all()

    def test_sharp_teachers_keep_their_gradient(self):
        student = torch.zeros(1, 3, requires_grad=True)
        loss = score_kl(student, torch.tensor([[0.0, 500.0, -500.0]]))
        loss.backward()
        assert loss.item() == pytest.approx(math.log(3), abs=1e-5)
        assert student.grad[0, 1] < -0.6

    def test_autocast_does_not_lower_the_precision(self):
        s, t = unit(8, 32, seed=1), unit(8, 32, seed=2)
        documents = unit(20, 32, seed=3)
        exact = score_kl(inner_scores(s, documents), inner_scores(t, documents), 0.02, 0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = score_kl(inner_scores(s, documents), inner_scores(t, documents), 0.02, 0.02)
        assert torch.equal(mixed, exact)

    def test_bad_input(self):
        s = torch.zeros(2, 3)
        with pytest.raises(ValueError, match="teacher must have shape"):
            score_kl(s, torch.zeros(2, 4))
        with pytest.raises(ValueError, match="mask must have shape"):
            score_kl(s, s, mask=torch.ones(3, dtype=torch.bool))
        with pytest.raises(ValueError, match="mask must be a bool"):
            score_kl(s, s, mask=torch.ones(2, 3))
        for bad in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="student_temperature"):
                score_kl(s, s, student_temperature=bad)
            with pytest.raises(ValueError, match="teacher_temperature"):
                score_kl(s, s, teacher_temperature=bad)
        with pytest.raises(ValueError, match="at least one candidate"):
            score_kl(torch.zeros(2, 0), torch.zeros(2, 0))


class TestContrastive:
    def test_constant_scores_give_the_log_of_the_number_of_candidates(self):
        # LEAD: 128 queries with one hard negative each; a cross-encoder with 15 negatives.
        assert contrastive(torch.zeros(128, 256), torch.arange(128) * 2).item() == pytest.approx(
            math.log(256), abs=1e-5
        )
        assert contrastive(torch.zeros(2, 16), torch.tensor([0, 0])).item() == pytest.approx(2.773, abs=1e-3)

    def test_is_cross_entropy(self):
        scores, positives = random(5, 9), torch.tensor([0, 3, 8, 1, 1])
        want = torch.nn.functional.cross_entropy(scores / 0.2, positives)
        torch.testing.assert_close(contrastive(scores, positives, 0.2), want)

    def test_rows_without_a_positive_are_left_out(self):
        scores = random(3, 4)
        got = contrastive(scores, torch.tensor([2, -1, 0]))
        torch.testing.assert_close(got, contrastive(scores[[0, 2]], torch.tensor([2, 0])))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="column 4"):
            contrastive(torch.zeros(2, 4), torch.tensor([0, 4]))
        mask = torch.tensor([[True, False]])
        with pytest.raises(ValueError, match="masked out"):
            contrastive(torch.zeros(1, 2), torch.tensor([1]), mask=mask)


class TestGuarantees:
    """What small matching loss promises an asymmetric student (self-contained form of Theorem 3.1)."""

    def test_lipschitz_bound_and_rank_guarantee(self):
        documents = unit(60, 16, seed=5) * 1.5
        bound = documents.norm(dim=1).max()
        teacher = unit(200, 16, seed=6)
        student = teacher + random(200, 16, seed=7, scale=0.05)
        error = embedding_match(student, teacher, reduction="none")
        st_, tt = inner_scores(student, documents), inner_scores(teacher, documents)
        for temperature in (1.0, 0.05):
            for label in range(0, 60, 7):
                positives = torch.full((200,), label)
                gap = (
                    contrastive(st_, positives, temperature, reduction="none")
                    - contrastive(tt, positives, temperature, reduction="none")
                ).abs()
                assert (gap <= 2 * bound / temperature * error + 1e-4).all()
        margin = tt.unsqueeze(2) - tt.unsqueeze(1)
        apart = torch.cdist(documents, documents)
        certified = margin > error[:, None, None] * apart + 1e-5
        kept = st_.unsqueeze(2) > st_.unsqueeze(1)
        assert certified.sum() > 1000
        assert kept[certified].all()


class TestClasses:
    def test_the_teacher_gets_no_gradient(self):
        student, teacher = random(3, 4, seed=1).requires_grad_(), random(3, 4, seed=2).requires_grad_()
        for objective in (EmbeddingMatch(), EmbeddingMatch("squared"), EmbeddingMatch("cosine"), ScoreKL()):
            objective(student, teacher).backward()
            assert teacher.grad is None
            assert student.grad.abs().sum() > 0

    def test_declared_perfect_value_is_true(self):
        teacher = unit(6, 8)
        for form in ("l2", "squared", "cosine"):
            assert EmbeddingMatch(form)(teacher, teacher).item() == pytest.approx(
                EmbeddingMatch(form).perfect_value, abs=1e-6
            )
        assert ScoreKL(0.1, 0.1)(teacher, teacher).item() == pytest.approx(ScoreKL(0.1, 0.1).perfect_value, abs=1e-6)
        assert ScoreKL(0.1, 0.2).perfect_value is None

    def test_inner_scores_takes_shared_or_own_documents(self):
        queries, documents = random(3, 4, seed=1), random(5, 4, seed=2)
        shared = inner_scores(queries, documents)
        torch.testing.assert_close(shared, queries @ documents.T)
        torch.testing.assert_close(inner_scores(queries, documents.expand(3, 5, 4)), shared)
        with pytest.raises(ValueError, match="documents"):
            inner_scores(queries, random(5, 3))
        with pytest.raises(ValueError, match="documents"):
            inner_scores(queries, random(2, 5, 4))

    def test_bad_options(self):
        with pytest.raises(ValueError, match="form must be"):
            EmbeddingMatch("manhattan")
        with pytest.raises(ValueError, match="teacher_temperature"):
            ScoreKL(teacher_temperature=0)
