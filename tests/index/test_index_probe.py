"""A sample of stored vectors, encoded again, tells what is wrong with an index."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from potstill.index import ExactIndex, climb, exact_ranking, extra_effort, ladder, open_index, probe
from potstill.index.index import held_rows, unit
from potstill.index.probing import missing

pytest.importorskip("faiss", reason="faiss-cpu is not installed")
pytest.importorskip("lancedb", reason="lancedb is not installed")

SAMPLE = np.arange(0, 600, 10)


def holding(stored, metric="dot", lossy=False):
    names = [str(row) for row in range(len(stored))]
    return ExactIndex(held_rows(stored), names, stored.shape[1], metric, Path("index"), lossy=lossy)


def said(stored, teacher, metric, teacher_metric):
    found = probe(holding(stored, metric), SAMPLE, teacher[SAMPLE], teacher_metric)
    assert found.compatible == (not found.problems)
    return " ".join(found.problems)


def test_the_same_vectors_are_compatible(vectors):
    found = probe(holding(vectors), SAMPLE, vectors[SAMPLE], "dot")
    assert found.compatible
    assert (found.sampled, found.misplaced, found.difference) == (60, 0, 0.0)
    assert found.cosine_least == pytest.approx(1.0)
    assert found.norm_stored == found.norm_encoded
    half = probe(holding(vectors.astype(np.float16)), SAMPLE, vectors[SAMPLE], "dot")
    assert half.compatible
    assert 0 < half.difference < 0.01


def test_another_model_is_told(vectors):
    other = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    assert "of another model: mean cosine" in said(vectors, other, "dot", "dot")


def test_another_prompt_is_told(vectors):
    moved = vectors + 0.3 * np.linalg.norm(vectors, axis=1, keepdims=True) / 4
    assert "near the teacher's and not the same" in said(moved, vectors, "cosine", "cosine")


def test_ids_in_another_order_are_told(vectors):
    shuffled = vectors[np.random.default_rng(2).permutation(600)]
    assert "ids are not in the order of the vectors" in said(shuffled, vectors, "dot", "dot")
    shifted = np.roll(vectors, 1, axis=0)
    assert "60 of 60 sampled vectors are the teacher's, but of other documents" in said(shifted, vectors, "dot", "dot")
    swapped = vectors.copy()
    swapped[[0, 10]] = vectors[[10, 0]]
    assert "2 of 60 sampled" in said(swapped, vectors, "dot", "dot")


def test_some_documents_that_changed_are_told(vectors):
    changed = vectors.copy()
    changed[20] = np.random.default_rng(3).normal(size=16)
    assert "1 of 60 sampled vectors are not the teacher's of these documents" in said(changed, vectors, "dot", "dot")


def test_another_width_is_told(vectors):
    found = probe(holding(vectors), SAMPLE, vectors[SAMPLE][:, :8], "dot")
    assert found.problems == ["the index holds vectors of 16 numbers, the teacher gives 8"]


@pytest.mark.parametrize(
    ("stored_unit", "teacher_unit", "metric", "teacher_metric", "expected"),
    [
        (False, False, "dot", "dot", ""),
        (True, False, "dot", "dot", "stored vectors are normalised, the teacher's are not"),
        (True, False, "cosine", "dot", "the index compares cosines, and the teacher inner products"),
        (False, False, "l2", "dot", "the index compares distances"),
        (True, False, "dot", "cosine", ""),
        (True, True, "dot", "dot", ""),
        (True, True, "l2", "cosine", ""),
        (False, True, "cosine", "cosine", ""),
        (False, True, "dot", "cosine", "stored vectors are not normalised, and the index compares inner products"),
        (False, False, "l2", "cosine", "stored vectors are not normalised, and the index compares distances"),
    ],
)
def test_lengths_and_metrics(vectors, stored_unit, teacher_unit, metric, teacher_metric, expected):
    stored, teacher = (unit(vectors) if made_unit else vectors for made_unit in (stored_unit, teacher_unit))
    reason = said(stored, teacher, metric, teacher_metric)
    assert reason.startswith(expected)
    assert bool(reason) == bool(expected)


def test_lengths_that_are_scaled_are_told(vectors):
    uneven = vectors * np.linspace(1, 2, 600, dtype=np.float32)[:, None]
    assert "1.000 to 1.985 times as long" in said(uneven, vectors, "dot", "dot")


def test_lossy_vectors_are_compared_loosely(vectors):
    noise = 0.3 * np.random.default_rng(4).normal(size=vectors.shape).astype(np.float32)
    stored = vectors + noise * np.linalg.norm(vectors, axis=1, keepdims=True) / 4
    assert not probe(holding(stored), SAMPLE, vectors[SAMPLE], "dot").compatible
    found = probe(holding(stored, lossy=True), SAMPLE, vectors[SAMPLE], "dot")
    assert found.compatible
    assert "compared loosely" in found.notes[0]


def test_ids_that_a_collection_lacks():
    assert missing(["a", "b"], np.array([0, 1])) is None
    told = missing([*"abcdefgh"], np.array([0, -1, -1, -1, -1, -1, -1, 1]))
    assert told == "ids of the index that the collection lacks: 6 of 8 ('b', 'c', 'd', 'e', 'f', ...)"


def test_the_ladder_climbs_from_a_quarter_to_all(built):
    assert ladder(open_index(built("exact"))) == [None]
    assert ladder(open_index(built("faiss-hnsw"))) == [16, 32, 64, 128, 256, 512, 600]
    assert ladder(open_index(built("faiss-ivfpq", nlist=12, nprobe=3))) == [1, 2, 3, 6, 12]


def test_recall_rises_with_effort_and_extra_effort_restores_it(built, asked, vectors):
    index = open_index(built("faiss-ivfpq", "cosine", nlist=24, m_pq=16, nprobe=2))
    near, far = vectors[:20], asked
    exact = exact_ranking(index, near, 10), exact_ranking(index, far, 10)
    rungs = climb(index, near, far, exact, 10)
    for who in ("teacher", "student"):
        values = [getattr(rung, who).value for rung in rungs]
        assert all(after >= before - 0.02 for before, after in pairwise(values))
        assert values[-1] > values[0]
    for rung in rungs:
        assert rung.student.low <= rung.student.value <= rung.student.high
        assert rung.difference.value == pytest.approx(rung.student.value - rung.teacher.value)
    extra = extra_effort(index, far, exact[1], rungs, 10)
    assert extra is not None
    assert extra.target == next(rung.teacher.value for rung in rungs if rung.effort == 2)
    assert extra.reached >= extra.target
    assert extra.ratio == extra.effort / 2
    below = index.search(far, 10, extra.effort - 1)
    hits = [len(set(a) & set(b)) / 10 for a, b in zip(below.rows.tolist(), exact[1].rows.tolist(), strict=True)]
    assert np.mean(hits) < extra.target


def test_effort_that_is_never_enough(built, asked, vectors):
    index = open_index(built("faiss-hnsw", "cosine", m=2, ef_construction=4, ef_search=8))
    exact = exact_ranking(index, vectors[:20], 10), exact_ranking(index, asked, 10)
    # Rankings of other queries stand for the student's truth: no effort finds them.
    wrong = exact_ranking(index, -asked, 10)
    rungs = climb(index, vectors[:20], asked, (exact[0], wrong), 10)
    extra = extra_effort(index, asked, wrong, rungs, 10)
    assert (extra.effort, extra.ratio, extra.tried) == (None, None, rungs[-1].effort)
    assert extra.reached < extra.target
