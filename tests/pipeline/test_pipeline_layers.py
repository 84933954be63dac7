"""Whole runs that align layers: from stored layers, from live teachers, and with a teacher that is trained too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import check_evaluation, lines, quick_run, read

import potstill
from potstill.errors import InputError
from tiny import make_tiny_collection, make_tiny_cross_encoder, make_tiny_encoder, make_tiny_tokenizer

JUDGED = (
    "queries.judgments=train",
    "queries.other_splits=false",
    "queries.cuts=false",
    "candidates.count=3",
    "training.epochs=2",
    "training.max_texts_per_batch=8",
)
LAST = "training.select=last"
LAYERS = {"family": "layers", "layers": {"count": 2, "redraw": 2, "place": "mean"}}
CONTRASTIVE = {"family": "contrastive", "documents": "pooled"}
RESPONSE = {"family": "scores", "form": "kl", "documents": "pooled"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("layers") / "collection", documents=40, queries=96)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("layers") / "deep", layers=4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_tiny_cross_encoder(tmp_path_factory.mktemp("layers") / "reader", layers=3)
    return "scorers=" + json.dumps([{"kind": "cross-encoder", "name": "reader", "model": str(folder)}])


def run_with(run: Path, judged: Path, teacher: Path, signals: Path, objectives, *settings: str, **more):
    more = {"student": "layers:0,1,3", "towers": "shared"} | more
    settings = (*JUDGED, "objectives=" + json.dumps(objectives), *settings)
    return quick_run(run, collection=judged, teacher=teacher, signals=signals, settings=settings, **more)


@pytest.mark.parametrize("form", ["adaptive", "uniform", "agreement"])
def test_layers_of_the_teacher_are_a_stored_signal(tmp_path, judged, deep, signals, form):
    run = tmp_path / "run"
    check_evaluation(run_with(run, judged, deep, signals, [CONTRASTIVE, RESPONSE, LAYERS | {"form": form}]))
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert all(terms[f"layers:{form}@pooled"] > 0 for terms in logged)
    tables = [path.name for path in signals.iterdir()]
    held = [read(path / "table.json") for path in signals.iterdir() if (path / "table.json").exists()]
    assert len(held) == len(tables)
    assert any(["signal", "layers"] in [list(pair) for pair in table["fingerprint"]["extra"]] for table in held)


def test_a_cross_encoder_is_read_live_and_frozen(tmp_path, judged, deep, reader, signals):
    run = tmp_path / "run"
    terms = [
        CONTRASTIVE | {"documents": "mined"},
        {"family": "scores", "form": "kl", "teacher": "reader"},
        LAYERS | {"teacher": "reader", "form": "adaptive"},
    ]
    check_evaluation(run_with(run, judged, deep, signals, terms, reader))
    assert {
        line["terms"]["layers:adaptive(reader)@mined"] > 0 for line in lines(run / "metrics.jsonl") if "terms" in line
    } == {True}
    assert not (run / "teacher").exists()


def test_a_dual_encoder_trained_with_its_student_is_saved_and_evaluated(tmp_path, judged, deep, signals):
    run = tmp_path / "run"
    terms = [CONTRASTIVE, RESPONSE, LAYERS | {"form": "adaptive"}]
    check_evaluation(run_with(run, judged, deep, signals, terms, 'joint={"teacher": "teacher"}', LAST))
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert {"contrastive:one-hot(teacher)@pooled", "scores:kl@pooled", "layers:adaptive@pooled"} < set(logged[-1])
    check_evaluation(read(run / "teacher.json"))
    assert read(run / "run.json")["told"]["teacher trained too"][0].startswith("against what it was: nDCG@10 ")
    trained = potstill.load(run / "teacher").encode_queries(["a cask of malt"])
    before = potstill.load(deep).encode_queries(["a cask of malt"])
    assert np.abs(trained - before).max() > 1e-4
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(run / "teacher"), device="cpu").encode(["a cask of malt"])
    np.testing.assert_allclose(plain, trained, atol=1e-5)


def test_a_cross_encoder_trained_with_its_student_re_ranks_beside_itself(tmp_path, judged, deep, reader, signals):
    run = tmp_path / "run"
    terms = [
        CONTRASTIVE | {"documents": "mined"},
        {"family": "scores", "form": "kl", "teacher": "reader"},
        LAYERS | {"teacher": "reader", "form": "adaptive"},
    ]
    joint = 'joint={"teacher": "reader", "learning_rate": 0.001}'
    found = run_with(run, judged, deep, signals, terms, reader, joint, LAST)
    systems = found["reranking"]["systems"]
    assert {"reader", "reader (trained)"} <= set(systems)
    assert systems["reader"] != systems["reader (trained)"]
    assert (run / "teacher" / "model.safetensors").is_file()


def refused(tmp_path, judged, deep, objectives, *settings, **more) -> str:
    with pytest.raises(InputError) as error:
        run_with(tmp_path / "refused", judged, deep, tmp_path / "store", objectives, *settings, **more)
    assert not (tmp_path / "store").exists()
    return str(error.value)


def test_what_cannot_be_aligned_is_refused_before_the_teacher_works(tmp_path, judged, deep, reader):
    layers = [CONTRASTIVE, LAYERS | {"form": "adaptive"}]
    assert "asymmetric" in refused(tmp_path, judged, deep, layers, towers="asymmetric")
    assert "a static student has no layers" in refused(tmp_path, judged, deep, layers, student="static")
    many = [LAYERS | {"layers": {"count": 5}, "form": "uniform"}]
    assert "5 pairs of layers are asked for, and deep has 4" in refused(tmp_path, judged, deep, many)
    many = [LAYERS | {"layers": {"count": 4}, "form": "uniform"}]
    assert "there are 3" in refused(tmp_path, judged, deep, many)
    unjudged = refused(tmp_path, judged, deep, layers, "queries.judgments=null", "queries.cuts=true")
    assert "judged to fit" in unjudged
    pooled = [{"family": "scores", "teacher": "reader", "documents": "pooled"}, LAYERS | {"teacher": "reader"}]
    assert "its own candidates" in refused(tmp_path, judged, deep, pooled, reader)


def test_what_a_trained_teacher_cannot_do_is_refused(tmp_path, judged, deep):
    joint = 'joint={"teacher": "teacher"}'
    matched = [{"family": "match", "role": "both"}, CONTRASTIVE]
    assert "is trained too" in refused(tmp_path, judged, deep, matched, joint)
    assert "no objective listens to teacher" in refused(tmp_path, judged, deep, [CONTRASTIVE], joint)
    nobody = 'joint={"teacher": "nobody"}'
    assert "which is no teacher here" in refused(tmp_path, judged, deep, [RESPONSE], nobody)


def test_a_run_encoded_in_parts_is_the_same_run(tmp_path, judged, deep, signals):
    terms = [CONTRASTIVE, RESPONSE, LAYERS | {"form": "adaptive"}]
    logs = []
    for name, more in (("whole", ()), ("parts", ("training.encode_at_once=3",))):
        run_with(tmp_path / name, judged, deep, signals, terms, LAST, *more)
        logs.append([line for line in lines(tmp_path / name / "metrics.jsonl") if "terms" in line][-1])
    assert logs[0]["terms"] == pytest.approx(logs[1]["terms"], rel=1e-3)


def test_what_does_not_go_together_is_refused(tmp_path, judged, deep, reader):
    parts, mix = "training.encode_at_once=4", "augment.mix=0.5"
    layers = [CONTRASTIVE, LAYERS | {"form": "adaptive"}]
    assert "not encoded in parts" in refused(tmp_path, judged, deep, layers, parts, mix)
    plain = {"student": "static", "towers": "asymmetric"}
    assert "no graph worth saving" in refused(tmp_path, judged, deep, ["match:l2"], parts, **plain)
    both = [LAYERS | {"teacher": "reader"}, {"family": "match", "teacher": "reader", "role": "both"}]
    assert "read beforehand" in refused(tmp_path, judged, deep, both, reader)
    joint = [{"family": "scores", "form": "kl", "documents": "pooled"}]
    unjudged = refused(tmp_path, judged, deep, joint, 'joint={"teacher": "teacher"}', "queries.judgments=null")
    assert "none are read" in unjudged
    listed = [{"family": "contrastive", "layers": {"count": 1}}]
    assert "`layers` pairs blocks" in refused(tmp_path, judged, deep, listed)


def test_a_student_whose_blocks_cannot_be_told_apart_still_learns_what_needs_none(tmp_path, judged, deep, signals):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AlbertConfig, AlbertModel

    sizes = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = make_tiny_tokenizer()
    albert = AlbertModel(AlbertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **sizes))
    for part in (albert, tokenizer):
        part.save_pretrained(tmp_path / "plain")
    shared = SentenceTransformer(modules=[Transformer(str(tmp_path / "plain")), Pooling(32, "mean")], device="cpu")
    shared.save_pretrained(str(tmp_path / "albert"), create_model_card=False)
    student = {"student": str(tmp_path / "albert")}
    check_evaluation(run_with(tmp_path / "run", judged, deep, signals, [CONTRASTIVE, RESPONSE], **student))
    layers = [CONTRASTIVE, LAYERS | {"form": "uniform"}]
    assert "cannot be told apart" in refused(tmp_path, judged, deep, layers, **student)
