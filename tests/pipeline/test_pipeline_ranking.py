"""Whole runs whose student is a ranker."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import lines, quick_run, read

from potstill.candidates import load_candidates
from potstill.collection import open_collection
from potstill.errors import InputError
from tiny import make_tiny_collection, make_tiny_cross_encoder

STUDENT = "cross-encoder:tiny:1x32"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("ranking") / "collection", documents=40, queries=60)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("ranking") / "reader", scale=2.0)


def settings(reader: Path, terms: list, *more: str) -> list[str]:
    scorers = [{"kind": "bm25", "perplexity": 2}, {"kind": "cross-encoder", "name": "reader", "model": str(reader)}]
    return ["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms), "candidates.count=7", *more]


VOTE = {"family": "vote", "form": "list", "teachers": ["bm25", "reader", "teacher"]}


@pytest.mark.parametrize("student", [STUDENT, "cross-encoder:layers:0"])
def test_a_ranker_of_three_teachers(tmp_path, judged, reader, tiny_encoder, signals, student):
    run = tmp_path / "run"
    found = quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=student,
        settings=settings(reader, [VOTE], "evaluate.cost=true"),
    )
    assert found["systems"].keys() == {"teacher", "student"}
    ranked = found["reranking"]
    assert {"mean", "median", "vote", "bm25", "reader", "student"} <= ranked["systems"].keys()
    assert found["systems"]["teacher"] == ranked["systems"]["mean"]
    assert 0 < found["share_of_cost"]["multiply_adds"] < 1
    assert found["cost"]["student"]["pair_ms"] > 0
    record = read(run / "run.json")
    assert record["teacher"]["name"] == "the mean of 3 teachers"
    assert record["queries"]["lists"] > 0
    assert len(record["panel"]) == 3
    logged = [line["votes"] for line in lines(run / "metrics.jsonl") if "votes" in line]
    assert logged[-1]["vote:list@mined"]["dropped"].keys() == {"bm25", "reader", "teacher"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "reads a query and a document together" in page
    assert "Multiply-adds a pair" in page
    assert "text-ranking" in (run / "student" / "README.md").read_text(encoding="utf-8")


def test_sentence_transformers_gives_the_scores_that_were_measured(tmp_path, judged, reader, tiny_encoder, signals):
    from sentence_transformers import CrossEncoder

    from potstill.recipe import ScorerSpec
    from potstill.teachers import open_scorer

    run = tmp_path / "run"
    quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=STUDENT,
        settings=settings(reader, [VOTE]),
    )
    pairs = [("malt and water", "a cask of malt"), ("yeast", "the still was cold")]
    theirs = CrossEncoder(str(run / "student"), device="cpu").predict(pairs)
    from potstill.signals import pair_text

    scorer = open_scorer(ScorerSpec(kind="cross-encoder", model=str(run / "student")))
    ours = scorer.source().encode([pair_text(*pair) for pair in pairs], "pair")[:, 0]
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_a_ranker_learns_the_order_of_its_teacher(tmp_path, judged, reader, tiny_encoder, signals):
    """Enough epochs on few lists: the loss falls to a fraction of what it was, and held-out agreement is chosen by."""
    run = tmp_path / "run"
    terms = [{"family": "scores", "form": "kl", "teacher": "bm25"}]
    more = ["training.epochs=40", "training.learning_rate=0.003", "training.patience=99", "queries.cap=60"]
    quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=STUDENT,
        settings=settings(reader, terms, *more),
    )
    log = lines(run / "metrics.jsonl")
    values = [next(iter(line["terms"].values())) for line in log if "terms" in line]
    assert values[-1] < 0.6 * values[0]
    scores = [line["validation"]["agreement with scorers"] for line in log if "validation" in line]
    assert max(scores) > scores[0] + 0.1


@pytest.mark.parametrize(
    "term",
    [
        {"family": "vote", "form": "margin"},
        {"family": "vote", "form": "logit"},
        {"family": "vote", "form": "bce", "vote": {"soft": 0.5}},
        {"family": "vote", "form": "list", "vote": {"matched": "mean"}},
        {"family": "ensemble", "form": "min-norm", "vote": {"cap": 0.4}},
        {"family": "ensemble", "form": "median", "vote": {"zscore": True}},
        {"family": "ensemble", "form": "confidence"},
        {"family": "ensemble", "form": "policy"},
        {"family": "vote", "form": "bce", "vote": {"labelled": "confidence"}},
    ],
)
def test_every_objective_of_scores_trains_a_ranker(tmp_path, judged, reader, tiny_encoder, signals, term):
    run = tmp_path / "run"
    terms = [term | {"teachers": ["bm25", "reader", "teacher"]}]
    quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=STUDENT,
        settings=settings(reader, terms, "training.select=last", "queries.judgments=train"),
    )
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert all(np.isfinite(value) and value > 0 for terms in logged for value in terms.values())


def test_two_stages_on_judged_lists(tmp_path, judged, reader, tiny_encoder, signals):
    """First without labels, then GOVERN-CA; the candidates are the documents that were judged."""
    run = tmp_path / "run"
    vote = VOTE | {"vote": {"temperatures": [1.0, 1.0, 0.05]}}
    given = {"labelled": "direction", "temperatures": [1.0, 1.0, 0.05]}
    supervised = [VOTE | {"vote": given}, {"family": "contrastive", "documents": "mined"}]
    stages = [{"objectives": [vote]}, {"objectives": supervised, "queries": {"judgments": "train"}}]
    more = ["stages=" + json.dumps(stages), 'candidates.sources=["judged","bm25"]', "queries.cuts=false"]
    found = quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=STUDENT,
        settings=settings(reader, [vote], "queries.held_out=10", *more),
    )
    assert found["systems"].keys() == {"teacher", "student"}
    record = read(run / "run.json")
    assert record["told"]["stages"][0].startswith("stage 1: nDCG@10")
    assert record["queries"]["judged"] > 0
    assert read(run / "stages" / "1" / "run.json")["queries"]["judged"] == 0
    collection = open_collection(judged)
    saved = load_candidates(run / "stages" / "1" / "candidates", collection.document_ids)
    assert [source.source for source in saved.provenance] == ["judged", "bm25"]
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert logged[-1].keys() == {"vote:list@mined", "contrastive:one-hot@mined"}


def test_a_ranker_is_resumed_to_the_same_weights(tmp_path, judged, reader, tiny_encoder, signals):
    given = {"collection": judged, "teacher": tiny_encoder, "signals": signals, "student": STUDENT}
    first = quick_run(tmp_path / "run", settings=settings(reader, [VOTE]), **given)
    again = quick_run(tmp_path / "run", settings=settings(reader, [VOTE]), resume=True, **given)
    assert again["systems"] == first["systems"]


@pytest.mark.parametrize(
    ("student", "terms", "more", "said"),
    [
        (STUDENT, [{"family": "match", "form": "l2"}], [], "a ranker gives scores, so it cannot learn match"),
        (STUDENT, [VOTE | {"documents": "all"}], [], "reads each query with its own candidates"),
        (STUDENT, [VOTE], ["index.width=16"], "no vectors to search"),
        (STUDENT, [VOTE], ["training.select=dev"], "dev"),
        ("cross-encoder:static", [VOTE], [], "cannot read pairs"),
        (STUDENT, [], [], "nothing to learn|give them"),
    ],
)
def test_what_a_ranker_cannot_do(tmp_path, judged, reader, tiny_encoder, signals, student, terms, more, said):
    with pytest.raises(InputError, match=said):
        quick_run(
            tmp_path / "run",
            collection=judged,
            teacher=tiny_encoder,
            signals=signals,
            student=student,
            settings=settings(reader, terms, *more),
        )
    assert not (tmp_path / "run").exists()


def test_a_ranker_is_no_encoder(tmp_path, judged, reader, tiny_encoder, signals):
    import potstill

    run = tmp_path / "run"
    quick_run(
        run,
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        student=STUDENT,
        settings=settings(reader, [VOTE]),
    )
    with pytest.raises(InputError, match="reads pairs"):
        potstill.load(run)


def test_the_doctor_knows_rankers(judged, reader, tiny_encoder, signals):
    from potstill.pipeline.doctor import examine
    from potstill.recipe import load_recipe

    def said(*objectives):
        flags = {"collection": str(judged), "teacher": str(tiny_encoder), "student": STUDENT}
        found = examine(load_recipe(None, flags=flags, settings=settings(reader, list(objectives))), signals=signals)
        return "\n".join(map(str, found))

    assert "tiny, reads pairs of up to 64 tokens" in said(VOTE)
    assert "cannot learn match" in said({"family": "match", "form": "l2"})


@pytest.mark.parametrize(
    ("teacher", "scorer", "said"),
    [
        ("same", "same", "two systems are called same"),
        (None, "vote", "name of an ensemble"),
        (None, "student", "called"),
    ],
)
def test_names_are_looked_at_before_work(tmp_path, judged, reader, tiny_encoder, signals, teacher, scorer, said):
    terms = [{"family": "scores", "form": "kl", "teacher": scorer}]
    scorers = [{"kind": "cross-encoder", "name": scorer, "model": str(reader)}]
    with pytest.raises(InputError, match=said):
        quick_run(
            tmp_path / "run",
            collection=judged,
            teacher={"model": str(tiny_encoder), "name": teacher},
            signals=signals,
            student=STUDENT,
            settings=["scorers=" + json.dumps(scorers), "objectives=" + json.dumps(terms)],
        )
    assert not (tmp_path / "run").exists()
