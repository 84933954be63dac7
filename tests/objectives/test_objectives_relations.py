"""Relations to a bank: golden vectors, invariants, the chunked form, self policies, memory."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import BankRelations, EmbeddingMatch, OwnRelations
from potstill.objectives.functional import relation_cross_entropy, relation_summary

seeds = st.integers(0, 2**31 - 1)
CHUNKS = (None, 1, 3, 1000)

# Teacher (1, 0), student (0.6, 0.8): temperatures, value, teacher entropy, gradient.
BANK = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
GOLDEN = [
    (0.5, 1.0, 1.274596, 0.910670, (-0.383554, 0.292873)),
    (0.02, 0.1, 4.142932, 0.000000, (-4.640359, 8.107610)),
    (0.1, 0.02, 19.639892, 0.090582, (-19.639424, 39.278809)),
    (0.1, 0.1, 4.070901, 0.090582, (-4.567972, 7.963281)),
]


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def value_and_gradient(student, *args, **kwargs):
    student = student.clone().requires_grad_()
    value = relation_cross_entropy(student, *args, **kwargs)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    return value.detach(), gradient


class TestGolden:
    @pytest.mark.parametrize("chunk", CHUNKS)
    @pytest.mark.parametrize(("tt", "ts", "value", "entropy", "gradient"), GOLDEN)
    def test_value_and_gradient(self, chunk, tt, ts, value, entropy, gradient):
        teacher, student = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
        got, grad = value_and_gradient(student, teacher, BANK, ts, tt, chunk=chunk)
        assert got.item() == pytest.approx(value, abs=2e-5)
        assert grad[0].tolist() == pytest.approx(gradient, abs=2e-5)
        summary = relation_summary(student, teacher, BANK, tt, chunk=chunk or 8192)
        assert summary.entropy.item() == pytest.approx(entropy, abs=1e-6)
        assert not summary.agrees.item()

    def test_teacher_distribution(self):
        # The gradient of the loss by the logits of the bank is p_S - p_T: read p_T off an uninformed student.
        p = torch.softmax(torch.tensor([1.0, 0.0]) @ BANK.T / 0.5, 0)
        assert p.tolist() == pytest.approx([0.623838, 0.084427, 0.011426, 0.280309], abs=1e-6)


@pytest.mark.parametrize("chunk", [None, 7])
class TestInvariants:
    def test_entropy_is_the_floor(self, chunk):
        student, teacher, bank = unit(5, 8, seed=1), unit(5, 8, seed=2), unit(40, 8, seed=3)
        rows = relation_cross_entropy(student, teacher, bank, 0.1, 0.05, chunk=chunk, reduction="none")
        entropy = relation_summary(student, teacher, bank, 0.05).entropy
        assert (rows >= entropy - 1e-6).all()
        assert (entropy > 0).all()

    def test_a_copy_reaches_the_entropy_with_no_gradient(self, chunk):
        teacher, bank = unit(5, 8, seed=2), unit(40, 8, seed=3)
        rows, gradient = value_and_gradient(teacher, teacher, bank, 0.07, 0.07, chunk=chunk, reduction="none")
        torch.testing.assert_close(rows, relation_summary(teacher, teacher, bank, 0.07).entropy)
        assert gradient.abs().max() < 1e-5

    def test_the_optimum_for_unequal_temperatures_is_a_rescaled_copy(self, chunk):
        teacher, bank = unit(5, 8, seed=2), unit(40, 8, seed=3)
        rows, gradient = value_and_gradient(
            teacher * (0.1 / 0.02), teacher, bank, 0.1, 0.02, chunk=chunk, reduction="none"
        )
        torch.testing.assert_close(rows, relation_summary(teacher, teacher, bank, 0.02).entropy, atol=2e-5, rtol=1e-5)
        assert gradient.abs().max() < 1e-4

    def test_gradient_is_the_difference_of_means(self, chunk):
        student, teacher, bank = unit(5, 8, seed=1), unit(5, 8, seed=2), unit(40, 8, seed=3)
        _, gradient = value_and_gradient(student, teacher, bank, 0.3, 0.2, chunk=chunk)
        want = (torch.softmax(student @ bank.T / 0.3, 1) - torch.softmax(teacher @ bank.T / 0.2, 1)) @ bank / 0.3 / 5
        torch.testing.assert_close(gradient, want, atol=1e-6, rtol=1e-5)

    @settings(max_examples=15, deadline=None)
    @given(seeds)
    def test_invariances(self, chunk, seed):
        student, teacher, bank = unit(4, 6, seed=seed), unit(4, 6, seed=seed + 1), unit(20, 6, seed=seed + 2)
        args = {"chunk": chunk}
        value = relation_cross_entropy(student, teacher, bank, 0.1, 0.05, **args)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(20, generator=generator)
        turn = torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0].float()
        shift = torch.randn(6, generator=generator)
        for same in (
            relation_cross_entropy(student, teacher, bank[order], 0.1, 0.05, **args),
            relation_cross_entropy(student @ turn, teacher @ turn, bank @ turn, 0.1, 0.05, **args),
            relation_cross_entropy(student, teacher, bank + shift, 0.1, 0.05, **args),
            relation_cross_entropy(student * 3, teacher * 0.5, bank, 0.3, 0.025, **args),
        ):
            torch.testing.assert_close(same, value, atol=5e-5, rtol=1e-5)

    def test_limits_of_the_temperatures(self, chunk):
        student, bank = unit(6, 32, seed=1), unit(508, 32, seed=3)
        teacher = bank[:6]
        others = (teacher @ bank.T).scatter(1, torch.arange(6).unsqueeze(1), -2.0)
        gap = (1 - others.max(1).values).min().item()
        info_nce = torch.nn.functional.cross_entropy(student @ bank.T / 0.1, torch.arange(6))
        for tt in (0.1, 0.05, 0.02):
            difference = relation_cross_entropy(student, teacher, bank, 0.1, tt, chunk=chunk) - info_nce
            assert difference.abs().item() <= 507 * math.exp(-gap / tt) * 2 / 0.1 + 1e-5
        wide = relation_cross_entropy(student, teacher, bank, 1e4, 1e4, chunk=chunk)
        assert wide.item() == pytest.approx(math.log(508), abs=1e-3)

    @pytest.mark.parametrize(("ts", "expected", "within"), [(0.1, 10.09, 0.05), (0.05, 11.25, 0.1), (0.04, 12.10, 0.2)])
    def test_where_an_uninformed_student_starts(self, chunk, ts, expected, within):
        """About log K + 1 / (2 d T_s^2), for 16,384 random rows of 128 numbers."""
        student, teacher, bank = unit(128, 128, seed=1), unit(128, 128, seed=2), unit(16_384, 128, seed=3)
        value = relation_cross_entropy(student, teacher, bank, ts, 0.1, chunk=chunk and 4_096).item()
        assert value == pytest.approx(expected, abs=within)
        assert value == pytest.approx(math.log(16_384) + 1 / (2 * 128 * ts**2), abs=within)

    def test_a_student_that_begins_as_the_teacher_has_no_gap(self, chunk):
        teacher, bank = unit(20, 16, seed=2), unit(300, 16, seed=3)
        head = torch.eye(16, requires_grad=True)
        objective = BankRelations(0.05, 0.05, "include", chunk)
        assert abs(objective.report(teacher @ head.T, teacher, bank=bank)["kl_gap"]) < 1e-6

    def test_upper_bound_for_unit_vectors(self, chunk):
        bank = unit(64, 4, seed=3)
        rows = relation_cross_entropy(-bank, bank, bank, 0.1, 0.02, chunk=chunk, reduction="none")
        assert (rows <= math.log(64) + 2 / 0.1).all()

    def test_a_vector_repeated_n_times_leaves_a_floor_of_log_n(self, chunk):
        teacher = unit(1, 16, seed=2)
        bank = torch.cat([teacher, teacher, unit(50, 16, seed=3)])
        value = relation_cross_entropy(teacher, teacher, bank, 0.005, 0.005, chunk=chunk)
        assert value.item() == pytest.approx(math.log(2), abs=1e-4)

    def test_teacher_and_bank_get_no_gradient(self, chunk):
        student, teacher, bank = (
            t.requires_grad_() for t in (unit(3, 4, seed=1), unit(3, 4, seed=2), unit(9, 4, seed=3))
        )
        relation_cross_entropy(student, teacher, bank, 0.1, 0.1, chunk=chunk).backward()
        assert teacher.grad is None
        assert bank.grad is None
        assert student.grad.abs().sum() > 0

    def test_masked_rows_are_as_if_absent(self, chunk):
        student, teacher, bank = unit(3, 4, seed=1), unit(3, 4, seed=2), unit(9, 4, seed=3)
        kept = torch.tensor([1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=torch.bool)
        want = value_and_gradient(student, teacher, bank[kept], 0.1, 0.05)
        for mask in (kept.expand(3, 9), lambda start, stop: kept[start:stop].expand(3, -1)):
            got = value_and_gradient(student, teacher, bank, 0.1, 0.05, mask=mask, chunk=chunk)
            torch.testing.assert_close(got, want)

    def test_a_row_with_no_bank_row_is_left_out(self, chunk):
        student, teacher, bank = unit(3, 4, seed=1), unit(3, 4, seed=2), unit(9, 4, seed=3)
        mask = torch.ones(3, 9, dtype=torch.bool)
        mask[1] = False
        value, gradient = value_and_gradient(student, teacher, bank, 0.1, 0.05, mask=mask, chunk=chunk)
        torch.testing.assert_close(value, relation_cross_entropy(student[[0, 2]], teacher[[0, 2]], bank, 0.1, 0.05))
        assert (gradient[1] == 0).all()
        assert gradient.isfinite().all()
        nothing, gradient = value_and_gradient(student, teacher, bank, 0.1, 0.05, mask=mask & False, chunk=chunk)
        assert nothing.item() == 0
        assert (gradient == 0).all()

    def test_half_precision_and_autocast(self, chunk):
        student, teacher, bank = unit(3, 64, seed=1), unit(3, 64, seed=2), unit(90, 64, seed=3)
        exact = relation_cross_entropy(student, teacher, bank, 0.02, 0.02, chunk=chunk)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            leaf = student.clone().requires_grad_()
            mixed = relation_cross_entropy(leaf, teacher, bank, 0.02, 0.02, chunk=chunk)
        mixed.backward()
        assert torch.equal(mixed, exact)
        _, gradient = value_and_gradient(student, teacher, bank, 0.02, 0.02, chunk=chunk)
        torch.testing.assert_close(leaf.grad, gradient, atol=1e-4, rtol=1e-4)
        halves = [v.bfloat16() for v in (student, teacher, bank)]
        low = relation_cross_entropy(*halves, 0.02, 0.02, chunk=chunk)
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, relation_cross_entropy(*(h.float() for h in halves), 0.02, 0.02, chunk=chunk))


def assert_same(got, want, temperature):
    """Values within 1e-5; gradients within 1e-5 of the longest one, or 1e-6 of the terms that they are made of.

    A gradient is the difference of two means of bank vectors, each 1 / temperature long, which nearly cancel close to
    the optimum: what float32 can promise there is a part of the terms, in the plain form too.
    """
    torch.testing.assert_close(got[0], want[0], atol=1e-5, rtol=1e-5)
    allowed = max(1e-5, 1e-5 * want[1].norm(dim=1).max().item(), 1e-6 / temperature)
    torch.testing.assert_close(got[1], want[1], atol=allowed, rtol=0)


class TestChunks:
    @settings(max_examples=40, deadline=None)
    @given(
        seeds,
        st.integers(1, 6),
        st.integers(1, 70),
        st.integers(1, 80),
        st.booleans(),
        st.sampled_from([0.02, 0.1, 1.0]),
    )
    def test_equal_the_plain_form(self, seed, n, m, chunk, masked, temperature):
        student, teacher, bank = unit(n, 12, seed=seed), unit(n, 12, seed=seed + 1), unit(m, 12, seed=seed + 2)
        mask = torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) < 0.5 if masked else None
        for reduction in ("mean", "none"):
            plain = value_and_gradient(student, teacher, bank, temperature, 0.05, mask, reduction=reduction)
            chunked = value_and_gradient(student, teacher, bank, temperature, 0.05, mask, chunk, reduction=reduction)
            assert_same(chunked, plain, temperature)

    def test_equal_the_plain_form_on_a_long_bank_near_the_optimum(self):
        bank = unit(20_000, 64, seed=3)
        teacher = bank[:16]
        student = normalize(teacher + 0.05 * unit(16, 64, seed=4), dim=-1)
        for ts, tt in ((0.02, 0.02), (0.1, 0.02), (0.05, 0.05)):
            plain = value_and_gradient(student, teacher, bank, ts, tt)
            chunked = value_and_gradient(student, teacher, bank, ts, tt, chunk=512)
            assert_same(chunked, plain, ts)

    def test_weights_of_rows_pass_through_the_backward(self):
        student, teacher, bank = unit(4, 6, seed=1), unit(4, 6, seed=2), unit(30, 6, seed=3)
        weights = torch.tensor([0.0, 1.0, -2.0, 0.5])
        gradients = []
        for chunk in (None, 8):
            leaf = student.clone().requires_grad_()
            (
                relation_cross_entropy(leaf, teacher, bank, 0.1, 0.1, chunk=chunk, reduction="none") * weights
            ).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)

    def test_no_tensor_of_batch_by_bank_is_made(self):
        """Count the largest tensor that any operation of the chunked form returns, forward and backward."""
        from torch.utils._python_dispatch import TorchDispatchMode

        class Largest(TorchDispatchMode):
            elements = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                out = func(*args, **(kwargs or {}))
                for tensor in out if isinstance(out, tuple | list) else (out,):
                    if isinstance(tensor, torch.Tensor):
                        Largest.elements = max(Largest.elements, tensor.numel())
                return out

        largest = []
        for m in (2_000, 8_000):
            student = unit(32, 8, seed=1).requires_grad_()
            ids, bank_ids = torch.arange(32), torch.arange(m)
            objective = BankRelations(chunk=256)
            Largest.elements = 0
            bank = unit(m, 8, seed=3)
            with Largest():
                objective(student, bank[:32], bank=bank, ids=ids, bank_ids=bank_ids).backward()
            largest.append(Largest.elements)
        # The bank itself (by views) and two sides of batch x chunk.
        assert largest == [max(2_000 * 8, 2 * 32 * 256), 8_000 * 8]


class TestBadInput:
    def test_shapes_and_numbers(self):
        a, bank = torch.zeros(2, 3), torch.zeros(5, 3)
        for args, kwargs, message in (
            ((a, torch.zeros(2, 4), bank, 1, 1), {}, "teacher must have shape"),
            ((a, a, torch.zeros(5, 4), 1, 1), {}, "bank must have shape"),
            ((a, a, torch.zeros(0, 3), 1, 1), {}, "bank is empty"),
            ((a, a, bank, 0, 1), {}, "student_temperature"),
            ((a, a, bank, 1, -1), {}, "teacher_temperature"),
            ((a, a, bank, 1, 1), {"mask": torch.ones(2, 4, dtype=torch.bool)}, "mask must have shape"),
            ((a, a, bank, 1, 1), {"mask": torch.ones(2, 5)}, "mask must be a bool"),
            ((a, a, bank, 1, 1), {"chunk": 0}, "chunk must be"),
            (
                (a, a, bank, 1, 1),
                {"chunk": 2, "mask": lambda i, j: torch.ones(2, 9, dtype=torch.bool)},
                "mask must have",
            ),
        ):
            with pytest.raises(ValueError, match=message):
                relation_cross_entropy(*args, **kwargs)


class TestBankRelations:
    bank = unit(30, 8, seed=3)
    bank_ids = torch.arange(30) % 25  # rows 25 to 29 repeat the texts 0 to 4
    ids = torch.tensor([0, 7, 99])
    teacher = torch.cat([bank[[0, 7]], unit(1, 8, seed=4)])
    student = unit(3, 8, seed=5)

    def test_presets(self):
        cli = BankRelations.preset("paper-cli")
        assert (cli.teacher_temperature, cli.student_temperature, cli.self_policy) == (0.02, 0.1, "include")
        legacy = BankRelations.preset("legacy-2024")
        assert (legacy.teacher_temperature, legacy.student_temperature, legacy.self_policy) == (0.1, 0.04, "exclude")
        matched = BankRelations.preset("matched", temperature=0.07)
        assert (matched.teacher_temperature, matched.student_temperature) == (0.07, 0.07)
        with pytest.raises(ValueError, match="no preset"):
            BankRelations.preset("best")

    @pytest.mark.parametrize("chunk", [None, 4])
    def test_self_policies(self, chunk):
        given = {"bank": self.bank, "ids": self.ids, "bank_ids": self.bank_ids}

        def row(i, rows, extra=()):
            bank = torch.cat([*extra, self.bank[rows]])
            return relation_cross_entropy(self.student[[i]], self.teacher[[i]], bank, 0.05, 0.05)

        everything = list(range(30))
        others = [[r for r in everything if self.bank_ids[r] != i] for i in self.ids]
        assert [len(rows) for rows in others] == [28, 29, 30]
        include = BankRelations(self_policy="include", chunk=chunk)(self.student, self.teacher, bank=self.bank)
        torch.testing.assert_close(include, torch.stack([row(i, everything) for i in range(3)]).mean())
        exclude = BankRelations(chunk=chunk)(self.student, self.teacher, **given)
        torch.testing.assert_close(exclude, torch.stack([row(i, others[i]) for i in range(3)]).mean())
        slot = BankRelations(self_policy="slot", chunk=chunk)(self.student, self.teacher, **given)
        want = torch.stack([row(i, others[i], (self.teacher[[i]],)) for i in range(3)]).mean()
        torch.testing.assert_close(slot, want)

    @pytest.mark.parametrize("policy", ["include", "exclude", "slot"])
    @pytest.mark.parametrize("chunk", [None, 4])
    def test_a_partly_filled_bank_is_its_valid_rows(self, policy, chunk):
        objective = BankRelations(self_policy=policy, chunk=chunk)
        valid = torch.arange(30) < 11
        masks = (valid.expand(3, 30), lambda start, stop: valid[start:stop].expand(3, -1))
        want = objective(self.student, self.teacher, bank=self.bank[:11], ids=self.ids, bank_ids=self.bank_ids[:11])
        for mask in masks:
            got = objective(self.student, self.teacher, bank=self.bank, ids=self.ids, bank_ids=self.bank_ids, mask=mask)
            torch.testing.assert_close(got, want)

    def test_identities_are_demanded_where_they_matter(self):
        with pytest.raises(ValueError, match="needs ids and bank_ids"):
            BankRelations()(self.student, self.teacher, bank=self.bank)
        with pytest.raises(ValueError, match="bank_ids must have shape"):
            BankRelations()(self.student, self.teacher, bank=self.bank, ids=self.ids, bank_ids=self.ids)
        with pytest.raises(ValueError, match="self_policy"):
            BankRelations(self_policy="maybe")
        with pytest.raises(ValueError, match="chunk"):
            BankRelations(chunk=0)

    def test_report(self):
        given = {"bank": self.bank, "ids": self.ids, "bank_ids": self.bank_ids}
        perfect = BankRelations().report(self.teacher, self.teacher, **given)
        assert perfect["kl_gap"] == pytest.approx(0, abs=1e-6)
        assert perfect["top1_agreement"] == 1
        apart = BankRelations().report(-self.teacher, self.teacher, **given)
        assert apart["kl_gap"] > 1
        assert apart["top1_agreement"] == 0
        assert apart["teacher_entropy"] == perfect["teacher_entropy"] > 0
        assert 1 < apart["effective_neighbours"] < 30
        with pytest.raises(ValueError, match="no text has a bank row"):
            BankRelations().report(self.student, self.teacher, **given, mask=torch.zeros(3, 30, dtype=torch.bool))

    def test_self_included_and_a_sharp_teacher_is_classification_of_oneself(self):
        student, bank = unit(4, 32, seed=1), unit(50, 32, seed=3)
        got = BankRelations(0.1, 1e-3, "include")(student, bank[:4], bank=bank)
        torch.testing.assert_close(got, torch.nn.functional.cross_entropy(student @ bank.T / 0.1, torch.arange(4)))

    def test_a_student_of_few_dimensions_keeps_more_neighbours_than_by_cosine_regression(self):
        generator = torch.Generator().manual_seed(0)

        def around(points, spread, times):
            points = points.repeat_interleave(times, 0)
            noise = normalize(torch.randn(points.shape, generator=generator), dim=-1)
            return normalize(points + spread * noise, dim=-1)

        groups = normalize(torch.randn(6, 32, generator=generator), dim=-1)
        bank, ids = around(around(groups, 0.9, 5), 0.6, 10), torch.arange(300)

        def neighbours(vectors):
            return (vectors @ vectors.T).fill_diagonal_(-9).topk(10).indices

        def overlap_after(objective, **context):
            start = torch.Generator().manual_seed(9)
            down, up = (torch.nn.Parameter(0.2 * torch.randn(*s, generator=start)) for s in ((32, 6), (6, 32)))
            optimiser = torch.optim.Adam([down, up], lr=0.02)
            for _ in range(100):
                student = normalize(bank @ down @ up, dim=-1)
                optimiser.zero_grad()
                objective(student, bank, **context).backward()
                optimiser.step()
            same = neighbours(student.detach()).unsqueeze(2) == neighbours(bank).unsqueeze(1)
            return same.any(2).float().mean().item()

        by_cosine = overlap_after(EmbeddingMatch("cosine"))
        by_relations = overlap_after(BankRelations(0.1, 0.1), bank=bank, ids=ids, bank_ids=ids)
        assert by_relations > by_cosine + 0.08


class TestOwnRelations:
    def test_ignores_rotation_and_width(self):
        teacher = unit(7, 16, seed=1)
        padded = torch.cat([teacher, torch.zeros(7, 5)], dim=1)
        turn = torch.linalg.qr(torch.randn(21, 21, generator=torch.Generator().manual_seed(0)))[0]
        assert OwnRelations()(padded @ turn, teacher).item() == pytest.approx(0, abs=1e-5)
        assert OwnRelations()(unit(7, 3, seed=2), teacher).item() > 0.1

    def test_repeats_of_a_text_are_left_out_like_the_text_itself(self):
        teacher, student = unit(5, 8, seed=1), unit(5, 6, seed=2)
        ids = torch.tensor([0, 1, 2, 3, 0])
        got = OwnRelations()(student, teacher, ids=ids)
        scores_t, scores_s = teacher @ teacher.T / 0.05, student @ student.T / 0.05
        rows = []
        for i in range(5):
            keep = ids != ids[i]
            p, q = torch.softmax(scores_t[i, keep], 0), torch.log_softmax(scores_s[i, keep], 0)
            rows.append((p * (p.log() - q)).sum())
        torch.testing.assert_close(got, torch.stack(rows).mean())

    def test_below_the_minimum_batch_nothing_is_learned(self):
        assert OwnRelations().minimum_batch == 3
        student = unit(2, 4, seed=1).requires_grad_()
        OwnRelations()(student, unit(2, 4, seed=2)).backward()
        assert student.grad.abs().max() < 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from the operating system")
def test_peak_memory_does_not_follow_the_bank():
    """One process a form: the plain one takes batch x bank several times over, the chunked one next to nothing."""
    program = """
import re, sys, torch
from potstill.objectives.functional import relation_cross_entropy
torch.set_num_threads(1)

def peak():  # of this program alone; ru_maxrss would remember the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

chunk = int(sys.argv[1]) or None
bank = torch.randn(40_000, 16); student = torch.randn(256, 16, requires_grad=True); teacher = torch.randn(256, 16)
relation_cross_entropy(student, teacher, bank[:2_000], 1.0, 1.0, chunk=chunk).backward()
before = peak()
relation_cross_entropy(student, teacher, bank, 1.0, 1.0, chunk=chunk).backward()
print(peak() - before)
"""
    plain, chunked = (
        int(subprocess.run([sys.executable, "-c", program, c], capture_output=True, text=True, check=True).stdout)
        for c in ("0", "1024")
    )
    assert plain > 60_000  # KiB; one batch x bank matrix is 40,000
    assert chunked * 10 <= plain
