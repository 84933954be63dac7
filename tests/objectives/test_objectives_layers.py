"""Layers: weights, KL against an independent NumPy reference, layer draws."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives import LayerRankings, pair_layers
from potstill.objectives.functional import contrastive, layer_kl, layer_weights, score_kl

seeds = st.integers(0, 2**31 - 1)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def numpy_layers(student, teacher, positives, tau=10.0):
    """The layer term as the specification states it, in float64."""
    student, teacher = student.double().numpy(), teacher.double().numpy()

    def log_softmax(z):
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    losses = [-log_softmax(z)[np.arange(len(positives)), positives].mean() for z in teacher]
    w = np.exp(-np.array(losses) / tau)
    w /= w.sum()
    p, q = log_softmax(teacher), log_softmax(student)
    return sum(wk * (np.exp(pk) * (pk - qk)).sum(-1).mean() for wk, pk, qk in zip(w, p, q, strict=True)), w


class TestWeights:
    def test_golden(self):
        weights = layer_weights(torch.tensor([2.4537, 3.8403, 2.6707]))
        assert weights.tolist() == pytest.approx([0.3510, 0.3055, 0.3435], abs=1e-4)

    def test_facts(self):
        assert layer_weights(torch.full((4,), 3.0)).tolist() == [0.25] * 4
        weights = layer_weights(torch.tensor([5.0, 15.0]))
        assert (weights[0] / weights[1]).item() == pytest.approx(math.e, rel=1e-5)
        assert layer_weights(torch.tensor([7.0])).item() == 1
        losses = torch.tensor([3.0, 1.0, 2.0])
        torch.testing.assert_close(layer_weights(losses, 1e6), torch.full((3,), 1 / 3))
        torch.testing.assert_close(layer_weights(losses, 1e-3), torch.tensor([0.0, 1.0, 0.0]))
        assert not layer_weights(losses.requires_grad_()).requires_grad

    def test_bad_input(self):
        with pytest.raises(ValueError, match="teacher_losses"):
            layer_weights(torch.zeros(2, 2))
        with pytest.raises(ValueError, match="temperature"):
            layer_weights(torch.zeros(2), 0.0)


class TestLayerKL:
    def test_equals_the_numpy_reference(self):
        student, teacher = random(3, 5, 8, seed=1, scale=4), random(3, 5, 8, seed=2, scale=4)
        positives = torch.tensor([0, 2, 4, 6, 1])
        value, weights = numpy_layers(student, teacher, positives.numpy())
        objective = LayerRankings()
        assert objective(student, teacher, positives=positives).item() == pytest.approx(value, rel=1e-5)
        assert objective.weights(teacher, positives=positives).tolist() == pytest.approx(weights.tolist(), rel=1e-5)

    def test_a_copy_has_no_loss(self):
        teacher = random(3, 5, 8, seed=2)
        assert layer_kl(teacher, teacher, layer_weights(torch.tensor([1.0, 2, 3]))).item() == pytest.approx(0, abs=1e-6)
        assert LayerRankings().perfect_value == 0

    @settings(max_examples=25, deadline=None)
    @given(seeds)
    def test_never_negative_and_invariant(self, seed):
        student, teacher = random(2, 4, 6, seed=seed), random(2, 4, 6, seed=seed + 1)
        weights = layer_weights(random(2, seed=seed + 2))
        value = layer_kl(student, teacher, weights)
        assert value.item() >= -1e-6
        shifts = random(2, 4, 1, seed=seed + 3), random(2, 4, 1, seed=seed + 4)
        torch.testing.assert_close(
            layer_kl(student + shifts[0], teacher + shifts[1], weights), value, atol=1e-5, rtol=1e-4
        )
        generator = torch.Generator().manual_seed(seed)
        rows, columns = torch.randperm(4, generator=generator), torch.randperm(6, generator=generator)
        torch.testing.assert_close(
            layer_kl(student[:, rows][:, :, columns], teacher[:, rows][:, :, columns], weights), value
        )

    def test_gradients(self):
        """5.3.5: to the student w (p_S - p_T) / Q; to a teacher that is trained w / Q p_T (log p_T - log p_S - KL)."""
        student, teacher = random(2, 4, 6, seed=1).requires_grad_(), random(2, 4, 6, seed=2).requires_grad_()
        weights = layer_weights(torch.tensor([1.0, 4.0]))
        layer_kl(student, teacher, weights).backward()
        p, q = torch.log_softmax(teacher.detach(), -1), torch.log_softmax(student.detach(), -1)
        w = weights[:, None, None] / 4
        torch.testing.assert_close(student.grad, w * (q.exp() - p.exp()))
        kl = (p.exp() * (p - q)).sum(-1, keepdim=True)
        torch.testing.assert_close(teacher.grad, w * p.exp() * (p - q - kl), atol=1e-6, rtol=1e-5)

    def test_one_layer_and_equal_losses(self):
        student, teacher = random(3, 4, 6, seed=1), random(3, 4, 6, seed=2)
        one = layer_kl(student[:1], teacher[:1], layer_weights(torch.tensor([2.0])))
        torch.testing.assert_close(one, score_kl(student[0], teacher[0]))
        kls = torch.stack([score_kl(s, t) for s, t in zip(student, teacher, strict=True)])
        torch.testing.assert_close(layer_kl(student, teacher, layer_weights(torch.ones(3))), kls.sum() / 3)
        torch.testing.assert_close(LayerRankings("uniform")(student, teacher), kls.mean())

    def test_teacher_equal_to_student_leaves_twice_the_contrastive_loss(self):
        scores, positives = random(5, 8, seed=1), torch.tensor([0, 1, 2, 3, 4])
        one = contrastive(scores, positives)
        total = 2 * one + score_kl(scores, scores) + LayerRankings()(scores[None], scores[None], positives=positives)
        torch.testing.assert_close(total, 2 * one)

    def test_masked_candidates_are_as_if_absent(self):
        student, teacher = random(2, 4, 6, seed=1), random(2, 4, 6, seed=2)
        mask = torch.ones(4, 6, dtype=torch.bool)
        mask[:, 4:] = False
        teacher_holes = teacher.clone()
        teacher_holes[:, :, 4:] = float("nan")
        positives = torch.tensor([0, 1, 2, 3])
        got = LayerRankings()(student, teacher_holes, positives=positives, mask=mask)
        torch.testing.assert_close(got, LayerRankings()(student[:, :, :4], teacher[:, :, :4], positives=positives))
        mask[1] = False
        rows = layer_kl(student, teacher, torch.tensor([0.5, 0.5]), mask, reduction="none")
        assert rows.shape == (4,)
        assert rows[1] == 0
        torch.testing.assert_close(layer_kl(student, teacher, torch.tensor([0.5, 0.5]), mask), rows.sum() / 3)

    def test_agreement_prefers_layers_near_the_last(self):
        last = random(5, 8, seed=1)
        layers = torch.stack([random(5, 8, seed=2, scale=3), last + random(5, 8, seed=3, scale=0.1), last])
        objective = LayerRankings("agreement", temperature=0.1)
        weights = objective.weights(layers, last=last)
        assert weights[0] < weights[1] < weights[2]
        assert not objective.needs_positives
        assert objective(layers, layers, last=last).item() == pytest.approx(0, abs=1e-6)

    def test_bad_input(self):
        a = torch.zeros(2, 3, 4)
        for args, message in (
            ((a, torch.zeros(2, 3, 5), torch.ones(2)), "teacher must have shape"),
            ((a, a, torch.ones(3)), "weights must have shape"),
            ((a, a, torch.ones(2), torch.ones(2, 3, 4, dtype=torch.bool)), "mask must have shape"),
            ((torch.zeros(2, 3, 0), torch.zeros(2, 3, 0), torch.ones(2)), "at least one candidate"),
        ):
            with pytest.raises(ValueError, match=message):
                layer_kl(*args)
        with pytest.raises(ValueError, match="needs positives"):
            LayerRankings()(a, a)
        with pytest.raises(ValueError, match="needs `last`"):
            LayerRankings("agreement")(a, a)
        with pytest.raises(ValueError, match="form"):
            LayerRankings("best")


class TestPairs:
    def test_random_is_ordered_private_and_held(self):
        global_state = torch.random.get_rng_state()
        draws = [pair_layers(6, 12, 5, seed=3, step=step) for step in range(40)]
        assert torch.equal(torch.random.get_rng_state(), global_state)
        for start in range(0, 40, 10):
            assert len(set(draws[start : start + 10])) == 1
        assert len(set(draws)) > 2
        assert draws[20] == pair_layers(6, 12, 5, seed=3, step=25)
        assert any(draws[s] != pair_layers(6, 12, 5, seed=4, step=s) for s in range(40))
        for pairs in draws:
            for blocks, depth in ((pairs.student, 6), (pairs.teacher, 12)):
                assert list(blocks) == sorted(set(blocks))
                assert set(blocks) <= set(range(depth))
                assert len(blocks) == 5

    def test_expected_indices_and_presence_of_the_last(self):
        draws = [pair_layers(6, 12, 5, seed=1, step=s, every=1) for s in range(6000)]
        for side, depth, want in (
            ("student", 6, (0.17, 1.33, 2.5, 3.67, 4.83)),
            ("teacher", 12, (1.17, 3.33, 5.5, 7.67, 9.83)),
        ):
            assert np.mean([getattr(d, side) for d in draws], axis=0).tolist() == pytest.approx(want, abs=0.12), depth
        both = np.mean([d.student[-1] == 5 and d.teacher[-1] == 11 for d in draws])
        assert both == pytest.approx(25 / 72, abs=0.025)
        assert len(Counter(d.student for d in draws)) == math.comb(6, 5)
        assert len(Counter(d.teacher for d in draws)) == math.comb(12, 5)

    def test_fixed_plans(self):
        last = pair_layers(6, 12, 5, "last")
        assert (last.student, last.teacher) == ((1, 2, 3, 4, 5), (7, 8, 9, 10, 11))
        skip = pair_layers(6, 12, 5, "skip")
        assert (skip.student, skip.teacher) == ((1, 2, 3, 4, 5), (0, 2, 4, 6, 8))
        uniform = pair_layers(6, 12, 3, "uniform")
        assert (uniform.student, uniform.teacher) == ((1, 3, 5), (3, 7, 11))

    @given(st.integers(1, 12), st.integers(1, 24), st.data())
    def test_any_plan_is_in_range_and_in_order(self, student, teacher, data):
        count = data.draw(st.integers(1, min(student, teacher)))
        for plan in ("random", "uniform", "last", "skip"):
            pairs = pair_layers(student, teacher, count, plan, seed=data.draw(st.integers(0, 9)))
            for blocks, depth in ((pairs.student, student), (pairs.teacher, teacher)):
                assert len(blocks) == count
                assert all(a < b for a, b in itertools.pairwise(blocks))
                assert blocks[0] >= 0
                assert blocks[-1] < depth

    def test_all_layers_when_all_are_asked_for(self):
        assert pair_layers(6, 6, 6).student == tuple(range(6))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="count must be 1 to 6"):
            pair_layers(6, 12, 7)
        with pytest.raises(ValueError, match="every"):
            pair_layers(6, 12, 2, every=0)
        with pytest.raises(ValueError, match="plan"):
            pair_layers(6, 12, 2, "best")
