"""Matching weighted by the documents: golden values, what is free, the root and its scale, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import EmbeddingMatch
from potstill.objectives import _covariance as covariance
from potstill.objectives.functional import covariance_match, document_root, embedding_match

seeds = st.integers(0, 2**31 - 1)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


class TestMatch:
    def test_golden(self):
        s, t = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        assert covariance_match(s, t, torch.eye(2)).item() == pytest.approx(math.sqrt(2))
        assert covariance_match(s, t, torch.diag(torch.tensor([3.0, 4.0]))).item() == pytest.approx(5.0)
        assert covariance_match(s, t, torch.tensor([[2.0, 0.0]])).item() == pytest.approx(2.0)

    def test_the_identity_makes_it_l2(self):
        s, t = random(5, 6, seed=1), random(5, 6, seed=2)
        for reduction in ("mean", "none"):
            want = embedding_match(s, t, "l2", reduction=reduction)
            torch.testing.assert_close(covariance_match(s, t, torch.eye(6), reduction=reduction), want)

    def test_a_copy_has_no_loss_and_no_gradient(self):
        teacher, root = random(4, 6, seed=1), document_root(random(3, 6, seed=2))
        student = teacher.clone().requires_grad_()
        loss = covariance_match(student, teacher, root)
        loss.backward()
        assert loss.item() == 0
        assert (student.grad == 0).all()

    def test_gradient(self):
        s, t = random(3, 4, seed=1).double().requires_grad_(), random(3, 4, seed=2).double()
        root = document_root(random(9, 4, seed=3))
        assert torch.autograd.gradcheck(lambda s: covariance_match(s, t, root), (s,), eps=1e-2, atol=2e-3, rtol=2e-3)

    def test_half_precision_is_computed_in_float32(self):
        s, t, root = random(4, 8, seed=1).bfloat16(), random(4, 8, seed=2).bfloat16(), document_root(random(20, 8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = covariance_match(s, t, root)
        assert torch.equal(loss, covariance_match(s.float(), t.float(), root))

    @settings(max_examples=30, deadline=None)
    @given(seeds, st.booleans())
    def test_errors_that_no_document_sees_are_free(self, seed, centred):
        documents = random(4, 7, seed=seed)
        teacher, error = random(5, 7, seed=seed + 1), random(5, 7, seed=seed + 2)
        rows = documents - documents.mean(dim=0) if centred else documents
        basis = torch.linalg.svd(rows.double()).Vh[: 3 if centred else 4]
        # At unit length: of some draws nearly nothing lies outside the documents' span.
        unseen = normalize(error.double() - error.double() @ basis.T @ basis, dim=1).float()
        root = document_root(documents, centred=centred)
        assert unseen.norm(dim=1).min() > 0.1
        assert covariance_match(teacher + unseen, teacher, root).item() < 1e-4
        if centred:  # all scores of a query move alike
            moved = unseen @ documents.T
            torch.testing.assert_close(moved, moved[:, :1].expand(5, 4), atol=1e-4, rtol=0)

    def test_unit_documents_make_it_the_root_mean_square_of_score_errors(self):
        documents = normalize(random(300, 8) * torch.linspace(0.1, 2, 8), dim=1)
        s, t = random(5, 8, seed=1), random(5, 8, seed=2)
        errors = (s - t) @ documents.T
        want = (8 * errors.square().mean(dim=1)).sqrt()
        torch.testing.assert_close(covariance_match(s, t, document_root(documents), reduction="none"), want)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="teacher must have shape"):
            covariance_match(torch.zeros(2, 3), torch.zeros(2, 4), torch.eye(3))
        with pytest.raises(ValueError, match=r"root must have shape \(k, 3\)"):
            covariance_match(torch.zeros(2, 3), torch.zeros(2, 3), torch.eye(4))


class TestRoot:
    @settings(max_examples=30, deadline=None)
    @given(seeds, st.integers(1, 30), st.integers(1, 8), st.floats(1e-3, 1e3))
    def test_is_the_symmetric_root_at_trace_d(self, seed, m, d, scale):
        documents = random(m, d, seed=seed, scale=scale)
        root = document_root(documents)
        assert root.dtype == torch.float32
        torch.testing.assert_close(root, root.T, atol=1e-6, rtol=1e-5)
        assert torch.linalg.eigvalsh(root.double()).min() > -1e-5
        moments = documents.double().T @ documents.double()
        want = (moments * d / moments.trace()).float()
        torch.testing.assert_close(root @ root, want, atol=1e-4, rtol=1e-4)

    def test_documents_that_point_all_ways_alike_give_the_identity(self):
        for documents in (7 * torch.eye(5), torch.cat([torch.eye(5), -torch.eye(5)])):
            torch.testing.assert_close(document_root(documents), torch.eye(5))

    def test_centred_is_the_covariance(self):
        documents = random(40, 5, seed=1) + 10 * random(5, seed=2)
        root = document_root(documents, centred=True)
        want = torch.cov(documents.double().T)
        torch.testing.assert_close(root @ root, (want * 5 / want.trace()).float(), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(root, document_root(documents), atol=0.1)

    @pytest.mark.parametrize("centred", [False, True])
    def test_chunks_are_as_one(self, centred, monkeypatch):
        documents = random(23, 4, seed=1) + 1
        whole = document_root(documents, centred=centred)
        chunks = (documents[a:b] for a, b in ((0, 5), (5, 5), (5, 22), (22, 23)))
        torch.testing.assert_close(document_root(chunks, centred=centred), whole)
        monkeypatch.setattr(covariance, "ROWS", 6)
        torch.testing.assert_close(document_root(documents, centred=centred), whole)

    def test_half_precision_documents_and_autocast(self):
        documents = random(50, 6, seed=1).half()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            root = document_root(documents)
        assert torch.equal(root, document_root(documents.float()))

    @pytest.mark.parametrize(
        ("documents", "centred", "message"),
        [
            ([], False, "no documents"),
            (torch.zeros(0, 3), False, "no documents"),
            (torch.zeros(4, 3), False, "all zero"),
            (torch.full((4, 3), 0.3), True, "all alike"),
            (torch.tensor([[1.0, float("nan")]]), False, "NaN or infinite"),
            (torch.tensor([[1.0, float("inf")]]), True, "NaN or infinite"),
            ([torch.zeros(2, 3), torch.zeros(2, 4)], False, r"documents must have shape \(m, 3\)"),
            (torch.zeros(3), False, r"documents must have shape \(m, d\)"),
        ],
    )
    def test_bad_input(self, documents, centred, message):
        with pytest.raises(ValueError, match=message):
            document_root(documents, centred=centred)


class TestClass:
    def test_is_its_function_without_gradient_to_the_constants(self):
        student, teacher = random(3, 4, seed=1).requires_grad_(), random(3, 4, seed=2).requires_grad_()
        root = document_root(random(9, 4)).requires_grad_()
        loss = EmbeddingMatch("covariance")(student, teacher, root=root)
        assert torch.equal(loss, covariance_match(student, teacher, root))
        loss.backward()
        assert teacher.grad is None
        assert root.grad is None
        assert student.grad.abs().sum() > 0

    def test_the_root_is_demanded_and_only_where_it_is_used(self):
        with pytest.raises(ValueError, match="match:covariance needs `root`"):
            EmbeddingMatch("covariance")(torch.zeros(1, 2), torch.zeros(1, 2))
        with pytest.raises(ValueError, match="match:l2 has no use for `root`"):
            EmbeddingMatch()(torch.zeros(1, 2), torch.zeros(1, 2), root=torch.eye(2))
