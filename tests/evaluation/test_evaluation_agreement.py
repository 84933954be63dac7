from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation.agreement import mean_overlap, overlap
from potstill.evaluation.search import Ranking


def ranking(*rows):
    rows = np.array(rows, dtype=np.int64)
    return Ranking(rows, np.zeros(rows.shape, np.float32), int(rows.max()) + 1)


def test_by_hand():
    a = ranking([1, 2, 3, 9], [1, 2, 3, 9], [4, 5, 6, 9])
    b = ranking([3, 1, 2, 7], [1, 7, 8, 2], [7, 8, 9, 4])
    assert overlap(a, b, 3).tolist() == pytest.approx([1.0, 1 / 3, 0.0])
    assert overlap(a, b, 4).tolist() == [0.75, 0.5, 0.5]


def test_few_documents_and_padding():
    assert overlap(ranking([1, 0, -1]), ranking([0, 1, -1]), 3).tolist() == [1.0]
    assert overlap(ranking([1, -1, -1]), ranking([0, 1, -1]), 3).tolist() == [0.5]
    assert overlap(ranking([-1]), ranking([-1]), 1).tolist() == [1.0]


def test_misuse():
    with pytest.raises(ValueError, match="no top 3"):
        overlap(ranking([1, 2]), ranking([1, 2]), 3)
    with pytest.raises(ValueError, match="1 and 2 queries"):
        overlap(ranking([1]), ranking([1], [2]), 1)


@given(st.lists(st.tuples(st.permutations(range(8)), st.permutations(range(8))), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_equals_sets_and_is_symmetric(pairs):
    a, b = ranking(*[x for x, _ in pairs]), ranking(*[y for _, y in pairs])
    expected = [len(set(x[:5]) & set(y[:5])) / 5 for x, y in pairs]
    assert overlap(a, b, 5).tolist() == pytest.approx(expected)
    assert overlap(b, a, 5).tolist() == pytest.approx(expected)


def test_mean_with_interval_and_source():
    found = mean_overlap(np.array([0.5, 1.0] * 20), "held-out generated queries")
    assert found.value == 0.75
    assert 0.5 < found.low < 0.75 < found.high < 1.0
    assert list(found.as_json()) == ["value", "low", "high", "queries", "source"]
    assert found.as_json()["queries"] == 40
