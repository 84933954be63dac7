from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import InputError
from potstill.evaluation import FIRST_STAGE, Ranking, evaluate_reranking, evaluate_systems, read_run, rerank, write_run
from potstill.evaluation.search import exact_search
from potstill.evaluation.significance import retention
from potstill.evaluation.systems import System

NAN = float("nan")
IDS = [f"d{i}" for i in range(6)]


def test_two_lists_by_hand():
    rows = np.array([[3, 1, 4, 0], [2, -1, 5, -1]])
    scores = np.array([[0.5, NAN, 0.5, 0.9], [1.0, 7.0, 2.0, NAN]])
    found = rerank(["a", "b"], rows, scores, IDS)
    # 3 and 4 are equal: the earlier one first; 1 has no score; scores beside a -1 are not read.
    np.testing.assert_array_equal(found.ranking.rows, [[0, 3, 4, 1], [5, 2, -1, -1]])
    np.testing.assert_allclose(found.ranking.scores, [[0.9, 0.5, 0.5, -0.5], [2.0, 1.0, -math.inf, -math.inf]])
    assert found.unscored == 1
    assert found.ranking.documents == 6
    assert found.ranking.run(["a", "b"], IDS)["b"] == [("d5", 2.0), ("d2", 1.0)]


def test_candidates_without_any_score_keep_their_order():
    found = rerank(["a"], np.array([[3, 1, 4]]), np.full((1, 3), NAN), IDS)
    np.testing.assert_array_equal(found.ranking.rows, [[3, 1, 4]])
    assert found.unscored == 3
    np.testing.assert_array_equal(np.sort(found.ranking.scores)[:, ::-1], found.ranking.scores)


def test_a_run_file_keeps_the_order(tmp_path):
    rows, scores = np.array([[3, 1, 4, 0]]), np.array([[NAN, 2.0, 2.0, NAN]])
    run = rerank(["a"], rows, scores, IDS).ranking.run(["a"], IDS)
    write_run(tmp_path / "run.txt", run)
    assert [document for document, _ in read_run(tmp_path / "run.txt")["a"]] == ["d1", "d4", "d3", "d0"]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_lists_are_a_stable_sort(data):
    n, c = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    rows = np.array([data.draw(st.permutations(range(6)))[:c] for _ in range(n)])
    some = st.sampled_from([-2.0, -0.0, 0.0, 1.5, 3e38, NAN])
    scores = np.array(data.draw(st.lists(st.lists(some, min_size=c, max_size=c), min_size=n, max_size=n)))
    rows[np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=c, max_size=c), min_size=n, max_size=n)))] = -1
    found = rerank([str(i) for i in range(n)], rows, scores, IDS)
    missing = 0
    for i in range(n):
        pairs = [(row, score) for row, score in zip(rows[i].tolist(), scores[i].tolist(), strict=True) if row >= 0]
        scored = [row for row, _ in sorted((p for p in pairs if p[1] == p[1]), key=lambda p: -p[1])]
        others = [row for row, score in pairs if score != score]
        missing += len(others)
        expected = scored + others
        assert found.ranking.rows[i].tolist() == expected + [-1] * (c - len(expected))
    assert found.unscored == missing
    assert (found.ranking.scores[:, 1:] <= found.ranking.scores[:, :-1]).all()


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        ([[0, 1], [2, 9]], [[1, 2], [1, 2]], r"query 'b' has a candidate of row 9, and there are 6 documents"),
        ([[0, 1], [-2, 3]], [[1, 2], [1, 2]], "'b' has a candidate of row -2"),
        ([[0, 1], [2, 2]], [[1, 2], [1, 2]], "query 'b' has the candidate 'd2' twice"),
        ([[0, 1]], [[1, 2]], "1 lists of candidates for 2 queries"),
        ([[0, 1], [2, 3]], [[1, 2, 3], [1, 2, 3]], r"scores of shape \(2, 3\) for candidates of shape \(2, 2\)"),
        ([[0, 1], [2, 3]], [[1, 2], [1, math.inf]], r"query 'b' and document 'd3' is inf \(1 such\)"),
    ],
)
def test_what_is_wrong_with_lists_is_told(rows, scores, message):
    with pytest.raises(InputError, match=message):
        rerank(["a", "b"], np.array(rows), np.array(scores, dtype=np.float64), IDS)


@pytest.fixture
def world(tiny_collection, make_doc):
    """40 documents, 20 judged queries, each with one relevant document somewhere in its list of 12."""
    rng = np.random.default_rng(0)
    collection = tiny_collection(
        [make_doc(f"d{i}", f"text {i}") for i in range(40)],
        {f"q{i}": f"query {i}" for i in range(20)},
        {"test": {f"q{i}": {f"d{i}": 1} for i in range(20)}},
    )
    rows = np.empty((20, 12), dtype=np.int64)
    scores = rng.random((20, 12))
    for query in range(20):
        others = rng.permutation([d for d in range(40) if d != query])[:12]
        others[rng.integers(3, 12)] = query
        rows[query] = others
    better = scores + 0.8 * (rows == np.arange(20)[:, None])
    arguments = {
        "query_ids": list(collection.queries),
        "document_ids": collection.document_ids,
        "candidates": rows,
        "systems": {"teacher": better, "student": scores},
    }
    return collection, arguments


def test_systems_are_compared_with_the_reference(world):
    collection, arguments = world
    found = evaluate_reranking(collection, "test", **arguments, reference="teacher", measures=["RR@10", "nDCG@10"])
    assert list(found.systems) == ["teacher", FIRST_STAGE, "student"]
    assert list(found.comparisons) == [FIRST_STAGE, "student"]
    places = [int(np.flatnonzero(row == query)[0]) + 1 for query, row in enumerate(arguments["candidates"])]
    assert found.values(FIRST_STAGE, "RR@10") == {f"q{i}": 1 / p if p <= 10 else 0.0 for i, p in enumerate(places)}
    assert found.systems[FIRST_STAGE]["RR@10"] == pytest.approx(np.mean([1 / p if p <= 10 else 0 for p in places]))
    teacher = found.values("teacher", "nDCG@10")
    for name, comparison in found.comparisons.items():
        alone = retention(found.values(name, "nDCG@10"), teacher).as_json()
        assert comparison.retention["nDCG@10"].as_json() == pytest.approx(alone)
        assert comparison.retention["nDCG@10"].value < 1
    p = [comparison.retention["RR@10"].p for comparison in found.comparisons.values()]
    corrected = found.corrected("RR@10")
    assert list(corrected) == [FIRST_STAGE, "student"]
    assert min(corrected.values()) == pytest.approx(2 * min(p))
    data = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert data["holm"]["RR@10"] == corrected
    assert (data["documents"], data["queries"], data["depth"]) == (40, 20, 12)
    assert data["intervals"]["student"]["RR@10"]["low"] < data["systems"]["student"]["RR@10"]
    assert "systems re-rank given lists of up to 12 documents: no other document can be found" in data["notes"]
    assert {"teacher_top", "student_top", f"{FIRST_STAGE}_top"} <= found.per_query[0].keys()


def test_the_first_stage_is_the_reference_unless_another_is_named(world):
    collection, arguments = world
    found = evaluate_reranking(collection, "test", **arguments, measures=["RR@10"])
    assert list(found.systems) == [FIRST_STAGE, "teacher", "student"]
    assert found.comparisons["teacher"].retention["RR@10"].value > 1.5


def test_a_perfect_scorer_and_one_without_opinion(world):
    collection, arguments = world
    rows = arguments["candidates"]
    arguments["systems"] = {"all": (rows == np.arange(20)[:, None]) * 1.0, "none": np.zeros(rows.shape)}
    found = evaluate_reranking(collection, "test", **arguments, measures=["RR@10"])
    assert found.systems["all"]["RR@10"] == 1.0
    assert found.values("none", "RR@10") == found.values(FIRST_STAGE, "RR@10")
    assert found.comparisons["none"].agreement.value == 1.0


def test_a_search_of_its_own_is_a_system_too(world):
    collection, arguments = world
    rng = np.random.default_rng(1)
    documents = rng.standard_normal((40, 8)).astype(np.float32)
    queries = documents[:20] + rng.standard_normal((20, 8)).astype(np.float32)
    ranking = exact_search(queries, documents, 30)
    arguments["systems"]["search"] = ranking
    found = evaluate_reranking(collection, "test", **arguments, measures=["RR@10", "R@100"])
    alone = evaluate_systems(
        collection, "test", document_ids=arguments["document_ids"], systems={"search": System(queries, documents)},
        query_ids=arguments["query_ids"], measures=["RR@10"],
    )  # fmt: skip
    assert found.systems["search"]["RR@10"] == alone.systems["search"]["RR@10"]
    assert "search ranks the first 30 of all documents and re-ranks no list" in found.notes


def test_order_of_queries_and_unjudged_ones_change_nothing(world):
    collection, arguments = world
    whole = evaluate_reranking(collection, "test", **arguments, reference="teacher").as_json()
    turned = np.arange(20)[::-1]
    arguments = arguments | {
        "query_ids": [*(f"q{i}" for i in turned), "other"],
        "candidates": np.vstack([arguments["candidates"][turned], np.full((1, 12), -1)]),
        "systems": {k: np.vstack([v[turned], np.full((1, 12), NAN)]) for k, v in arguments["systems"].items()},
    }
    assert evaluate_reranking(collection, "test", **arguments, reference="teacher").as_json() == whole


def test_what_is_missing_is_counted_and_told(world):
    collection, arguments = world
    arguments["candidates"][3] = -1
    arguments["systems"]["student"][5, 2:4] = NAN
    arguments = arguments | {
        "query_ids": arguments["query_ids"][:18],
        "candidates": arguments["candidates"][:18],
        "systems": {k: v[:18] for k, v in arguments["systems"].items()},
    }
    found = evaluate_reranking(collection, "test", **arguments, measures=["RR@10"])
    assert "student: 2 candidates have no score and come last, in their given order" in found.notes
    assert "1 judged queries have an empty list; they count 0 for systems that re-rank" in found.notes
    assert "2 judged queries have no list of candidates; they count 0 for every system" in found.notes
    values = found.values("teacher", "RR@10")
    assert len(values) == 20
    assert values["q3"] == values["q18"] == values["q19"] == 0.0


def test_short_lists_are_ranked_too(world):
    collection, arguments = world
    arguments["candidates"] = arguments["candidates"][:, :3]
    arguments["systems"] = {k: v[:, :3] for k, v in arguments["systems"].items()}
    found = evaluate_reranking(collection, "test", **arguments, measures=["P@3"])
    assert found.depth == 3
    assert found.comparisons["student"].agreement.value == 1.0  # the same three in another order


def test_a_document_that_is_its_own_query_is_taken_out(world, make_doc):
    collection, arguments = world
    own = int(arguments["candidates"][2, 0])
    collection.docs[own] = make_doc("q2", "Query 2 and more")
    arguments["document_ids"] = collection.document_ids
    rows = np.tile(np.arange(40), (20, 1))
    arguments["systems"]["search"] = Ranking(rows, np.zeros(rows.shape, dtype=np.float32), 40)
    for mode, shown in (("auto", False), ("never", True)):
        found = evaluate_reranking(collection, "test", **arguments, exclude_self=mode)
        for name in ("teacher", FIRST_STAGE, "search"):
            ranked = found.rankings[name].rows[2]
            assert (own in ranked) == shown
            assert (np.diff((ranked < 0).astype(int)) >= 0).all()  # no holes
        assert found.excluded_self == (not shown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "nobody"}, "no system 'nobody' .*: there are first stage, teacher, student"),
        ({"systems": {FIRST_STAGE: np.zeros((20, 12))}}, "the candidates' own order"),
        ({"systems": {"short": np.zeros((20, 11))}}, r"short: scores of shape \(20, 11\) for candidates of shape"),
        ({"systems": {"odd": np.full((20, 12), math.inf)}}, "odd: the score of query 'q0'"),
        ({"systems": {"run": Ranking(np.zeros((3, 5), int), np.zeros((3, 5)), 40)}}, "run: a ranking of 3 queries"),
        ({"query_ids": [f"x{i}" for i in range(20)]}, "none of them has a list of candidates"),
        ({"measures": ["nDCG@0"]}, "nDCG@0"),
    ],
)
def test_what_does_not_fit_is_told(world, change, message):
    collection, arguments = world
    with pytest.raises(InputError, match=message):
        evaluate_reranking(collection, "test", **(arguments | change))
