"""Weights by confidence, labels and opposed gradients: golden values, and references in NumPy or by search."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import ListEnsemble, ListVote, MarginVote, PointVote
from potstill.objectives.functional import (
    confidence_weights,
    labelled_weights,
    list_labelled_weights,
    min_norm_weights,
    vote_weights,
)

NAN = float("nan")
seeds = st.integers(0, 2**31 - 1)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradient(objective, student, teacher, **context):
    student = student.clone().requires_grad_()
    (result,) = torch.autograd.grad(objective(student, teacher, **context), student)
    return result


class TestMinNorm:
    @pytest.mark.parametrize(("cap", "net"), [(1.0, 0.0), (0.6, 0.0), (0.4, 0.28), (1 / 3, 0.4)])
    def test_golden(self, cap, net):
        pulls = torch.tensor([[1.0], [0.8], [-0.6]])
        assert float(min_norm_weights(pulls, cap) @ pulls) == pytest.approx(net, abs=1e-6)

    @settings(max_examples=40, deadline=None)
    @given(seeds, st.integers(2, 4), st.floats(0, 1))
    def test_no_other_weights_are_shorter(self, seed, count, slack):
        cap = 1 / count + slack * (1 - 1 / count)
        pulls = random(count, 7, seed=seed).double()
        weights = min_norm_weights(pulls, cap).double()
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert weights.min() >= 0
        assert weights.max() <= cap + 1e-6
        found = (weights @ pulls).norm()
        grid = np.linspace(0, 1, 13)
        for others in itertools.product(grid, repeat=count - 1):
            all_of = torch.tensor([*others, 1 - sum(others)], dtype=torch.float64)
            if all_of.min() >= 0 and all_of.max() <= cap:
                assert found <= (all_of @ pulls).norm() + 1e-6

    def test_a_cap_below_the_mean_cannot_hold(self):
        with pytest.raises(ValueError, match="between 1/3"):
            min_norm_weights(torch.ones(3, 2), 0.2)

    def test_the_mean_at_its_cap(self):
        student, teachers = random(6, 5, seed=1), random(3, 6, 5, seed=2)
        torch.testing.assert_close(
            ListEnsemble(form="min-norm", cap=1 / 3).target(student, teachers), ListEnsemble().target(student, teachers)
        )

    def test_the_step_is_no_longer_than_the_mean_s(self):
        student, teachers = random(6, 5, seed=1), random(3, 6, 5, seed=2)
        lengths = [
            gradient(ListEnsemble(form="min-norm", cap=cap), student, teachers).norm() for cap in (1.0, 0.6, 0.4, 0.34)
        ]
        assert sorted(lengths) == lengths
        assert lengths[-1] <= gradient(ListEnsemble(), student, teachers).norm() + 1e-6


class TestConfidence:
    def test_ca_mkd_by_hand(self):
        errors = torch.tensor([[0.2], [1.5], [0.7]])
        soft = np.exp([0.2, 1.5, 0.7]) / np.exp([0.2, 1.5, 0.7]).sum()
        found = confidence_weights(torch.full((3, 1), 1 / 3), errors)
        assert found.squeeze(1).numpy() == pytest.approx((1 - soft) / 2, abs=1e-6)

    def test_the_ensemble_reads_labels(self):
        student, teachers = random(2, 4, seed=1), random(3, 2, 4, seed=2)
        labels = torch.tensor([[0.0, 1.0, 0.0, 2.0], [NAN, NAN, 0.0, 0.0]])
        p = torch.softmax(teachers, dim=2).double().numpy()
        errors = -0.5 * (np.log(p[:, 0, 1]) + np.log(p[:, 0, 3]))
        weights = (1 - np.exp(errors) / np.exp(errors).sum()) / 2
        found = ListEnsemble(form="confidence").target(student, teachers, labels=labels)
        assert found[0].numpy() == pytest.approx(np.einsum("k,kc->c", weights, p[:, 0]), abs=1e-5)
        assert found[1].numpy() == pytest.approx(p[:, 1].mean(axis=0), abs=1e-6)  # no label: the mean

    def test_inside_the_kept_set(self):
        base = torch.tensor([[0.5, 1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
        errors = torch.tensor([[0.1, 3.0, 1.0], [2.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
        found = confidence_weights(base, errors)
        soft = np.exp([0.1, 2.0]) / np.exp([0.1, 2.0]).sum()
        assert found[:, 0].numpy() == pytest.approx([*(1 - soft), 0.0], abs=1e-6)
        assert found[:, 1].tolist() == [1.0, 0.0, 0.0]  # one alone keeps its weight
        assert found[:, 2].tolist() == [0.0, 0.0, 0.0]

    def test_an_unknown_label_leaves_the_base(self):
        base = torch.full((2, 1), 0.5)
        assert torch.equal(confidence_weights(base, torch.full((2, 1), NAN)), base)


class TestGovernCa:
    Z = torch.tensor([[2.0], [1.0], [-0.5]])
    Z_S = torch.tensor([0.4])

    def test_direction_keeps_the_side_of_the_label(self):
        assert labelled_weights(self.Z_S, self.Z, torch.tensor([1.0])).squeeze(1).tolist() == [0.5, 0.5, 0.0]
        assert labelled_weights(self.Z_S, self.Z, torch.tensor([0.0])).squeeze(1).tolist() == [0.0, 0.0, 1.0]
        far = torch.tensor([3.0])
        assert labelled_weights(far, self.Z, torch.tensor([1.0])).sum() == 0  # empty: the label alone teaches

    @pytest.mark.parametrize("form", PointVote.forms)
    def test_an_empty_set_has_no_gradient(self, form):
        by_label = PointVote(form, labelled="direction")
        pull = gradient(by_label, torch.tensor([3.0]), self.Z, labels=torch.tensor([1.0]))
        assert (pull == 0).all()

    def test_confidence_weighs_winners(self):
        label = torch.tensor([1.0])
        errors = np.log1p(np.exp([-2.0, -1.0]))
        soft = np.exp(errors) / np.exp(errors).sum()
        want = 2 * (0.4 - ((1 - soft) * [2.0, 1.0]).sum())
        found = gradient(PointVote(labelled="confidence"), self.Z_S, self.Z, labels=label)
        assert found.item() == pytest.approx(want, abs=1e-5)

    @pytest.mark.parametrize("labelled", ["confidence", "direction"])
    def test_without_labels_both_are_the_vote(self, labelled):
        student, teachers = random(5, 4, seed=1), random(3, 5, 4, seed=2)
        unknown = torch.full((5, 4), NAN)
        for plain, ours in ((ListVote(), ListVote(labelled=labelled)), (MarginVote(), MarginVote(labelled=labelled))):
            torch.testing.assert_close(ours(student, teachers, labels=unknown), plain(student, teachers))
            torch.testing.assert_close(ours(student, teachers), plain(student, teachers))

    def test_lists_follow_the_label(self):
        own = torch.tensor([[0.25, 0.25, 0.25, 0.25]])
        theirs = torch.tensor([[[0.7, 0.1, 0.1, 0.1]], [[0.1, 0.7, 0.1, 0.1]], [[0.4, 0.4, 0.1, 0.1]]])
        label = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        assert list_labelled_weights(own, theirs, label).squeeze(1).tolist() == [0.5, 0.0, 0.5]
        assert list_labelled_weights(own, theirs, torch.zeros(1, 4)).sum() == 0

    def test_a_majority_that_is_wrong_together_is_overruled(self):
        """The vote follows two inverted teachers of three; the label does not."""
        right = torch.tensor([[2.0, 0.0, 0.0]])
        teachers = torch.stack([right, -right, -right])
        labels = torch.tensor([[1.0, 0.0, 0.0]])
        student = torch.zeros(1, 3)
        assert gradient(ListVote(), student, teachers)[0, 0] > 0  # down
        assert gradient(ListVote(labelled="direction"), student, teachers, labels=labels)[0, 0] < 0
        assert gradient(MarginVote(labelled="direction"), student, teachers, labels=labels)[0, 0] < 0

    def test_margins_between_equal_grades_have_no_label(self):
        student, teachers = random(1, 3, seed=1), random(3, 1, 3, seed=2)
        same = torch.zeros(1, 3)
        torch.testing.assert_close(
            MarginVote(labelled="direction")(student, teachers, labels=same), MarginVote()(student, teachers)
        )


class TestControls:
    @settings(max_examples=30, deadline=None)
    @given(seeds)
    def test_points(self, seed):
        student, teachers = random(40, seed=seed), random(3, 40, seed=seed + 1)
        vote = gradient(PointVote(), student, teachers)
        mean = gradient(PointVote(soft_temperature=1.0, soft_sharpness=0.0), student, teachers)
        far = gradient(PointVote(matched="mean"), student, teachers)
        near = gradient(PointVote(matched="vote"), student, teachers)
        clear = (mean.abs() > 1e-4) & (vote.abs() > 1e-4)
        assert torch.equal(far.sign()[clear], mean.sign()[clear])
        torch.testing.assert_close(far.abs()[clear], vote.abs()[clear], rtol=1e-3, atol=1e-5)
        assert torch.equal(near.sign()[clear], vote.sign()[clear])
        torch.testing.assert_close(near.abs()[clear], mean.abs()[clear], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("form", ["bce", "probability"])
    def test_squashed_points(self, form):
        student, teachers = random(9, seed=3), random(3, 9, seed=4)
        vote = gradient(PointVote(form), student, teachers)
        mean = gradient(PointVote(form, soft_temperature=1.0, soft_sharpness=0.0), student, teachers)
        found = gradient(PointVote(form, matched="mean"), student, teachers)
        torch.testing.assert_close(found, mean.sign() * vote.abs(), rtol=1e-3, atol=1e-6)

    def test_lists(self):
        student, teachers = random(8, 5, seed=5, scale=2), random(3, 8, 5, seed=6, scale=2)
        vote, mean = gradient(ListVote(), student, teachers), gradient(ListEnsemble(), student, teachers)
        far, near = (gradient(ListVote(matched=which), student, teachers) for which in ("mean", "vote"))
        cosine = torch.nn.functional.cosine_similarity
        torch.testing.assert_close(cosine(far, mean, dim=1), torch.ones(8))
        torch.testing.assert_close(far.norm(dim=1), vote.norm(dim=1))
        torch.testing.assert_close(cosine(near, vote, dim=1), torch.ones(8))
        torch.testing.assert_close(near.norm(dim=1), mean.norm(dim=1))

    def test_a_unanimous_vote_is_the_mean_either_way(self):
        student, teachers = torch.zeros(6), random(3, 6, seed=7).abs() + 0.1
        plain = PointVote()(student, teachers)
        for matched in ("mean", "vote"):
            torch.testing.assert_close(PointVote(matched=matched)(student, teachers), plain)
        assert (vote_weights(student, teachers) == 1 / 3).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PointVote(labelled="b"), "labelled must be one of confidence, direction"),
        (lambda: ListVote(matched="both"), "matched must be one of mean, vote"),
        (lambda: ListEnsemble(form="min-norm", cap=0.0), "cap must be above 0"),
    ],
)
def test_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
