"""Votes of teachers: golden values, derived properties of the specification, holes, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import ListVote, MarginVote, PointVote
from potstill.objectives.functional import list_vote_weights, score_kl, soft_vote_weights, vote_weights

seeds = st.integers(0, 2**31 - 1)
Z = torch.tensor([[2.0], [1.0], [-0.5]])
Z_S = torch.tensor([0.4])


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradient(objective, student, teacher, **context):
    student = student.clone().requires_grad_()
    (result,) = torch.autograd.grad(objective(student, teacher, **context), student)
    return result


class TestGolden:
    def test_weights(self):
        assert vote_weights(Z_S, Z).squeeze().tolist() == [0.5, 0.5, 0.0]

    def test_squared_error_pulls_to_the_mean_of_those_kept(self):
        assert gradient(PointVote("logit"), Z_S, Z).item() == pytest.approx(2 * (0.4 - 1.5), abs=1e-6)
        mean = PointVote("logit", soft_temperature=1.0, soft_sharpness=0.0)
        assert gradient(mean, Z_S, Z).item() == pytest.approx(2 * (0.4 - 2.5 / 3), abs=1e-6)

    def test_bce(self):
        assert gradient(PointVote("bce"), Z_S, Z).item() == pytest.approx(0.598688 - 0.805928, abs=1e-6)

    def test_probability(self):
        p = 0.598688
        assert gradient(PointVote("probability"), Z_S, Z).item() == pytest.approx(
            2 * (p - 0.805928) * p * (1 - p), abs=1e-6
        )

    def test_normaliser(self):
        by_all = PointVote("logit", normaliser="teachers")
        assert gradient(by_all, Z_S, Z).item() == pytest.approx(-2.2 * 2 / 3, abs=1e-6)

    def test_soft_vote_example(self):
        teachers = torch.tensor([[-1.0], [0.2], [0.5], [0.9], [6.0]])
        z = torch.zeros(1)
        for _ in range(4000):
            z = z - 0.05 * gradient(PointVote("logit", soft_temperature=0.5, soft_sharpness=8.0), z, teachers)
        assert z.item() == pytest.approx(0.602, abs=2e-3)

    def test_hard_vote_chatters_around_the_median(self):
        teachers = torch.tensor([[-1.0], [0.2], [0.5], [0.9], [6.0]])
        # The figures are those of half the squared error: rate x (target - z) a step.
        for rate, low, high in ((0.2, 0.403, 0.882), (0.05, 0.493, 0.592), (0.01, 0.494, 0.519)):
            z, tail = torch.zeros(1), []
            for step in range(2000):
                z = z - rate / 2 * gradient(PointVote("logit"), z, teachers)
                if step >= 1500:
                    tail.append(z.item())
            assert min(tail) == pytest.approx(low, abs=1e-3)
            assert max(tail) == pytest.approx(high, abs=1e-3)


class TestProperties:
    @settings(max_examples=40, deadline=None)
    @given(seeds, st.integers(1, 7), st.integers(1, 20))
    def test_columns_are_weights(self, seed, k, n):
        student, teachers = random(n, seed=seed), random(k, n, seed=seed + 1)
        for weights in (
            vote_weights(student, teachers),
            soft_vote_weights(student, teachers, 0.3, 6.0),
            list_vote_weights(
                torch.softmax(random(n, 5, seed=seed), 1), torch.softmax(random(k, n, 5, seed=seed + 1), 2)
            ),
        ):
            assert (weights >= 0).all()
            torch.testing.assert_close(weights.sum(0), torch.ones(n))
            assert not weights.requires_grad

    @settings(max_examples=40, deadline=None)
    @given(seeds, st.integers(1, 7))
    def test_invariances(self, seed, k):
        student, teachers = random(30, seed=seed), random(k, 30, seed=seed + 1)
        weights = vote_weights(student, teachers)
        order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(vote_weights(student, teachers[order]), weights[order])
        # Powers of two and doubles: adding and scaling must not round two numbers into one.
        assert torch.equal(vote_weights(student * 4, teachers * 4), weights)
        assert torch.equal(
            vote_weights(student.double().exp().float(), teachers.double().exp().float()) > 0, weights > 0
        )
        twice = vote_weights(student, torch.cat([teachers, teachers]))
        torch.testing.assert_close(twice[:k] + twice[k:], weights)
        soft = soft_vote_weights(student, teachers, 0.3, 6.0)
        torch.testing.assert_close(soft_vote_weights(student + 1, teachers + 1, 0.3, 6.0), soft, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(soft_vote_weights(student, teachers[order], 0.3, 6.0), soft[order])

    @settings(max_examples=40, deadline=None)
    @given(seeds, st.sampled_from([3, 5, 7]))
    def test_odd_numbers_pull_towards_the_median(self, seed, k):
        student, teachers = random(50, seed=seed), random(k, 50, seed=seed + 1)
        pull = -gradient(PointVote("logit"), student, teachers)
        assert torch.equal(pull.sign(), (teachers.median(0).values - student).sign())

    @pytest.mark.parametrize("form", ["logit", "bce", "probability"])
    def test_unanimity_is_the_mean_ensemble(self, form):
        student = random(40, seed=1)
        teachers = student + random(5, 40, seed=2).abs() * random(40, seed=3).sign()
        vote, mean = PointVote(form), PointVote(form, soft_temperature=1.0, soft_sharpness=0.0)
        torch.testing.assert_close(vote(student, teachers), mean(student, teachers))
        torch.testing.assert_close(gradient(vote, student, teachers), gradient(mean, student, teachers))

    def test_two_of_five_corrupted_never_flip_a_unanimous_vote(self):
        student, sign = random(500, seed=1), random(500, seed=3).sign()
        teachers = student + random(5, 500, seed=2).abs() * sign
        teachers[:2] = random(2, 500, seed=4, scale=100)
        assert torch.equal(-gradient(PointVote("logit"), student, teachers).sign(), sign)
        mean = PointVote("logit", soft_temperature=1.0, soft_sharpness=0.0)
        assert (-gradient(mean, student, teachers).sign() == sign).float().mean() < 0.9

    def test_a_step_is_never_shorter_than_the_mean_ensembles_in_the_same_direction(self):
        student, teachers = random(2000, seed=1), random(5, 2000, seed=2)
        step = (vote_weights(student, teachers) * teachers).sum(0) - student
        mean = teachers.mean(0) - student
        same = step.sign() == mean.sign()
        assert 0.85 < same.float().mean() < 0.99
        assert (step.abs() >= mean.abs() - 1e-6)[same].all()
        # A minority far enough away carries the mean further, the other way: no bound holds there.
        far = torch.tensor([[0.1], [0.1], [-9.0]])
        assert (vote_weights(torch.zeros(1), far) * far).sum().item() == pytest.approx(0.1)

    def test_condorcet(self):
        right = torch.rand(7, 40_000, generator=torch.Generator().manual_seed(0)) < 0.7
        for k, share in ((3, 0.784), (5, 0.837), (7, 0.874)):
            teachers = torch.where(right[:k], 1.0, -1.0)
            pull = -gradient(PointVote("logit"), torch.zeros(40_000), teachers)
            assert (pull > 0).float().mean().item() == pytest.approx(share, abs=0.01)

    def test_one_teacher_is_ordinary_distillation(self):
        student, teacher = random(9, seed=1), random(1, 9, seed=2)
        torch.testing.assert_close(PointVote()(student, teacher), (student - teacher[0]).square().mean())

    def test_equal_teachers_and_student_rest(self):
        student = random(9, seed=1)
        assert (gradient(PointVote(), student, student.expand(4, 9)) == 0).all()

    def test_tie_is_the_mean_ensemble_or_nobody(self):
        student, teachers = torch.zeros(2), torch.tensor([[1.0, 1], [2, 2], [-1, 3], [-4, 4]])
        assert vote_weights(student, teachers).T.tolist() == [[0.25] * 4] * 2
        assert vote_weights(student, teachers, tie="drop").T.tolist() == [[0.0] * 4, [0.25] * 4]
        dropped = PointVote(tie="drop")(student, teachers)
        assert dropped.item() == pytest.approx((1 + 4 + 9 + 16) / 4)

    def test_a_dropped_teacher_has_no_influence(self):
        before = gradient(PointVote(), Z_S, Z)
        for value in (-0.6, -80.0, 0.39):
            assert torch.equal(gradient(PointVote(), Z_S, torch.tensor([[2.0], [1.0], [value]])), before)

    def test_dead_zone(self):
        teachers = torch.tensor([[0.41], [0.42], [-3.0]])
        assert vote_weights(Z_S, teachers).squeeze().tolist() == [0.5, 0.5, 0]
        assert vote_weights(Z_S, teachers, dead_zone=0.1).squeeze().tolist() == [0, 0, 1]

    def test_the_soft_vote_has_the_hard_one_and_the_mean_as_limits(self):
        student, teachers = random(50, seed=1), random(5, 50, seed=2)
        torch.testing.assert_close(soft_vote_weights(student, teachers, 1e-6, 1e4), vote_weights(student, teachers))
        torch.testing.assert_close(soft_vote_weights(student, teachers, 0.5, 0.0), torch.full((5, 50), 0.2))

    def test_holes_are_no_votes_whatever_they_hold(self):
        student, teachers = random(20, seed=1), random(4, 20, seed=2)
        mask = torch.rand(4, 20, generator=torch.Generator().manual_seed(3)) < 0.6
        mask[:, 0] = False
        holed = torch.where(mask, teachers, float("nan"))
        for weigh in (vote_weights, lambda *a, **k: soft_vote_weights(*a, 0.3, 5.0, **k)):
            weights = weigh(student, holed, mask=mask)
            assert (weights[~mask] == 0).all()
            assert (weights[:, 0] == 0).all()
            for i in range(1, 20):
                if mask[:, i].any():
                    alone = weigh(student[[i]], teachers[mask[:, i]][:, [i]])
                    torch.testing.assert_close(weights[mask[:, i], i], alone[:, 0])
        for form in PointVote.forms:
            pull = gradient(PointVote(form), student, holed, mask=mask)
            assert pull.isfinite().all()
            assert pull[0] == 0


class TestMargins:
    def test_blind_to_an_offset_of_a_query(self):
        student, teachers = random(4, 6, seed=1), random(3, 4, 6, seed=2)
        value = MarginVote()(student, teachers)
        moved = MarginVote()(student + random(4, 1, seed=3), teachers + random(3, 4, 1, seed=4))
        torch.testing.assert_close(moved, value, atol=1e-4, rtol=1e-4)

    def test_is_the_scalar_vote_on_differences(self):
        student, teachers = random(4, 6, seed=1), random(3, 4, 6, seed=2)
        reference = torch.tensor([0, 3, 5, 1])
        rows = torch.arange(4)
        others = torch.ones(4, 6, dtype=torch.bool)
        others[rows, reference] = False
        want = PointVote()(
            (student[rows, reference].unsqueeze(1) - student)[others],
            (teachers[:, rows, reference].unsqueeze(2) - teachers)[:, others],
        )
        torch.testing.assert_close(MarginVote()(student, teachers, reference=reference), want)

    def test_padding_and_holes(self):
        student, teachers = random(2, 4, seed=1), random(3, 2, 4, seed=2)
        want = MarginVote()(student[:, :3], teachers[:, :, :3])
        padded = student.clone()
        padded[:, 3] = float("-inf")
        mask = torch.tensor([True, True, True, False]).expand(2, 4)
        torch.testing.assert_close(MarginVote()(padded, teachers, mask=mask), want)
        assert gradient(MarginVote(), padded, teachers, mask=mask).isfinite().all()
        # A teacher without the reference says nothing about any pair of that query.
        holes = torch.ones(3, 2, 4, dtype=torch.bool)
        holes[2, :, 0] = False
        torch.testing.assert_close(MarginVote()(student, teachers, mask=holes), MarginVote()(student, teachers[:2]))


class TestLists:
    def test_two_candidates_are_the_scalar_rule(self):
        for k in (3, 4, 5, 7):
            p_s, p = torch.rand(200, generator=torch.Generator().manual_seed(k)), None
            p = torch.rand(k, 200, generator=torch.Generator().manual_seed(k + 50))
            lists = list_vote_weights(torch.stack([p_s, 1 - p_s], -1), torch.stack([p, 1 - p], -1))
            assert torch.equal(lists, vote_weights(p_s, p))

    def test_target_is_a_distribution_and_the_gradient_sums_to_zero(self):
        student, teachers = random(6, 9, seed=1), random(5, 6, 9, seed=2)
        for objective in (ListVote(), ListVote(0.5, 0.5, soft_temperature=0.3)):
            torch.testing.assert_close(objective.target(student, teachers).sum(1), torch.ones(6))
            pull = gradient(objective, student, teachers)
            torch.testing.assert_close(pull.sum(1), torch.zeros(6), atol=1e-6, rtol=0)
            assert pull.abs().max() > 0.01

    def test_one_teacher_is_score_distillation(self):
        student, teachers = random(6, 9, seed=1), random(1, 6, 9, seed=2)
        torch.testing.assert_close(ListVote(0.3, 0.7)(student, teachers), score_kl(student, teachers[0], 0.3, 0.7))

    def test_an_inverted_teacher_is_dropped(self):
        truth = random(400, 16, seed=1)
        teachers = truth + random(5, 400, 16, seed=2, scale=0.4)
        teachers[4] = -truth + random(400, 16, seed=3, scale=0.4)
        student = torch.zeros(400, 16)
        weights = list_vote_weights(torch.softmax(student, 1), torch.softmax(teachers, 2))
        assert (weights[4] > 0).float().mean() < 0.06
        assert (weights[:4] > 0).float().mean() > 0.97
        vote = ListVote().target(student, teachers)
        mean = ListVote(soft_temperature=1.0, soft_sharpness=0.0).target(student, teachers)

        def away(target):
            return score_kl(target.log(), truth).item()

        assert away(vote) < away(mean) / 2

    def test_duplicates_order_and_unanimity(self):
        student, teachers = random(30, 8, seed=1), random(3, 30, 8, seed=2)
        target = ListVote().target(student, teachers)
        torch.testing.assert_close(ListVote().target(student, torch.cat([teachers, teachers])), target)
        torch.testing.assert_close(ListVote().target(student, teachers[[2, 0, 1]]), target)
        near = random(1, 30, 8, seed=3) + random(3, 30, 8, seed=4, scale=0.01)
        torch.testing.assert_close(ListVote().target(student, near), torch.softmax(near, 2).mean(0))

    def test_masks(self):
        student, teachers = random(6, 9, seed=1), random(3, 6, 9, seed=2)
        mask = torch.ones(6, 9, dtype=torch.bool)
        mask[:, 7:] = False
        holed = teachers.clone()
        holed[:, :, 7:] = float("nan")
        torch.testing.assert_close(
            ListVote()(student, holed, mask=mask), ListVote()(student[:, :7], teachers[:, :, :7])
        )
        silent = torch.ones(3, 6, dtype=torch.bool)
        silent[2] = False
        holed[2] = float("nan")
        got = ListVote()(student, holed, mask=mask, teacher_mask=silent)
        torch.testing.assert_close(got, ListVote()(student[:, :7], teachers[:2, :, :7]))
        silent[:, 0] = False
        got = ListVote()(student, holed, mask=mask, teacher_mask=silent)
        torch.testing.assert_close(got, ListVote()(student[1:, :7], teachers[:2, 1:, :7]))

    def test_soft_vote_leans_to_the_hard_one(self):
        p_s, p = torch.softmax(random(50, 6, seed=1), 1), torch.softmax(random(5, 50, 6, seed=2), 2)
        soft = list_vote_weights(p_s, p, soft=(0.1, 8.0))
        hard = list_vote_weights(p_s, p)
        assert (soft * (hard == 0)).sum(0).mean() < 0.2
        torch.testing.assert_close(list_vote_weights(p_s, p, soft=(0.1, 0.0)), torch.full((5, 50), 0.2))


def test_declared_perfect_values_are_true():
    teacher = random(1, 40, seed=2)
    assert PointVote("logit")(teacher[0], teacher).item() == PointVote("logit").perfect_value == 0
    assert PointVote("probability")(teacher[0], teacher).item() == PointVote("probability").perfect_value
    p = torch.sigmoid(teacher[0])
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean()
    assert PointVote("bce").perfect_value == "teacher entropy"
    torch.testing.assert_close(PointVote("bce")(teacher[0], teacher), entropy)
    lists = random(1, 4, 6, seed=3)
    assert ListVote()(lists[0], lists).item() == pytest.approx(0, abs=1e-6)
    assert MarginVote()(lists[0], lists).item() == 0


def test_bad_input():
    with pytest.raises(ValueError, match="teachers must have shape"):
        vote_weights(torch.zeros(3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="at least one teacher"):
        vote_weights(torch.zeros(3), torch.zeros(0, 3))
    with pytest.raises(ValueError, match="tie"):
        vote_weights(torch.zeros(3), torch.zeros(2, 3), tie="coin")
    with pytest.raises(ValueError, match="dead_zone"):
        vote_weights(torch.zeros(3), torch.zeros(2, 3), dead_zone=-1)
    with pytest.raises(ValueError, match="mask must have shape"):
        vote_weights(torch.zeros(3), torch.zeros(2, 3), mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="temperature"):
        soft_vote_weights(torch.zeros(3), torch.zeros(2, 3), 0.0, 1.0)
    with pytest.raises(ValueError, match="sharpness"):
        soft_vote_weights(torch.zeros(3), torch.zeros(2, 3), 1.0, -1.0)
    with pytest.raises(ValueError, match="teachers must have shape"):
        list_vote_weights(torch.zeros(3, 4), torch.zeros(2, 3, 5))
    for bad in ({"form": "rank"}, {"tie": "coin"}, {"normaliser": "none"}, {"dead_zone": -1}, {"soft_temperature": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            PointVote(**bad)
    with pytest.raises(ValueError, match="soft_sharpness"):
        ListVote(soft_sharpness=math.inf)
    with pytest.raises(ValueError, match="form"):
        MarginVote("logit")
    with pytest.raises(ValueError, match="teacher must have shape"):
        MarginVote()(torch.zeros(2, 3), torch.zeros(2, 3))
