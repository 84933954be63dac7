"""Whole runs with judged queries, candidates and teachers of scores: what is learned from, recorded and measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import QUICK, check_evaluation, quick_run, read

from potstill.candidates import load_candidates
from potstill.collection import open_collection
from potstill.errors import InputError
from potstill.pipeline import distill
from potstill.recipe import load_recipe
from tiny import make_tiny_collection, make_tiny_cross_encoder, make_tiny_dual_pooled, make_tiny_encoder

JUDGED = ("queries.judgments=train", "queries.other_splits=false", "queries.cuts=false", "candidates.count=5")
ROUNDS = ("evaluate.rerank=8", "training.epochs=2")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("scorers") / "collection", documents=40, queries=96)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("scorers")
    scorers = [
        {"kind": "cross-encoder", "name": "cls", "model": str(make_tiny_cross_encoder(folder / "cls"))},
        {"kind": "dual-pooled", "name": "dual", "model": str(make_tiny_dual_pooled(folder / "dual"))},
        {"kind": "dual-pooled", "name": "wide", "model": str(make_tiny_dual_pooled(folder / "wide", dim=48))},
    ]
    return "scorers=" + json.dumps(scorers)


def run_with(run: Path, judged: Path, teacher: Path, signals: Path, *settings: str, **more):
    return quick_run(
        run, collection=judged, teacher=teacher, signals=signals, settings=[*JUDGED, *ROUNDS, *settings], **more
    )


def test_a_student_of_scorers_from_lists_to_report(tmp_path, judged, panel, tiny_encoder, signals):
    terms = [
        {"family": "scores", "form": "kl", "teacher": "cls"},
        {"family": "scores", "form": "pearson", "teacher": "dual", "keep_wrong": 0.5},
        {"family": "match", "role": "both", "teacher": "dual"},
        {"family": "match", "role": "query", "teacher": "wide", "form": "cosine"},
        {"family": "contrastive", "documents": "mined"},
    ]
    run = tmp_path / "run"
    found = run_with(
        run,
        judged,
        tiny_encoder,
        signals,
        panel,
        "objectives=" + json.dumps(terms),
        student="layers:0,1",
        towers="shared",
    )
    check_evaluation(found)
    record = read(run / "run.json")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(line["terms"] for line in lines if "terms" in line)
    assert list(logged) == [
        "scores:kl(cls)@mined",
        "scores:pearson(dual)@mined",
        "match:l2(dual)@both",
        "match:cosine(wide)",
        "contrastive:one-hot@mined",
    ]
    assert all(np.isfinite(value) for value in logged.values())
    # The temperature was found without labels and is on record; what was learned from is told.
    assert record["scorers"]["cls"]["calibrated"] is True
    assert record["scorers"]["cls"]["temperature"] > 0
    assert record["scorers"]["cls"]["perplexity"] == pytest.approx(4.0, rel=0.01)
    assert set(record["scorers"]) == {"cls", "dual"}, "those whose scores are learned from"
    assert record["queries"]["judged"] == record["queries"]["total"] > 20
    assert record["told"]["candidates"]
    assert record["told"]["scorers"]
    # Re-ranking: the same lists for all, the student against each.
    told = found["reranking"]
    assert told["depth"] == 8
    assert list(told["systems"]) == ["first stage", "cls", "dual", "wide", "student"]
    assert set(told["retention"]["student"]) == {"first stage", "cls", "dual", "wide"}
    values = read(run / "reranking.json")
    for system, measures in told["systems"].items():
        assert measures["nDCG@10"] == pytest.approx(np.mean(values["systems"][system]["nDCG@10"]))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Re-ranking" in page
    assert "were learned from (split train)" in page
    assert "without labels" not in page
    card = (run / "student" / "README.md").read_text(encoding="utf-8")
    assert "Judgments of" in card


def test_no_candidate_is_a_known_positive_and_lists_begin_with_one(tmp_path, judged, tiny_encoder, signals):
    run = tmp_path / "run"
    run_with(run, judged, tiny_encoder, signals, "objectives=[{family: scores, documents: mined}, match:l2]")
    collection = open_collection(judged)
    held = load_candidates(run / "candidates", collection.document_ids)
    texts = {text: query for query, text in collection.queries.items()}
    train, test = collection.qrels("train"), collection.qrels("test")
    recipe = load_recipe(run / "recipe.yaml")
    from potstill.pipeline.preparation import gather_queries

    queries = gather_queries(recipe, collection, "test", signals)
    assert len(held) == len(queries.texts)
    for row, text in enumerate(queries.texts):
        query = texts[text]
        assert query in train
        assert query not in test
        ids = {collection.document_ids[i] for i in held.rows[row] if i >= 0}
        assert not ids & {document for document, grade in train[query].items() if grade > 0}
        assert ids
    assert held.provenance[0].positives_kept_out > 0


def test_a_second_run_asks_the_scorers_nothing_anew(tmp_path, judged, panel, tiny_encoder, signals, monkeypatch):
    terms = "objectives=[{family: scores, teacher: cls}]"
    more = {"student": "static", "towers": "shared"}
    whole = run_with(tmp_path / "whole", judged, tiny_encoder, signals, panel, terms, **more)
    from potstill.teachers.cross_encoder import CrossEncoderScorer

    asked = []
    encode = CrossEncoderScorer.encode
    monkeypatch.setattr(
        CrossEncoderScorer,
        "encode",
        lambda self, texts, role="pair": asked.append(len(texts)) or encode(self, texts, role),
    )
    again = run_with(tmp_path / "again", judged, tiny_encoder, signals, panel, terms, **more)
    assert max(asked, default=0) <= 8, "only the probe at opening"
    assert again["systems"] == whole["systems"]
    weights = [
        next((tmp_path / side / "student").rglob("model.safetensors")).read_bytes() for side in ("whole", "again")
    ]
    assert weights[0] == weights[1]


def test_a_list_of_teachers_is_one_of_vectors_and_scorers(tmp_path, judged, tiny_encoder, panel):
    scorers = json.loads(panel.removeprefix("scorers="))
    recipe = load_recipe(None, flags={"collection": str(judged), "teacher": [str(tiny_encoder), *scorers[:2]]})
    assert recipe.teacher.model == str(tiny_encoder)
    assert [scorer.name for scorer in recipe.scorers] == ["cls", "dual"]
    with pytest.raises(InputError, match="2 teachers of vectors"):
        load_recipe(None, flags={"collection": str(judged), "teacher": ["a", "b"]})


BROKEN = {
    "no such scorer": (["objectives=[{family: scores, teacher: other}]"], "listens to 'other'"),
    "vectors on an index": (["objectives=[{family: match, teacher: dual}]"], "must stay in its space"),
    "test judgments": (["queries.judgments=test"], "test"),
    "no such split": (["queries.judgments=dev"], "no split dev"),
    "lists of a scorer are mined": (
        ["objectives=[{family: scores, teacher: cls, documents: all}]"],
        "own candidates",
    ),
    "one-hot without judgments": (
        ["queries.judgments=null", "queries.cuts=true", "objectives=[contrastive]"],
        "judged to fit",
    ),
    "no such source": (["objectives=[{family: scores, documents: mined}]", "candidates.sources=[colbert]"], "colbert"),
    "a source twice": (
        ["objectives=[{family: scores, documents: mined}]", "candidates.sources=[bm25, bm25]"],
        "twice",
    ),
    "all skipped": (["objectives=[{family: scores, documents: mined}]", "candidates.skip=100"], "leaves out the first"),
    "covariance of a scorer": (
        ["objectives=[{family: match, form: covariance, teacher: dual}]"],
        "second moments",
    ),
    "a key that nothing reads": (
        ["objectives=[{family: scores, form: mse, teacher: cls, scale_by_temperature: true}]"],
        "has no scale_by_temperature",
    ),
    "too few candidates for the perplexity": (
        ["objectives=[{family: scores, teacher: cls}]", "candidates.count=2"],
        "effective candidates",
    ),
    "two of one name": (["scorers=[{kind: sparse, model: a/x}, {kind: sparse, model: b/x}]"], "one name"),
    "a missing scorer": (["scorers=[{kind: cross-encoder, model: /no/such}]"], "no such"),
    "perplexity": (
        ["objectives=[{family: scores, teacher: cls}]", "scorers.0.perplexity=50"],
        "scorers",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_end_before_work(name, tmp_path, judged, panel, tiny_encoder, signals):
    settings, words = BROKEN[name]
    run = tmp_path / "run"
    store = tmp_path / "store"
    with pytest.raises(InputError, match=words) as caught:
        run_with(run, judged, tiny_encoder, store, panel, *settings)
    assert caught.value.fix
    assert not run.exists()
    assert not store.exists(), "the teacher has worked"


def test_constant_scores_cannot_be_calibrated(tmp_path, judged, tiny_encoder, signals, monkeypatch):
    model = make_tiny_cross_encoder(tmp_path / "model")
    scorers = json.dumps([{"kind": "cross-encoder", "name": "flat", "model": str(model)}])
    from potstill.teachers.cross_encoder import CrossEncoderScorer

    constant = lambda self, texts, role="pair": np.zeros((len(texts), 1), np.float32)  # noqa: E731
    monkeypatch.setattr(CrossEncoderScorer, "encode", constant)
    monkeypatch.setattr("potstill.teachers.cross_encoder.probe", lambda *_: None)
    with pytest.raises(InputError, match="cannot be calibrated") as caught:
        run_with(
            tmp_path / "run",
            judged,
            tiny_encoder,
            signals,
            f"scorers={scorers}",
            "objectives=[{family: scores, teacher: flat}]",
            towers="shared",
        )
    assert caught.value.fix


def test_the_covariance_form_trains(tmp_path, judged, tiny_encoder, signals):
    run = tmp_path / "run"
    found = run_with(run, judged, tiny_encoder, signals, "objectives=[match:covariance]", "queries.cuts=true")
    check_evaluation(found)
    assert "guarantee" in found
    assert found["guarantee"]["top"]["violations"] == 0


def test_select_last_keeps_the_last_weights(tmp_path, judged, tiny_encoder, signals):
    run = tmp_path / "run"
    run_with(run, judged, tiny_encoder, signals, "training.select=last", "objectives=[match:l2]", "training.patience=1")
    record = read(run / "run.json")["training"]
    assert record["best_step"] is None
    assert record["epochs"] == 2
    assert not record["stopped_early"]


def test_difficulty_is_taken_at_the_calibrated_temperature(tmp_path, judged, tiny_encoder, signals, panel, monkeypatch):
    scorers = json.loads(panel.removeprefix("scorers="))[:1]
    recipe = load_recipe(
        None,
        flags={"collection": str(judged), "teacher": [str(tiny_encoder), *scorers], "towers": "shared"},
        settings=[*QUICK, *JUDGED, *ROUNDS, "objectives=[{family: scores, form: cmkd, teacher: cls}]"],
    )
    seen = []
    from potstill.training import terms

    build = terms.build_terms
    monkeypatch.setattr(
        "potstill.pipeline.fitting.build_terms", lambda *a, **k: seen.append(build(*a, **k)) or seen[-1]
    )
    found = distill(recipe, tmp_path / "run", signals=signals)
    record = read(tmp_path / "run" / "run.json")
    assert seen[0][0].objective.teacher_temperature == record["scorers"]["cls"]["temperature"] != 0.05
    assert found["reranking"]["systems"]["cls"]["nDCG@10"] > 0


def test_encoders_of_another_width_match_through_a_head(tmp_path, judged, signals, panel):
    teacher = make_tiny_encoder(tmp_path / "teacher", dim=16)
    found = run_with(
        tmp_path / "run",
        judged,
        teacher,
        signals,
        panel,
        "objectives=[{family: match, role: both, teacher: dual}]",
        student="layers:0,1",
        towers="shared",
    )
    check_evaluation(found)
    student = json.loads((tmp_path / "run" / "student" / "potstill.json").read_text())
    assert student["dimensions"] == 16, "the head is no part of the student"


def test_saved_candidates_are_found_again_by_query_whatever_its_place(tmp_path, judged, tiny_encoder, signals):
    terms = "objectives=[{family: scores, documents: mined}]"
    run_with(tmp_path / "first", judged, tiny_encoder, signals, terms)
    saved = tmp_path / "first" / "candidates"
    again = (terms, f"candidates.sources=[{saved}]", "training.seed=7")
    run_with(tmp_path / "again", judged, tiny_encoder, signals, *again)
    first, second = (load_candidates(tmp_path / name / "candidates") for name in ("first", "again"))
    assert first.query_ids != second.query_ids, "another seed holds other queries out"
    shared = set(first.query_ids) & set(second.query_ids)
    assert len(shared) > 10
    for query in shared:
        one, two = first.rows[first.positions([query])[0]], second.rows[second.positions([query])[0]]
        assert one.tolist() == two.tolist()
    assert set(second.query_ids) <= set(open_collection(judged).queries), "the collection's own ids"


def test_a_student_of_a_scorer_is_chosen_by_the_scorer(tmp_path, judged, panel, tiny_encoder, signals):
    run = tmp_path / "run"
    terms = "objectives=[{family: scores, teacher: cls}]"
    run_with(run, judged, tiny_encoder, signals, panel, terms, student="layers:0,1", towers="shared")
    seen = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [line["validation"] for line in seen if "validation" in line]
    assert all(line["score"] == line["agreement with scorers"] != line["overlap@10"] for line in validations)
    assert validations[0]["overlap@10"] == 1.0, "the untrained student is a copy of the teacher of vectors"
    record = read(run / "run.json")["training"]
    assert record["best_score"] == max(line["score"] for line in validations)


def test_odd_names_of_measures_and_none_at_all(tmp_path, judged, panel, tiny_encoder, signals):
    more = ("objectives=[{family: scores, teacher: cls}]", "evaluate.rerank=30", "evaluate.depth=10")
    found = run_with(
        tmp_path / "run", judged, tiny_encoder, signals, panel, *more, "evaluate.measures=[MRR@10]", towers="shared"
    )
    assert list(found["reranking"]["systems"]["student"]) == ["RR@10"]
    assert found["reranking"]["depth"] == 30, "deeper than the search for measures"


def test_only_documents_that_a_scorer_read_are_rows_of_training(tmp_path, judged, panel, tiny_encoder, signals):
    run = tmp_path / "run"
    terms = "objectives=[{family: match, role: both, teacher: dual, count: 2}]"
    run_with(run, judged, tiny_encoder, signals, panel, terms, "candidates.sources=[random]", towers="shared")
    record = read(run / "run.json")
    held = load_candidates(run / "candidates")
    read_documents = {row for line in held.rows[:, :1] for row in line.tolist() if row >= 0}
    texts = record["training"]["texts"] // record["training"]["epochs"]
    assert record["queries"]["total"] < texts < record["queries"]["total"] + 40
    assert texts <= record["queries"]["total"] + len(read_documents) + 40


@pytest.mark.parametrize("name", ["student", "teacher", "first stage"])
def test_names_that_reports_use_are_refused(name):
    with pytest.raises(InputError, match="cannot be called"):
        load_recipe(None, settings=["collection=c", "teacher=t", f"scorers=[{{kind: sparse, model: m, name: {name}}}]"])


def test_lists_of_judged_queries_alone(tmp_path, judged, panel, tiny_encoder, signals, monkeypatch):
    from potstill.pipeline import fitting

    seen = []
    made = fitting.training_set
    monkeypatch.setattr(fitting, "training_set", lambda *a: seen.append(made(*a)) or seen[-1])
    terms = "objectives=[match:l2, {family: scores, teacher: cls}]"
    run_with(
        tmp_path / "run",
        judged,
        tiny_encoder,
        signals,
        panel,
        terms,
        "queries.cuts=true",
        "candidates.judged_only=true",
    )
    data = seen[0]
    known = (data.positives >= 0).any(axis=1)
    assert 0 < known.sum() < len(known)
    assert (data.mined[known, 0] == data.positives[known, 0]).all()
    assert (data.mined[~known] == -1).all()
    assert np.isnan(data.pair_scores["cls"][~known]).all()
