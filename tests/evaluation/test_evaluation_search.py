from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.errors import InputError
from potstill.evaluation.search import Rows, exact_search


def naive(queries, documents, k, metric, exclude=None):
    """Every pair in float64, one at a time, then a stable sort: the definition that the search must meet."""
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for i, query in enumerate(queries.astype(np.float64)):
        values = np.empty(len(documents), dtype=np.float32)
        for j, document in enumerate(documents.astype(np.float64)):
            value = (query * document).sum()
            if metric == "cosine":
                lengths = [np.sqrt((v * v).sum()) or 1.0 for v in (query, document)]
                value /= lengths[0] * lengths[1]
            values[j] = value
        order = np.argsort(-values, kind="stable")
        if exclude is not None:
            order = order[~np.isin(order, exclude[i])]
        top = order[:k]
        rows[i, : len(top)] = top
        scores[i, : len(top)] = values[top]
    return rows, scores


def some_matrices(data, elements):
    d = data.draw(st.integers(1, 9))
    n, m = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 40))
    return (
        data.draw(arrays(np.float32, (n, d), elements=elements)),
        data.draw(arrays(np.float32, (m, d), elements=elements)),
    )


SMALL_INTEGERS = st.integers(-2, 2).map(float)  # ties abound
FLOATS = st.floats(-100, 100, width=32)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_equals_naive_search_whatever_the_chunks(data):
    queries, documents = some_matrices(data, data.draw(st.sampled_from([SMALL_INTEGERS, FLOATS])))
    k = data.draw(st.integers(1, 12))
    metric = data.draw(st.sampled_from(["dot", "cosine"]))
    exclude = None
    if data.draw(st.booleans()):
        row = st.integers(0, len(documents) - 1)
        exclude = [np.array(data.draw(st.lists(row, max_size=4)), dtype=np.int64) for _ in queries]
    rows, scores = naive(queries, documents, k, metric, exclude)
    sizes = {"query_chunk": data.draw(st.integers(1, 7)), "document_chunk": data.draw(st.integers(1, 45))}
    found = exact_search(queries, documents, k, metric=metric, exclude=exclude, **sizes)
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.rows, rows)
    assert found.documents == len(documents)


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_what_a_float32_product_tells_apart_by_rounding_alone_is_a_tie(metric):
    rng = np.random.default_rng(0)
    # The same numbers in another order: equal scores, but a float32 product's error depends on the order.
    numbers = rng.standard_normal(96).astype(np.float32)
    documents = np.stack([rng.permutation(numbers) for _ in range(600)])
    queries = np.full((5, 96), 0.7, np.float32)
    assert len(np.unique(queries[:1] @ documents.T)) > 1
    rows, scores = naive(queries, documents, 50, metric)
    assert rows.tolist() == [list(range(50))] * 5
    for query_chunk, document_chunk in ((1, 1), (2, 17), (5, 600), (3, 64)):
        found = exact_search(
            queries, documents, 50, metric=metric, query_chunk=query_chunk, document_chunk=document_chunk
        )
        np.testing.assert_array_equal(found.rows, rows)
        np.testing.assert_array_equal(found.scores, scores)


def test_streamed_chunks_give_what_the_matrix_gives():
    rng = np.random.default_rng(1)
    queries, documents = rng.standard_normal((7, 16), np.float32), rng.standard_normal((53, 16), np.float32)
    whole = exact_search(queries, documents, 10)
    streamed = exact_search(queries, (documents[i : i + 9] for i in range(0, 53, 9)), 10)
    np.testing.assert_array_equal(whole.rows, streamed.rows)
    np.testing.assert_array_equal(whole.scores, streamed.scores)
    assert streamed.documents == 53


def test_rows_gather_from_a_table_again_and_again():
    class Table:
        def gather(self, rows):
            return np.eye(4, dtype=np.float32)[rows]

    documents = Rows(Table(), np.array([3, 0, 1]), chunk=2)
    assert [part.shape for part in documents] == [(2, 4), (1, 4)]
    for _ in range(2):
        assert exact_search(np.eye(4, dtype=np.float32)[[0]], documents, 1).rows.tolist() == [[1]]


def test_fewer_documents_than_k_are_padded():
    found = exact_search(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), 4)
    assert found.rows.tolist() == [[0, 1, -1, -1]]
    assert found.scores.tolist() == [[2.0, 2.0, -np.inf, -np.inf]]
    assert found.run(["q"], ["a", "b"]) == {"q": [("a", 2.0), ("b", 2.0)]}


def test_no_documents_and_no_queries():
    assert exact_search(np.ones((2, 3), np.float32), [], 2).rows.tolist() == [[-1, -1], [-1, -1]]
    assert exact_search(np.ones((0, 3), np.float32), np.ones((4, 3), np.float32), 2).rows.shape == (0, 2)


def test_a_zero_query_ranks_by_row():
    found = exact_search(np.zeros((1, 3), np.float32), -np.ones((30, 3), np.float32), 3, document_chunk=4)
    assert found.rows.tolist() == [[0, 1, 2]]
    assert found.scores.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_an_error_that_names_the_row(bad):
    good = np.ones((10, 3), np.float32)
    broken = good.copy()
    broken[7, 1] = bad
    with pytest.raises(InputError, match="document row 7 "):
        exact_search(good, broken, 2, document_chunk=4)
    with pytest.raises(InputError, match="query row 7 "):
        exact_search(broken, good, 2)


def test_vectors_too_large_for_float32_are_an_error():
    with pytest.raises(InputError, match="too large"):
        exact_search(np.full((1, 2), 1e30, np.float32), np.full((2, 2), 1e30, np.float32), 1)
    huge = exact_search(np.full((1, 2), 1e30, np.float32), np.full((2, 2), 1e30, np.float32), 1, metric="cosine")
    assert huge.scores.tolist() == [[1.0]]


def test_different_widths_are_an_error_with_both_widths():
    with pytest.raises(InputError, match="2 numbers a vector, documents 3"):
        exact_search(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32), 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 0},
        {"metric": "l2"},
        {"exclude": [np.array([0])] * 3},
        {"queries": np.ones(3, np.float32)},
        {"documents": np.ones(3, np.float32)},
    ],
)
def test_misuse_is_a_value_error(arguments):
    given_ = {"queries": np.ones((2, 3), np.float32), "documents": np.ones((4, 3), np.float32), "k": 2} | arguments
    with pytest.raises(ValueError, match=r"k must|metric must|exclude has|must be"):
        exact_search(**given_)


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_only_some_documents_are_the_search_of_these_alone(seed, documents, chunk):
    rng = np.random.default_rng(seed)
    queries, matrix = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((documents, 5)).astype("f4")
    only = [np.flatnonzero(rng.random(documents) < 0.4) for _ in range(4)]
    exclude = [rng.integers(0, documents, 2) for _ in range(4)]
    found = exact_search(queries, matrix, 6, only=only, exclude=exclude, document_chunk=chunk)
    for number, rows in enumerate(only):
        left = np.setdiff1d(rows, exclude[number])
        alone = exact_search(queries[number : number + 1], matrix[left], 6) if len(left) else None
        expected = [] if alone is None else left[alone.rows[0][alone.rows[0] >= 0]].tolist()
        assert found.rows[number][found.rows[number] >= 0].tolist() == expected
