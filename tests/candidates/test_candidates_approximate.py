"""Approximate search: recall against exact search, exact scores, exclusion, determinism, the missing extra."""

import sys

import numpy as np
import pytest

from potstill.candidates import ApproximateIndex, by_vectors_approximately, mine, nearest
from potstill.errors import InputError, MissingExtra

rng = np.random.default_rng(0)
CENTRES = rng.standard_normal((60, 32))
ALL = (CENTRES[rng.integers(0, 60, 12_100)] + 0.8 * rng.standard_normal((12_100, 32))).astype(np.float32)
QUERIES, DOCUMENTS = ALL[:100], ALL[100:]


class Stored:
    """Vectors as a store gives them."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __len__(self):
        return len(self.matrix)

    def gather(self, rows):
        return self.matrix[rows]


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("graph_from", [10**6, 1])
def test_finds_most_of_the_hundred_best(metric, graph_from):
    index = ApproximateIndex(Stored(DOCUMENTS), metric, seed=1, graph_from=graph_from)
    assert ("HNSW" in index.settings["index"]) == (graph_from == 1)
    true, scores = nearest(QUERIES, DOCUMENTS, 100, metric=metric)
    found, values = index.search(QUERIES, 100)
    hits = [np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]
    assert np.mean(hits) >= 0.9
    assert index.tune(QUERIES, 100, recall=0.9) == pytest.approx(np.mean(hits))
    # Each is found once, best first, with the score that exact search gives it.
    assert all(len(set(line.tolist())) == 100 for line in found)
    assert (np.diff(values, axis=1) <= 0).all()
    for i in range(100):
        exact = dict(zip(true[i].tolist(), scores[i].tolist(), strict=True))
        both = [j for j, row in enumerate(found[i].tolist()) if row in exact]
        np.testing.assert_allclose(values[i, both], [exact[found[i, j]] for j in both], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("graph_from", [10**6, 1])
def test_looks_at_as_many_lists_as_it_takes(graph_from):
    # Without any clusters a sixteenth of the lists does not hold the best.
    draw = np.random.default_rng(1)
    documents, queries = (draw.standard_normal((n, 24)).astype(np.float32) for n in (3000, 50))
    index = ApproximateIndex(documents, seed=0, graph_from=graph_from)
    first = index.settings["probes"]
    before = index.tune(queries, 50, recall=0)
    assert before < 0.9
    assert index.settings["probes"] == first == 16
    assert index.settings["recall"] == pytest.approx(before, abs=1e-4)
    after = index.tune(queries, 50)
    assert after >= 0.95
    assert index.settings["probes"] > first
    true, _ = nearest(queries, documents, 50)
    found, _ = index.search(queries, 50)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]) == pytest.approx(after)
    index.tune(queries, 50, recall=2)
    assert index.settings["probes"] == index.settings["lists"]
    assert ApproximateIndex(documents, seed=0).tune(queries[:0], 5) == 1


def test_the_seed_decides():
    first = ApproximateIndex(DOCUMENTS, seed=1, graph_from=1).search(QUERIES, 10)
    again = ApproximateIndex(DOCUMENTS, seed=1, graph_from=1).search(QUERIES, 10)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_what_is_excluded_is_not_found_and_costs_no_place():
    index = ApproximateIndex(DOCUMENTS, seed=0)
    best, _ = index.search(QUERIES, 30)
    rows, _ = index.search(QUERIES, 20, [line[:10] for line in best])
    np.testing.assert_array_equal(rows, best[:, 10:])


def test_candidates_mined_with_it_hold_no_positive():
    ids = [str(i) for i in range(len(DOCUMENTS))]
    queries = [f"q{i}" for i in range(100)]
    index = ApproximateIndex(DOCUMENTS, seed=0)
    best, _ = index.search(QUERIES, 2)
    positives = {query: {ids[row] for row in rows} for query, rows in zip(queries, best, strict=True)}
    found = mine(
        by_vectors_approximately(QUERIES, index),
        queries,
        ids,
        5,
        source="teacher",
        settings=index.settings,
        positives=positives,
    )
    assert found.mask.all()
    assert not any(np.isin(rows, known).any() for rows, known in zip(found.rows, best, strict=True))


def test_fewer_documents_than_are_asked_for():
    rows, scores = ApproximateIndex(DOCUMENTS[:3]).search(QUERIES[:2], 5)
    assert sorted(rows[0].tolist()) == [-1, -1, 0, 1, 2]
    assert (rows[:, 3:] == -1).all()
    assert (scores[:, 3:] == -np.inf).all()


def test_bad_input(monkeypatch):
    broken = DOCUMENTS[:50].copy()
    broken[7] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        ApproximateIndex(broken)
    with pytest.raises(InputError, match="no documents"):
        ApproximateIndex(DOCUMENTS[:0])
    index = ApproximateIndex(DOCUMENTS[:50])
    with pytest.raises(InputError, match="queries: NaN"):
        index.search(broken[7:8], 1)
    with pytest.raises(ValueError, match="k must be"):
        index.search(QUERIES, 0)
    with pytest.raises(ValueError, match="exclude names"):
        index.search(QUERIES, 1, [])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"faiss is not installed[\s\S]*potstill\[faiss\]"):
        ApproximateIndex(DOCUMENTS[:50])
