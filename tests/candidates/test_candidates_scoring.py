"""Scores of chosen pairs: against plain products, blocks that change nothing, positives, bad vectors."""

import numpy as np
import pytest

from potstill.candidates import Candidates, Provenance, list_scores, pair_scores, rescore, scoring, worst_scores
from potstill.errors import InputError

rng = np.random.default_rng(0)
QUERIES = rng.standard_normal((5, 7)).astype(np.float32)
DOCUMENTS = rng.standard_normal((20, 7)).astype(np.float32)
DOCUMENTS[4] = 0


def plain(metric):
    scores = QUERIES @ DOCUMENTS.T
    if metric == "cosine":
        lengths = np.linalg.norm(DOCUMENTS, axis=1)
        scores = scores / np.linalg.norm(QUERIES, axis=1)[:, None] / np.where(lengths > 0, lengths, 1)
    return scores


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_scores_are_products_whatever_the_blocks(metric, monkeypatch):
    query, row = (places.ravel() for places in np.indices((5, 20)))
    scores = pair_scores(QUERIES, DOCUMENTS.__getitem__, query, row, metric)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, plain(metric).ravel(), atol=1e-6)
    monkeypatch.setattr(scoring, "_NUMBERS_AT_ONCE", 30)
    np.testing.assert_array_equal(pair_scores(QUERIES, DOCUMENTS.__getitem__, query, row, metric), scores)
    for i in (3, 44, 99):
        alone = pair_scores(QUERIES, DOCUMENTS.__getitem__, query[i : i + 1], row[i : i + 1], metric)
        assert alone[0] == scores[i]


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("empty", [np.nan, -np.inf])
def test_scores_of_lists(metric, empty):
    rows = np.array([[3, 4, -1], [0, 1, 2], [-1, -1, -1], [-1, 5, 5], [19, 2, -1]])
    scores = list_scores(QUERIES, DOCUMENTS.__getitem__, rows, metric, empty=empty)
    want = np.where(rows < 0, empty, np.take_along_axis(plain(metric), np.maximum(rows, 0), axis=1))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, want, atol=1e-6)
    assert scores[3, 1] == scores[3, 2]


def test_candidates_of_all_sources_get_the_teachers_scores():
    rows = np.array([[3, 4, -1], [0, 1, 2], [-1, -1, -1], [5, -1, -1], [19, 2, -1]])
    found = Candidates(
        tuple("abcde"),
        rows,
        np.where(rows >= 0, np.float32(7), np.float32(-np.inf)),
        (rows > 2).astype(np.uint8),
        (Provenance("bm25", {"k1": 0.9}, 5), Provenance("random", {}, 5)),
        20,
        "digest",
    )
    scored = rescore(found, QUERIES, DOCUMENTS.__getitem__, scored_by="t")
    for i, line in enumerate(rows):
        for j, row in enumerate(line):
            want = plain("dot")[i, row] if row >= 0 else -np.inf
            assert scored.scores[i, j] == pytest.approx(want, abs=1e-6)
    np.testing.assert_array_equal(scored.rows, rows)
    assert [p.settings for p in scored.provenance] == [{"k1": 0.9, "scored_by": "t"}, {"scored_by": "t"}]
    assert found.provenance[0].settings == {"k1": 0.9}
    with pytest.raises(ValueError, match="vectors of 4 queries"):
        rescore(found, QUERIES[:4], DOCUMENTS.__getitem__)


def test_the_worst_positive():
    positives = [np.array([3, 9]), np.array([], np.int64), np.array([4]), np.array([0, 1, 2]), np.array([7])]
    worst = worst_scores(QUERIES, DOCUMENTS.__getitem__, positives)
    want = [plain("dot")[i, rows].min() if len(rows) else np.nan for i, rows in enumerate(positives)]
    np.testing.assert_allclose(worst, want, atol=1e-6)
    assert np.isnan(worst_scores(QUERIES, DOCUMENTS.__getitem__, [np.array([], np.int64)] * 5)).all()


def test_bad_vectors():
    broken = DOCUMENTS.copy()
    broken[6, 0] = np.inf
    pair = np.array([2]), np.array([6])
    with pytest.raises(InputError, match="query row 2 and document row 6"):
        pair_scores(QUERIES, broken.__getitem__, *pair)
    with pytest.raises(InputError, match="documents have 6 dimensions, queries 7"):
        pair_scores(QUERIES, DOCUMENTS[:, :6].__getitem__, *pair)
