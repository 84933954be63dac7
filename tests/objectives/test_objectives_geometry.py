"""Relations within a batch and contrasts with a bank, against formulas written out in NumPy loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import BankContrast, BankRelations, BatchGeometry, CrossMetric, NoiseContrast
from potstill.objectives.functional import (
    bank_contrast,
    comparative,
    edge_graph,
    information_flow,
    noise_contrast,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
    sphere_neighbours,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return normalize(normal(*shape, seed=seed), dim=-1)


def rotation(d, seed=3):
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


def arrays(*tensors):
    return [tensor.double().numpy() for tensor in tensors]


def huber(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


S, T = normal(7, 5, seed=1), normal(7, 9, seed=2)
S9 = normal(7, 9, seed=4)


class TestAgainstLoops:
    def conditional(self, vectors, kernel):
        n = len(vectors)
        k = np.empty((n, n))
        for i in range(n):
            for j in range(n):
                a, b = vectors[i], vectors[j]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                k[i, j] = (cosine + 1) / 2 if kernel == "cosine" else 1 / (1 + np.linalg.norm(a - b))
        return k / k.sum(axis=1, keepdims=True)

    def test_pkt_is_kl_of_the_teachers_conditionals_to_the_students(self):
        p, q = (self.conditional(v, "cosine") for v in arrays(T, S))
        assert information_flow(S, T).item() == pytest.approx((p * np.log(p / q)).sum() / 7, rel=1e-4)

    def test_flow_adds_kernels_and_directions(self):
        expected = 0.0
        for kernel in ("cosine", "student-t"):
            p, q = (self.conditional(v, kernel) for v in arrays(T, S))
            expected += ((p - q) * (np.log(p) - np.log(q))).sum() / 7
        found = information_flow(S, T, ("cosine", "student-t"), symmetric=True)
        assert found.item() == pytest.approx(expected, rel=1e-4)
        assert BatchGeometry("flow")(S, T).item() == pytest.approx(expected, rel=1e-4)

    def test_rkd_distance(self):
        sides = []
        for vectors in arrays(S, T):
            apart = np.array([[np.linalg.norm(a - b) for b in vectors] for a in vectors])
            sides.append(apart / apart[apart > 0].mean())
        expected = np.mean([huber(x) for x in (sides[0] - sides[1]).ravel()])
        assert rkd_distance(S, T).item() == pytest.approx(expected, rel=1e-4)

    def angle(self, vectors, i, j, k):
        a, b = vectors[i] - vectors[j], vectors[k] - vectors[j]
        return 0.0 if i == j or j == k else a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    @pytest.mark.parametrize("group", [64, 4])
    def test_rkd_angle(self, group):
        ours, theirs = arrays(S, T)
        total, count = 0.0, 0
        for start in range(0, 7, group):
            own = range(start, min(start + group, 7))
            for i in own:
                for j in own:
                    for k in own:
                        total += huber(self.angle(ours, i, j, k) - self.angle(theirs, i, j, k))
                        count += 1
        assert rkd_angle(S, T, group=group).item() == pytest.approx(total / count, rel=1e-4)

    def test_similarity_preserving(self):
        sides = []
        for vectors in arrays(S, T):
            gram = vectors @ vectors.T
            sides.append(gram / np.linalg.norm(gram, axis=1, keepdims=True))
        assert similarity_preserving(S, T).item() == pytest.approx(((sides[0] - sides[1]) ** 2).mean(), rel=1e-4)

    def test_edge_graph(self):
        c = np.corrcoef(np.concatenate(arrays(T, S9)))
        expected = 0.8 * np.linalg.norm(c[:7, 7:] - np.eye(7)) + 0.24 * np.linalg.norm(c[:7, :7] - c[7:, 7:])
        assert edge_graph(S9, T).item() == pytest.approx(expected, rel=1e-4)

    def test_edge_graph_at_a_copy_has_the_node_term_alone(self):
        """`related.md` 4: the node term is not zero at a perfect copy, the edge term is."""
        assert edge_graph(T, T, node=0.0, edge=1.0).item() == pytest.approx(0, abs=1e-5)
        assert edge_graph(T, T, node=1.0, edge=0.0).item() > 0.5

    def test_comparative_is_all_pairs_of_differences(self):
        ours, theirs = arrays(S9, T)
        pairs = [np.sum(((ours[i] - ours[j]) - (theirs[i] - theirs[j])) ** 2) for i in range(7) for j in range(7)]
        assert comparative(S9, T).item() == pytest.approx(np.mean(pairs), rel=1e-4)
        cosines = []
        for i in range(7):
            for j in range(7):
                if i != j:
                    a, b = ours[i] - ours[j], theirs[i] - theirs[j]
                    cosines.append(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert comparative(S9, T, "cosine").item() == pytest.approx(np.mean(cosines), rel=1e-4)

    def test_sphere_neighbours(self):
        expected = 0.0
        ours, theirs = arrays(normalize(S, dim=1), normalize(T, dim=1))
        for temperature in (0.01, 0.1, 1.0):
            p, q = (np.exp((v @ v.T - 1) / temperature) for v in (theirs, ours))
            p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
            expected += (p * np.log(p / q)).sum(axis=1).mean() / 3
        assert sphere_neighbours(S, T).item() == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("masked", [False, True])
    def test_bank_contrast_is_classification_of_the_own_vector(self, masked):
        student, teacher, bank = unit(4, 6, seed=1), unit(4, 6, seed=2), unit(9, 6, seed=3)
        mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(5)) < 0.6 if masked else None
        rows = []
        for i in range(4):
            others = [b for k, b in enumerate(bank) if mask is None or mask[i, k]]
            logits = torch.stack([student[i] @ v for v in (teacher[i], *others)]).double() * 7
            rows.append(-torch.log_softmax(logits, dim=0)[0])
        assert bank_contrast(student, teacher, bank, 7.0, mask).item() == pytest.approx(
            torch.stack(rows).mean().item(), rel=1e-4
        )

    @pytest.mark.parametrize("masked", [False, True])
    def test_noise_contrast(self, masked):
        student, teacher, bank = unit(4, 6, seed=1), unit(4, 6, seed=2), unit(9, 6, seed=3)
        mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(5)) < 0.6 if masked else torch.ones(4, 9) > 0
        scores = (student @ bank.T / 0.07).double()
        z = scores.exp()[mask].mean()  # times M; M cancels
        total = 0.0
        for i in range(4):
            m = int(mask[i].sum())
            h = lambda x, m=m: math.exp(x) / z.item() / (math.exp(x) / z.item() + m)  # noqa: E731
            total -= math.log(h((student[i] @ teacher[i]).item() / 0.07))
            total -= sum(math.log(1 - h(scores[i, k].item())) for k in range(9) if mask[i, k])
        found = noise_contrast(student, teacher, bank, 0.07, mask if masked else None)
        assert found.item() == pytest.approx(total / 4, rel=1e-4)


OWN = ["pkt", "flow", "rkd-distance", "rkd-angle", "sp", "comparative"]


class TestInvariants:
    @pytest.mark.parametrize("form", OWN)
    def test_a_copy_is_zero_and_a_minimum(self, form):
        copy = T.clone().requires_grad_()
        value = BatchGeometry(form)(copy, T)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-5)
        assert copy.grad.abs().max() < 1e-4

    @pytest.mark.parametrize("form", [form for form in OWN if form != "comparative"])
    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 999))
    def test_a_rotated_student_is_as_good(self, form, seed):
        turned = S @ rotation(5, seed)
        objective = BatchGeometry(form)
        assert objective(turned, T).item() == pytest.approx(objective(S, T).item(), rel=1e-3, abs=1e-6)

    def test_a_shifted_student_is_as_good_for_comparative_alone(self):
        for form in (*OWN, "ega"):
            value = lambda student, form=form: BatchGeometry(form)(student, T).item()  # noqa: E731
            same = value(S9 + normal(9, seed=8)) == pytest.approx(value(S9), rel=1e-3)
            assert same == (form in ("comparative", "rkd-distance", "rkd-angle"))

    @pytest.mark.parametrize("form", ["pkt", "rkd-distance", "rkd-angle", "sp"])
    def test_scale_of_either_side_does_not_matter(self, form):
        objective = BatchGeometry(form)
        assert objective(3 * S, 0.5 * T).item() == pytest.approx(objective(S, T).item(), rel=1e-3)

    @pytest.mark.parametrize("form", [*OWN, "ega"])
    def test_gradients_are_right_and_the_teacher_gets_none(self, form):
        student, teacher = S9.clone().requires_grad_(), T.clone().requires_grad_()
        BatchGeometry(form)(student, teacher).backward()
        assert teacher.grad is None
        step = 1e-2 * normal(7, 9, seed=9)
        ahead, behind = (BatchGeometry(form)(S9 + sign * step, T).item() for sign in (1, -1))
        assert (student.grad * step).sum().item() == pytest.approx((ahead - behind) / 2, rel=2e-2, abs=1e-5)

    @pytest.mark.parametrize("form", [*OWN, "ega"])
    def test_equal_texts_do_no_harm(self, form):
        """Two texts at one place: a distance of 0 has no direction."""
        student = S9[[0, 0, 1, 2]].clone().requires_grad_()
        BatchGeometry(form)(student, T[[0, 0, 1, 2]]).backward()
        assert torch.isfinite(student.grad).all()

    @pytest.mark.parametrize("form", [*OWN, "ega"])
    def test_fewer_texts_than_declared_teach_nothing_or_are_refused(self, form):
        objective = BatchGeometry(form)
        few = objective.minimum_batch - 1
        student = S9[:few].clone().requires_grad_()
        if few == 1 or form == "rkd-angle":
            with pytest.raises(ValueError, match="at least"):
                objective(student, T[:few])
        else:
            objective(student, T[:few]).backward()
            assert student.grad.abs().max() < 1e-6
        enough = S9[: few + 1].clone().requires_grad_()
        objective(enough, T[: few + 1]).backward()
        assert enough.grad.abs().max() > 1e-6

    def test_a_perfect_head_keeps_every_neighbourhood(self):
        assert sphere_neighbours(T @ rotation(9), T).item() == pytest.approx(0, abs=1e-4)
        assert sphere_neighbours(T[:, :3], T).item() > 0.05


class TestContrasts:
    def test_a_sharp_teacher_with_itself_in_the_bank_is_disco(self):
        """Invariant 6 of `rrd.md` 5.1: T_t to 0 with self in the bank leads to InfoNCE."""
        teacher = unit(12, 16, seed=1)
        student, bank = normalize(teacher + 0.3 * normal(12, 16, seed=2), dim=1), torch.cat([teacher, unit(50, 16)])
        ids = torch.arange(62)
        slot = BankRelations(0.1, 0.001, "slot")(student, teacher, bank=bank, ids=ids[:12], bank_ids=ids)
        own = BankContrast(0.1)(student, teacher, bank=bank, ids=ids[:12], bank_ids=ids)
        assert slot.item() == pytest.approx(own.item(), abs=1e-5)

    def test_counting_the_positive_twice_costs_what_the_specification_says(self):
        """Invariant 10: FIFO CRD less InfoNCE is log(1 + exp(-InfoNCE)), its floor log 2."""
        student, teacher, bank = unit(1, 6, seed=1), unit(1, 6, seed=2), unit(9, 6, seed=3)
        once = bank_contrast(student, teacher, bank, 5.0).item()
        twice = bank_contrast(student, teacher, torch.cat([bank, teacher]), 5.0).item()
        assert twice - once == pytest.approx(math.log1p(math.exp(-once)), rel=2e-3)
        assert bank_contrast(100 * teacher, teacher, torch.cat([-teacher, teacher]), 5.0).item() == pytest.approx(
            math.log(2), rel=1e-4
        )

    @pytest.mark.parametrize("objective", [BankContrast(0.05), NoiseContrast()])
    def test_the_text_itself_and_its_repeats_are_no_negatives(self, objective):
        student, teacher, bank = unit(2, 6, seed=1), unit(2, 6, seed=2), unit(9, 6, seed=3)
        ids, bank_ids = torch.tensor([4, 5]), torch.tensor([4, 4, 0, 1, 2, 3, 6, 7, 8])
        whole = objective(student[:1], teacher[:1], bank=bank, ids=ids[:1], bank_ids=bank_ids)
        without = objective(student[:1], teacher[:1], bank=bank[2:], ids=ids[:1], bank_ids=bank_ids[2:])
        assert whole.item() == pytest.approx(without.item(), rel=1e-5)

    def test_the_scale_is_learned(self):
        scale = torch.tensor(1.0, requires_grad=True)
        student, teacher, bank = unit(2, 6, seed=1), unit(2, 6, seed=2), unit(9, 6, seed=3)
        BankContrast()(student, teacher, bank=bank, scale=scale.exp()).backward()
        assert scale.grad.abs() > 1e-3
        with pytest.raises(ValueError, match="temperature is None"):
            BankContrast()(student, teacher, bank=bank)
        with pytest.raises(ValueError, match="temperature is None"):
            BankContrast(0.1)(student, teacher, bank=bank, scale=scale)

    @pytest.mark.parametrize("objective", [BankContrast(0.05), NoiseContrast()])
    def test_training_brings_the_student_to_the_teacher(self, objective):
        teacher, bank = unit(20, 8, seed=1), unit(60, 8, seed=2)
        student = unit(20, 8, seed=3).requires_grad_()
        optimiser = torch.optim.Adam([student], lr=0.02)
        for _ in range(300):
            optimiser.zero_grad()
            objective(normalize(student, dim=1), teacher, bank=bank).backward()
            optimiser.step()
        assert torch.nn.functional.cosine_similarity(student, teacher).min() > 0.5

    def test_cross_metric_is_the_squared_distance_from_the_partner(self):
        assert CrossMetric()(S9, T).item() == pytest.approx((S9 - T).square().sum(dim=1).mean().item(), rel=1e-5)

    @pytest.mark.parametrize("ids", [torch.arange(3), None])
    def test_bad_input_is_named(self, ids):
        student = unit(2, 6)
        with pytest.raises(ValueError, match=r"ids must have|go together|\(n, m\)|shape"):
            BankContrast(0.1)(student, student, bank=unit(9, 6), ids=ids, bank_ids=torch.arange(8))
        with pytest.raises(ValueError, match="temperature"):
            NoiseContrast(0.0)
        with pytest.raises(ValueError, match="form must be"):
            BatchGeometry("other")
