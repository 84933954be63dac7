"""Exact nearest documents: against a plain sort, whatever the blocks; ties, exclusion, bad vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.candidates import nearest
from potstill.candidates.nearest import from_sort_keys, sort_keys
from potstill.errors import InputError


def plain(queries, documents, k, exclude=None):
    scores = queries @ documents.T
    rows = np.full((len(queries), k), -1)
    for i, line in enumerate(scores):
        gone = set() if exclude is None else set(exclude[i].tolist())
        order = [r for r in sorted(range(len(line)), key=lambda r: (-line[r], r)) if r not in gone][:k]
        rows[i, : len(order)] = order
    return rows


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_equals_a_plain_sort_whatever_the_blocks(seed, n, m, k, queries_at_once, documents_at_once):
    rng = np.random.default_rng(seed)
    # Small whole numbers: products are exact and ties are many.
    queries, documents = (rng.integers(-2, 3, (size, 3)).astype(np.float32) for size in (n, m))
    exclude = [np.flatnonzero(rng.random(m) < 0.3) for _ in range(n)]
    blocks = {"queries_at_once": queries_at_once, "documents_at_once": documents_at_once}
    for left_out in (None, exclude):
        want = plain(queries, documents, k, left_out)
        chunks = [documents[i : i + 4] for i in range(0, m, 4)]
        for given_documents in (documents, iter(chunks)):
            rows, scores = nearest(queries, given_documents, k, exclude=left_out, **blocks)
            assert rows.dtype == np.int64
            assert scores.dtype == np.float32
            np.testing.assert_array_equal(rows, want)
            found = rows >= 0
            assert (scores[~found] == -np.inf).all()
            np.testing.assert_array_equal(scores[found], (queries @ documents.T)[np.nonzero(found)[0], rows[found]])


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_keys_sort_as_scores_do_and_give_them_back(values):
    scores = torch.tensor([values])
    rows, back = from_sort_keys(sort_keys(scores, first_row=5).sort(dim=1, descending=True).values)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert rows[0].tolist() == [i + 5 for i in order]
    assert back[0].tolist() == [values[i] for i in order]


def test_cosine_ignores_lengths():
    rng = np.random.default_rng(0)
    queries, documents = rng.standard_normal((4, 8)), rng.standard_normal((30, 8))
    want, _ = nearest(queries, documents / np.linalg.norm(documents, axis=1, keepdims=True), 5)
    rows, scores = nearest(queries * 7, documents * rng.uniform(0.1, 9, (30, 1)), 5, metric="cosine")
    np.testing.assert_array_equal(rows, want)
    assert np.abs(scores).max() <= 1 + 1e-6


def test_half_precision_and_read_only_maps(tmp_path):
    documents = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float16)
    np.save(tmp_path / "d.npy", documents)
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    rows, _ = nearest(documents[:3].astype(np.float32), mapped, 1, metric="cosine")
    assert rows.ravel().tolist() == [0, 1, 2]


def test_bad_input():
    good = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="documents have 4 dimensions, queries 3"):
        nearest(good, np.zeros((2, 4)), 1)
    broken = good.copy()
    broken[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        nearest(good, broken, 1)
    with pytest.raises(InputError, match="queries: NaN"):
        nearest(broken, good, 1)
    with pytest.raises(InputError, match=r"\(n, d\)"):
        nearest(good, np.zeros(3), 1)
    with pytest.raises(ValueError, match="k must be"):
        nearest(good, good, 0)
    with pytest.raises(ValueError, match="exclude names"):
        nearest(good, good, 1, exclude=[np.array([0])])
