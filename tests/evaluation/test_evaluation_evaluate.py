from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.evaluation.evaluate import evaluate_pair, evaluate_systems, evaluate_unjudged
from potstill.evaluation.search import Rows
from potstill.evaluation.systems import System

KEYS = ["collection", "split", "documents", "queries", "systems", "retention", "agreement", "cost"]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def world(tiny_collection, make_doc):
    """60 documents; 30 queries near the document of their number, 25 judged; the student is a noisy teacher."""
    rng = np.random.default_rng(0)
    documents = unit(rng.standard_normal((60, 16)))
    teacher = unit(documents[:30] + 0.25 * rng.standard_normal((30, 16)))
    student = unit(teacher + 0.25 * rng.standard_normal((30, 16)))
    judged = {f"q{i}": {f"d{i}": 2, f"d{i + 30}": 0} for i in range(25)}
    collection = tiny_collection(
        [make_doc(f"d{i}", f"text {i}") for i in range(60)],
        {f"q{i}": f"query {i}" for i in range(30)},
        {"test": judged, "empty": {}},
    )
    arguments = {
        "document_ids": collection.document_ids,
        "documents": documents,
        "teacher_queries": teacher,
        "student_queries": student,
        "query_ids": list(collection.queries),
    }
    return collection, arguments


def test_json_has_the_schema(world, tmp_path):
    collection, arguments = world
    found = evaluate_pair(collection, "test", **arguments)
    found.cost = {"teacher": {"parameters": 1}}
    found.save(tmp_path / "evaluation.json", tmp_path / "per_query.jsonl")
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(data)[: len(KEYS)] == KEYS
    assert (data["collection"], data["split"], data["documents"], data["queries"]) == ("tiny", "test", 60, 25)
    names = ["nDCG@10", "RR@10", "R@100", "AP"]
    assert list(data["systems"]) == ["teacher", "student"]
    assert list(data["systems"]["student"]) == list(data["retention"]) == names
    for name in names:
        kept = data["retention"][name]
        assert list(kept) == ["value", "low", "high", "p"]
        assert kept["value"] == pytest.approx(data["systems"]["student"][name] / data["systems"]["teacher"][name])
        assert list(data["intervals"]["teacher"][name]) == ["low", "high"]
        assert list(data["difference"][name]) == ["value", "low", "high"]
    assert list(data["agreement"]) == ["overlap@10"]
    assert list(data["agreement"]["overlap@10"]) == ["value", "low", "high", "queries", "source"]
    assert data["agreement"]["overlap@10"]["source"] == "judged queries"
    assert data["cost"] == {"teacher": {"parameters": 1}}
    assert (data["prefixes"], data["comparisons"], data["excluded_self"], data["depth"]) == ({}, {}, 0, 100)
    assert data["notes"] == ["AP: over the first 100 documents of each query"]


def test_rows_per_query(world, tmp_path):
    collection, arguments = world
    found = evaluate_pair(collection, "test", **arguments)
    found.save(tmp_path / "evaluation.json", tmp_path / "per_query.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "per_query.jsonl").read_text().splitlines()]
    assert [row["query_id"] for row in rows] == [f"q{i}" for i in range(25)]
    row = rows[3]
    assert list(row) == ["query_id", "text", "measures", "overlap@10", "teacher_top", "student_top", "relevant"]
    assert (row["text"], row["relevant"]) == ("query 3", {"d3": 2})
    scores = arguments["documents"] @ arguments["teacher_queries"][3]
    best = np.argsort(-scores)[:10]
    assert [document for document, _ in row["teacher_top"]] == [f"d{i}" for i in best]
    assert [score for _, score in row["teacher_top"]] == pytest.approx(scores[best], abs=1e-6)
    shared = {d for d, _ in row["teacher_top"]} & {d for d, _ in row["student_top"]}
    assert row["overlap@10"] == len(shared) / 10
    for system in ("teacher", "student"):
        means = {name: np.mean([r["measures"][system][name] for r in rows]) for name in found.systems[system]}
        assert means == pytest.approx(found.systems[system])


def test_a_perfect_copy(world):
    collection, arguments = world
    arguments["student_queries"] = arguments["teacher_queries"].copy()
    found = evaluate_pair(collection, "test", **arguments)
    assert all(kept.value == 1.0 and kept.p == 1.0 for kept in found.retention.values())
    assert found.agreement.value == 1.0
    assert found.guarantee.top.certified.value == found.guarantee.rest.certified.value == 1.0
    assert "holm" not in found.as_json()


def test_the_guarantee_is_about_the_searched_queries(world):
    collection, arguments = world
    found = evaluate_pair(collection, "test", **arguments)
    data = found.as_json()
    assert list(data)[-1] == "guarantee"
    assert data["guarantee"] == found.guarantee.as_json()
    assert (found.guarantee.queries, found.guarantee.k, found.guarantee.depth) == (25, 10, 100)
    errors = arguments["student_queries"] - arguments["teacher_queries"]
    assert found.guarantee.error.value == pytest.approx(np.linalg.norm(errors[:25], axis=1).mean(), rel=1e-6)
    assert found.guarantee.rest.pairs == 25 * 10 * 50
    assert found.guarantee.top.violations == found.guarantee.rest.violations == 0
    collection.judged["test"] = dict(reversed(collection.judged["test"].items()))
    assert evaluate_pair(collection, "test", **arguments).guarantee == found.guarantee
    others = evaluate_pair(collection, "test", **arguments, student_documents=arguments["documents"].copy())
    assert others.guarantee is None
    assert "guarantee" not in others.as_json()


def test_chunks_a_table_and_a_matrix_are_alike_and_so_are_seeds(world):
    collection, arguments = world
    whole = evaluate_pair(collection, "test", **arguments, seed=4).as_json()

    class Table:
        def gather(self, rows):
            return arguments["documents"][::-1][rows]

    table = Rows(Table(), np.arange(60)[::-1], chunk=7)
    assert evaluate_pair(collection, "test", **(arguments | {"documents": table}), seed=4).as_json() == whole
    assert evaluate_pair(collection, "test", **arguments, seed=5).as_json() != whole


def test_the_order_of_judgments_changes_nothing(world):
    collection, arguments = world
    first = evaluate_pair(collection, "test", **arguments).as_json()
    collection.judged["test"] = dict(reversed(collection.judged["test"].items()))
    again = evaluate_pair(collection, "test", **arguments).as_json()
    assert again["retention"] == first["retention"]
    assert again["intervals"] == first["intervals"]


def test_judged_queries_without_a_vector_count_zero_and_are_told(world):
    collection, arguments = world
    whole = evaluate_pair(collection, "test", **arguments)
    for key in ("teacher_queries", "student_queries", "query_ids"):
        arguments[key] = arguments[key][5:]
    found = evaluate_pair(collection, "test", **arguments)
    assert found.queries == 25
    assert found.agreement.queries == 20
    lost = sum(row["measures"]["teacher"]["RR@10"] for row in whole.per_query[:5])
    assert found.systems["teacher"]["RR@10"] == pytest.approx(whole.systems["teacher"]["RR@10"] - lost / 25)
    assert "5 judged queries have no vector; they count 0 for every system" in found.notes
    assert found.per_query[0]["teacher_top"] == []
    assert found.per_query[0]["overlap@10"] is None


def test_queries_without_relevant_documents_are_told(world):
    collection, arguments = world
    collection.judged["test"]["q0"] = {"d0": 0}
    collection.judged["test"]["q1"] = {}
    found = evaluate_pair(collection, "test", **arguments)
    assert "2 judged queries have no relevant document; they count 0 for every system" in found.notes
    assert found.per_query[0]["measures"]["teacher"] == dict.fromkeys(found.systems["teacher"], 0.0)


def test_documents_that_are_their_own_query_are_left_out(world, make_doc):
    collection, arguments = world
    collection.docs[2] = make_doc("q2", "Query 2 and more")
    collection.docs[4] = make_doc("q4", "another text")
    arguments["document_ids"] = collection.document_ids
    counts = {}
    for mode in ("auto", "always", "never"):
        found = evaluate_pair(collection, "test", **arguments, exclude_self=mode)
        counts[mode] = found.as_json()["excluded_self"]
        tops = {row["query_id"]: [document for document, _ in row["teacher_top"]] for row in found.per_query}
        assert ("q2" in tops["q2"]) == (mode == "never")
        assert ("q4" in tops["q4"]) == (mode != "always")
    assert counts == {"auto": 1, "always": 2, "never": 0}


def test_prefixes_are_systems_of_their_own(world):
    collection, arguments = world
    found = evaluate_pair(collection, "test", **arguments, prefixes=(4, 16), measures=["RR@10"])
    data = found.as_json()
    assert list(data["systems"]) == ["teacher", "student", "student@4", "student@16"]
    assert list(data["prefixes"]) == ["4", "16"]
    assert list(data["prefixes"]["4"]) == ["retention", "difference", "agreement"]
    assert data["prefixes"]["16"]["retention"] == data["retention"]
    assert data["prefixes"]["4"]["retention"]["RR@10"]["value"] < data["retention"]["RR@10"]["value"]
    assert list(data["retention"]) == ["RR@10"]
    # Documents of length 1 are compared by cosine when cut.
    cut = unit(arguments["documents"][:, :4])
    alone = evaluate_pair(
        collection, "test", **(arguments | {"student_queries": arguments["student_queries"][:, :4]}),
        student_documents=cut, measures=["RR@10"],
    )  # fmt: skip
    assert alone.systems["student"]["RR@10"] == pytest.approx(found.systems["student@4"]["RR@10"])
    assert "student@4_top" not in found.per_query[0]
    with pytest.raises(InputError, match="prefix of 17"):
        evaluate_pair(collection, "test", **arguments, prefixes=(17,))


def test_a_student_with_documents_of_its_own(world):
    collection, arguments = world
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    arguments["student_queries"] = arguments["teacher_queries"] @ turned
    own = arguments["documents"] @ turned
    kept = evaluate_pair(collection, "test", **arguments, student_documents=own)
    assert kept.retention["nDCG@10"].value == pytest.approx(1.0)
    lost = evaluate_pair(collection, "test", **arguments)
    assert lost.retention["nDCG@10"].value < 0.7


def test_more_systems_are_compared_with_the_first(world):
    collection, arguments = world
    systems = {
        "full": System(arguments["teacher_queries"], arguments["documents"]),
        "a": System(arguments["student_queries"], arguments["documents"]),
        "b": System(arguments["student_queries"] * 3, arguments["documents"]),
    }
    found = evaluate_systems(
        collection, "test", document_ids=arguments["document_ids"], systems=systems, query_ids=arguments["query_ids"]
    )
    data = found.as_json()
    assert list(data["systems"]) == ["full", "a", "b"]
    assert data["comparisons"]["b"]["retention"] == data["retention"]
    p = data["retention"]["AP"]["p"]
    assert data["holm"]["AP"] == {"a": min(1.0, 2 * p), "b": min(1.0, 2 * p)}
    assert found.values("b", "AP") == {row["query_id"]: row["measures"]["b"]["AP"] for row in found.per_query}
    assert {"full_top", "a_top", "b_top"} <= found.per_query[0].keys()


def test_a_cutoff_deepens_the_search(world):
    collection, arguments = world
    found = evaluate_pair(collection, "test", **arguments, measures=["R@1000", "R@10"], depth=10)
    assert found.depth == 1000
    assert found.systems["teacher"]["R@1000"] == 1.0
    assert found.rankings["teacher"].run(found.ranked, arguments["document_ids"]).keys() == set(found.ranked)


def test_a_teacher_that_finds_nothing(world):
    collection, arguments = world
    collection.judged["test"] = {f"q{i}": {"nowhere": 1} for i in range(25)}
    data = evaluate_pair(collection, "test", **arguments, measures=["RR@10"]).as_json()
    assert data["retention"]["RR@10"] == {"value": None, "low": None, "high": None, "p": 1.0}
    assert "RR@10: the reference's mean is 0, so student has no retention" in data["notes"]


def test_without_judgments(world, tmp_path):
    collection, arguments = world
    query_ids = arguments.pop("query_ids")
    texts = [f"generated {i}" for i in range(len(query_ids))]
    found = evaluate_unjudged(collection, texts, **arguments, prefixes=(8,))
    found.save(tmp_path / "evaluation.json", tmp_path / "per_query.jsonl")
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(data)[: len(KEYS)] == KEYS
    assert (data["split"], data["queries"], data["systems"], data["retention"]) == (None, 0, {}, {})
    assert data["agreement"]["overlap@10"]["source"] == "held-out generated queries"
    assert data["agreement"]["overlap@10"]["queries"] == 30
    assert 0 < data["agreement"]["overlap@10"]["value"] < 1
    assert data["prefixes"]["8"]["agreement"]["overlap@10"]["value"] < data["agreement"]["overlap@10"]["value"]
    assert any("nothing was judged" in note for note in data["notes"])
    assert data["depth"] == 10
    assert (data["guarantee"]["queries"], data["guarantee"]["rest"]["pairs"]) == (30, 30 * 10 * 50)
    own = evaluate_unjudged(collection, texts, **arguments, student_documents=arguments["documents"])
    assert "guarantee" not in own.as_json()
    row = json.loads((tmp_path / "per_query.jsonl").read_text().splitlines()[3])
    assert (row["text"], row["relevant"], row["measures"]) == (
        "generated 3",
        {},
        {"teacher": {}, "student": {}, "student@8": {}},
    )
    with pytest.raises(InputError, match="held-out"):
        evaluate_unjudged(collection, [], **arguments)


def broken_query(arguments):
    vectors = arguments["student_queries"].copy()
    vectors[3, 0] = np.nan
    return {"student_queries": vectors}


def broken_document(arguments):
    vectors = arguments["documents"].copy()
    vectors[41, 0] = np.nan
    return {"documents": vectors}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (broken_query, InputError, r"student: .*row 3, query 'q3'"),
        (broken_document, InputError, r"teacher: .*document row 41 "),
        (lambda a: {"documents": a["documents"][:59]}, InputError, "teacher: 59 document vectors for 60 documents"),
        (lambda a: {"student_queries": a["student_queries"][:, :8]}, InputError, "student: queries have 8 .* 16"),
        (lambda a: {"student_queries": a["student_queries"][:9]}, ValueError, "student has 9 query vectors for 30"),
        (lambda a: {"documents": iter([a["documents"]])}, ValueError, "only once"),
        (lambda a: {"query_ids": [f"other{i}" for i in range(30)]}, InputError, "25 judged queries, and none"),
        (lambda a: {"measures": ["nDCG@0"]}, InputError, "nDCG@0"),
        (lambda a: {"exclude_self": "perhaps"}, InputError, "perhaps"),
    ],
)
def test_what_does_not_fit_is_told(world, change, error, message):
    collection, arguments = world
    with pytest.raises(error, match=message):
        evaluate_pair(collection, "test", **(arguments | change(arguments)))


def test_a_split_without_judgments_is_told(world):
    collection, arguments = world
    with pytest.raises(InputError, match="'empty' has 0 judged queries"):
        evaluate_pair(collection, "empty", **arguments)


def test_a_re_ranking_set_ranks_its_judged_documents_alone(world):
    collection, arguments = world
    found = evaluate_pair(collection, "test", candidates="judged", **arguments)
    ranking = found.rankings["student"]
    for number, query_id in enumerate(found.ranked):
        shown = {arguments["document_ids"][row] for row in ranking.rows[number] if row >= 0}
        assert shown == set(collection.qrels("test")[query_id])
    assert found.systems["student"]["R@100"] == 1.0
    assert "each query ranks its judged documents alone" in found.notes
    assert found.agreement.value == 1.0
