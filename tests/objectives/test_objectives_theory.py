"""EmbedDistill's theory over random inputs: what small matching loss promises a student that queries the same index."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from potstill.objectives import inner_scores
from potstill.objectives.functional import (
    contrastive,
    covariance_match,
    document_root,
    embedding_match,
    relation_cross_entropy,
    score_kl,
)

seeds = st.integers(0, 2**31 - 1)
noises = st.floats(1e-3, 10.0)


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def scene(seed, noise, n=20, d=6, c=9):
    """Teacher and student queries, documents and the length of the longest of these."""
    documents, teacher = random(c, d, seed=seed), random(n, d, seed=seed + 1)
    student = teacher + random(n, d, seed=seed + 2, scale=noise)
    return teacher, student, documents, documents.norm(dim=1).max()


@pytest.mark.parametrize("temperature", [1.0, 0.05])
class TestLipschitz:
    @settings(max_examples=60, deadline=None)
    @given(seeds, noises)
    def test_softmax_loss_moves_at_most_2k_over_tau_times_the_error(self, temperature, seed, noise):
        teacher, student, documents, k = scene(seed, noise)
        positives = torch.randint(0, len(documents), (20,), generator=torch.Generator().manual_seed(seed))
        theirs, ours = (
            contrastive(inner_scores(queries, documents), positives, temperature, reduction="none")
            for queries in (teacher, student)
        )
        bound = 2 * k / temperature * embedding_match(student, teacher, reduction="none")
        assert ((ours - theirs).abs() <= bound * (1 + 1e-4) + 1e-3 / temperature).all()

    @settings(max_examples=60, deadline=None)
    @given(seeds, noises)
    def test_logistic_loss_moves_at_most_k_over_tau_times_the_error(self, temperature, seed, noise):
        teacher, student, documents, k = scene(seed, noise)
        signs = random(20, len(documents), seed=seed + 3).sign()
        theirs, ours = (
            softplus(-signs * inner_scores(queries, documents) / temperature) for queries in (teacher, student)
        )
        bound = k / temperature * embedding_match(student, teacher, reduction="none").unsqueeze(1)
        assert ((ours - theirs).abs() <= bound * (1 + 1e-4) + 1e-3 / temperature).all()


@settings(max_examples=60, deadline=None)
@given(seeds, noises)
def test_orders_with_more_than_the_errors_reach_between_them_are_kept(seed, noise):
    teacher, student, documents, _ = scene(seed, noise)
    theirs, ours = inner_scores(teacher, documents), inner_scores(student, documents)
    error = embedding_match(student, teacher, reduction="none")
    margin = theirs.unsqueeze(2) - theirs.unsqueeze(1)
    certified = margin > error[:, None, None] * torch.cdist(documents, documents) + 1e-4
    assert (ours.unsqueeze(2) > ours.unsqueeze(1))[certified].all()


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_errors_across_the_span_of_the_documents_cost_no_loss_and_the_weighted_residual_knows(seed):
    """The bound is sufficient, not necessary: so large an error is allowed where no document looks."""
    teacher, _, documents, _ = scene(seed, 1.0, c=4)
    basis = torch.linalg.svd(documents.double()).Vh[:4].float()
    error = random(20, 6, seed=seed + 5, scale=10)
    student = teacher + error - error @ basis.T @ basis
    theirs, ours = inner_scores(teacher, documents), inner_scores(student, documents)
    assert embedding_match(student, teacher).item() > 1
    assert covariance_match(student, teacher, document_root(documents)).item() < 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.02, 5.0))
def test_score_distillation_of_a_copy_is_the_teachers_entropy_and_its_gradient_nothing(seed, temperature):
    teacher, _, documents, _ = scene(seed, 1.0)
    student = teacher.clone().requires_grad_()
    p = torch.softmax(inner_scores(teacher, documents) / temperature, dim=1)
    entropy = -torch.xlogy(p, p).sum(dim=1).mean()
    loss = relation_cross_entropy(student, teacher, documents, temperature, temperature)
    torch.testing.assert_close(loss, entropy, atol=1e-4, rtol=1e-4)
    divergence = score_kl(inner_scores(student, documents), inner_scores(teacher, documents), temperature, temperature)
    assert divergence.item() == pytest.approx(0, abs=1e-5)
    for value in (loss, divergence):
        (gradient,) = torch.autograd.grad(value, student)
        assert gradient.abs().max() < 1e-5 / temperature + 1e-5


@settings(max_examples=30, deadline=None)
@given(seeds, noises)
def test_matching_pulls_every_query_with_length_one(seed, noise):
    teacher, student, _, _ = scene(seed, noise)
    student.requires_grad_()
    embedding_match(student, teacher, reduction="none").sum().backward()
    torch.testing.assert_close(student.grad.norm(dim=1), torch.ones(20))
