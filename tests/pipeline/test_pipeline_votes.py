"""Whole runs in which several teachers vote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline_runs import check_evaluation, lines, quick_run, read

from potstill.errors import InputError
from tiny import make_tiny_collection, make_tiny_cross_encoder


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("votes") / "collection", documents=40, queries=60)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("votes") / "reader", scale=2.0)


@pytest.mark.parametrize(
    ("form", "towers"),
    [
        ("list", "asymmetric"),
        ("list", "shared"),
        ("margin", "asymmetric"),
        ("margin", "shared"),
        ("logit", "asymmetric"),
        ("bce", "asymmetric"),
        ("probability", "shared"),
    ],
)
def test_three_kinds_of_teacher_vote(tmp_path, judged, reader, tiny_encoder, signals, form, towers):
    scorers = [{"kind": "bm25", "perplexity": 2}, {"kind": "cross-encoder", "name": "reader", "model": str(reader)}]
    terms = [{"family": "vote", "form": form, "teachers": ["bm25", "reader", "teacher"]}]
    run = tmp_path / "run"
    found = quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        settings=[
            "scorers=" + json.dumps(scorers),
            "objectives=" + json.dumps(terms),
            f"towers={towers}",
            "candidates.count=7",
        ],
    )
    check_evaluation(found)
    assert {"bm25", "reader", "student"} <= found["reranking"]["systems"].keys()
    record = read(run / "run.json")
    assert {"bm25", "reader"} == record["scorers"].keys()
    assert len(record["panel"]) == 3
    assert "rank correlation" in " ".join(record["told"]["teachers"])
    logged = [line["votes"] for line in lines(run / "metrics.jsonl") if "votes" in line]
    (said,) = logged[-1].values()
    assert said["dropped"].keys() == said["weight"].keys() == {"bm25", "reader", "teacher"}
    assert 0 <= said["contested"] <= 1
    told = " ".join(record["told"]["votes"])
    assert "contested" in told
    assert "bm25 is dropped" in told


@pytest.mark.parametrize("form", ["mean", "logits", "median", "random", "entropy", "entropy-softmax", "min-norm"])
def test_teachers_are_heard_without_a_vote(tmp_path, judged, reader, tiny_encoder, signals, form):
    scorers = [{"kind": "bm25", "perplexity": 2}, {"kind": "cross-encoder", "name": "reader", "model": str(reader)}]
    terms = [{"family": "ensemble", "form": form, "teachers": ["bm25", "reader", "teacher"]}]
    run = tmp_path / "run"
    settings = ["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms), "candidates.count=7"]
    check_evaluation(quick_run(run, collection=judged, teacher=tiny_encoder, signals=signals, settings=settings))
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert all(value > 0 for terms in logged for value in terms.values())


@pytest.mark.parametrize(
    ("family", "form", "zscore"), [("ensemble", "logits", True), ("vote", "list", False), ("ensemble", "median", True)]
)
def test_hybrid_search_in_one_vector(tmp_path, judged, tiny_encoder, signals, family, form, zscore, capsys):
    """BM25 and the teacher of vectors on every document; the student stays on the teacher's index."""
    vote = {"zscore": zscore, "perplexity": 4} | ({"weights": [0.7, 0.3]} if form == "logits" else {})
    terms = [{"family": family, "form": form, "teachers": ["teacher", "bm25"], "documents": "all", "vote": vote}]
    settings = ["scorers=" + json.dumps([{"kind": "bm25"}]), "objectives=" + json.dumps(terms)]
    run = tmp_path / "run"
    check_evaluation(quick_run(run, collection=judged, teacher=tiny_encoder, signals=signals, settings=settings))
    said = capsys.readouterr().err
    assert said.count("for 4 effective documents") == 1
    assert "for 4 effective documents" in " ".join(read(run / "run.json")["told"]["teachers"])
    assert not (run / "candidates").exists()  # no lists are needed
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert all(value > 0 for terms in logged for value in terms.values())


def test_readers_of_pairs_are_not_asked_for_every_document(tmp_path, judged, reader, tiny_encoder, signals):
    scorers = [{"kind": "cross-encoder", "name": "reader", "model": str(reader)}]
    terms = [{"family": "ensemble", "teachers": ["teacher", "reader"], "documents": "all"}]
    settings = ["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms)]
    with pytest.raises(InputError, match="would be too many"):
        quick_run(tmp_path / "run", collection=judged, teacher=tiny_encoder, signals=signals, settings=settings)


def test_a_run_is_not_resumed_with_other_votes(tmp_path, judged, reader, tiny_encoder, signals):
    scorers = [{"kind": "bm25", "perplexity": 2}]
    terms = [{"family": "vote", "teachers": ["bm25", "teacher"], "vote": {"soft": 0.5}}]
    given = {"collection": judged, "teacher": tiny_encoder, "signals": signals}
    settings = ["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms), "candidates.count=7"]
    first = quick_run(tmp_path / "run", settings=settings, **given)
    assert quick_run(tmp_path / "run", settings=settings, resume=True, **given)["systems"] == first["systems"]


@pytest.mark.parametrize(("form", "labelled"), [("list", "confidence"), ("list", "direction"), ("margin", "direction")])
def test_govern_ca_is_a_second_stage(tmp_path, judged, reader, tiny_encoder, signals, form, labelled):
    """First without labels, then with: the vote and what is known of the training queries."""
    scorers = [{"kind": "bm25", "perplexity": 2}, {"kind": "cross-encoder", "name": "reader", "model": str(reader)}]
    vote = {"family": "vote", "form": form, "teachers": ["bm25", "reader", "teacher"]}
    supervised = [vote | {"vote": {"labelled": labelled}}, {"family": "contrastive", "documents": "mined"}]
    stages = [{"objectives": [vote]}, {"objectives": supervised, "queries": {"judgments": "train"}}]
    settings = ["scorers=" + json.dumps(scorers), "stages=" + json.dumps(stages), "candidates.count=7"]
    run = tmp_path / "run"
    check_evaluation(quick_run(run, collection=judged, teacher=tiny_encoder, signals=signals, settings=settings))
    assert read(run / "run.json")["queries"]["judged"] > 0
    assert read(run / "stages" / "1" / "run.json")["queries"]["judged"] == 0
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert logged[-1].keys() == {f"vote:{form}@mined", "contrastive:one-hot@mined"}


def test_labels_are_asked_for(tmp_path, judged, tiny_encoder, signals):
    terms = [{"family": "vote", "teachers": ["bm25", "teacher"], "vote": {"labelled": "confidence"}}]
    settings = ["scorers=" + json.dumps([{"kind": "bm25", "perplexity": 2}]), "objectives=" + json.dumps(terms)]
    with pytest.raises(InputError, match="judged to fit, and no judgments are read"):
        quick_run(tmp_path / "run", collection=judged, teacher=tiny_encoder, signals=signals, settings=settings)


def test_teachers_that_are_alike_have_one_vote(tmp_path, judged, reader, tiny_encoder, signals):
    scorers = [
        {"kind": "bm25", "perplexity": 2},
        {"kind": "cross-encoder", "name": "one", "model": str(reader)},
        {"kind": "cross-encoder", "name": "again", "model": str(reader)},
    ]
    vote = {"together": [["one", "again"]]}
    terms = [{"family": "vote", "teachers": ["bm25", "one", "teacher", "again"], "vote": vote}]
    settings = ["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms), "candidates.count=7"]
    run = tmp_path / "run"
    quick_run(run, collection=judged, teacher=tiny_encoder, signals=signals, settings=settings)
    logged = [line["votes"] for line in lines(run / "metrics.jsonl") if "votes" in line]
    assert list(logged[-1]["vote:list@mined"]["dropped"]) == ["bm25", "one+again", "teacher"]
    assert "as good as one teacher with two votes" in " ".join(read(run / "run.json")["told"]["teachers"])
