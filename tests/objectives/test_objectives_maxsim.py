"""MaxSim against a loop in NumPy; masks, chunks and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.objectives.functional import maxsim


def reference(queries, documents, query_mask, document_mask):
    out = np.zeros((len(queries), len(documents)))
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            kept = document[document_mask[j]]
            if len(kept):
                out[i, j] = sum(max(float(token @ other) for other in kept) for token in query[query_mask[i]])
    return out


def drawn(seed, q=3, s=4, n=5, t=6, d=7):
    random = np.random.default_rng(seed)
    queries, documents = random.normal(size=(q, s, d)), random.normal(size=(n, t, d))
    return queries, documents, random.random((q, s)) < 0.7, random.random((n, t)) < 0.6


def tensors(queries, documents, query_mask, document_mask):
    return (
        torch.from_numpy(queries).float(),
        torch.from_numpy(documents).float(),
        torch.from_numpy(query_mask),
        torch.from_numpy(document_mask),
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.one_of(st.none(), st.integers(1, 7)))
def test_equals_the_numpy_reference_in_any_chunks(seed, chunk):
    given = drawn(seed)
    given[3][0] = False  # a document without a token scores 0
    found = maxsim(*tensors(*given), chunk=chunk)
    np.testing.assert_allclose(found, reference(*given), atol=1e-4)
    assert (found[:, 0] == 0).all()


def test_padding_may_hold_anything():
    queries, documents, query_mask, document_mask = tensors(*drawn(1))
    expected = maxsim(queries, documents, query_mask, document_mask)
    queries[~query_mask], documents[~document_mask] = 1e30, -1e30
    assert torch.equal(maxsim(queries, documents, query_mask, document_mask), expected)


def test_unit_vectors_score_at_most_the_tokens_of_the_query():
    queries, documents, query_mask, document_mask = tensors(*drawn(2))
    queries, documents = (torch.nn.functional.normalize(one, dim=-1) for one in (queries, documents))
    scores = maxsim(queries, documents, query_mask, document_mask)
    assert (scores.abs() <= query_mask.sum(dim=1, keepdim=True) + 1e-5).all()


def test_the_gradient_is_that_of_the_largest_alone_and_the_same_in_chunks():
    queries, documents, query_mask, document_mask = tensors(*drawn(3))
    whole = [one.clone().requires_grad_() for one in (queries, documents)]
    parts = [one.clone().requires_grad_() for one in (queries, documents)]
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    (maxsim(*whole, query_mask, document_mask) * weight).sum().backward()
    (maxsim(*parts, query_mask, document_mask, chunk=2) * weight).sum().backward()
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert not whole[0].grad[~query_mask].any()
    assert not whole[1].grad[~document_mask].any()


def test_half_precision_is_compared_in_single():
    queries, documents, query_mask, document_mask = tensors(*drawn(4))
    half = maxsim(queries.bfloat16() * 200, documents.bfloat16() * 200, query_mask, document_mask)
    assert half.dtype == torch.float32
    assert half.isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"documents": torch.zeros(5, 6, 8)}, "documents must have shape"),
        ({"query_mask": torch.ones(3, 5, dtype=torch.bool)}, "mask must have shape"),
        ({"document_mask": torch.ones(5, 6)}, "mask must be a bool tensor"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_input(change, said):
    queries, documents, query_mask, document_mask = tensors(*drawn(5))
    named = {"queries": queries, "documents": documents, "query_mask": query_mask, "document_mask": document_mask}
    with pytest.raises(ValueError, match=said):
        maxsim(**(named | change))
