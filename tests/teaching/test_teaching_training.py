"""Teachers learn, are saved as promised, and say what they learned from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from teaching_toys import KINDS, spec_of, taught

import potstill
from potstill.collection import open_collection
from potstill.pipeline.teach import teach
from potstill.recipe import ScorerSpec
from potstill.signals import pair_text
from potstill.teachers.dual_pooled import DualPooledModel
from potstill.teachers.dual_pooled_scorer import DualPooledScorer
from potstill.teaching.rankers import CrossEncoderModel, untrained

LONG = ("training.epochs=8", "training.patience=8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, judged: Path, tiny_encoder: Path, signals: Path) -> dict[str, tuple[Path, dict]]:
    """By kind: a run long enough to learn. Do not write into it."""
    folder = tmp_path_factory.mktemp("runs")
    return {kind: (folder / kind, taught(folder / kind, kind, judged, tiny_encoder, signals, *LONG)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_held_out_queries_are_ranked_better(runs, kind):
    out, record = runs[kind]
    validation = record["validation"]
    assert validation["after"]["nDCG@10"] > validation["before"]["nDCG@10"] + 0.02
    assert validation["after"]["nDCG@10"] <= validation["best_possible"]["nDCG@10"]
    assert set(validation["after"]) == {"nDCG@10", "RR@10"}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.05
    assert all(line["gradient_norms"]["listwise"] > 0 for line in lines if "gradient_norms" in line)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_says_what_was_done(runs, judged, kind):
    out, record = runs[kind]
    assert record == json.loads((out / "teach.json").read_text())
    assert {path.name for path in out.iterdir()} == {
        "teach.yaml",
        "teach.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
    }
    assert record["kind"] == kind
    assert (record["queries"]["train"], record["queries"]["held_out"], record["split"]) == (32, 8, "train")
    assert record["lists"]["lists"] == record["lists"]["pairs"] == 64
    assert record["lists"]["epoch_pairs"] == 64 * 6
    assert record["lists"]["documents_cut"] > 0
    assert record["training"]["texts"] == 8 * 64
    assert record["seed"] == 0
    assert record["versions"]["torch"]
    assert record["mined"][0]["positives_kept_out"] == 64
    assert record["collection"]["fingerprint"] == open_collection(judged).fingerprint()


def some_pairs(collection: Path) -> tuple[list[str], list[str]]:
    opened = open_collection(collection)
    documents = [document.full for document in opened.documents()][:12]
    queries = list(opened.queries.values())[:11]
    return [*queries, "mash " * 60], documents


def test_a_cross_encoder_loads_where_potstill_is_not(runs, judged):
    out, _ = runs["cross-encoder"]
    queries, documents = some_pairs(judged)
    code = """
import json, sys
sys.modules["potstill"] = None
from sentence_transformers import CrossEncoder
queries, documents, folder = json.loads(sys.stdin.read())
model = CrossEncoder(folder, device="cpu")
print(json.dumps(model.predict(list(zip(queries, documents)), batch_size=5).tolist()))
"""
    told = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([queries, documents, str(out / "model")]),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    model = CrossEncoderModel.from_base(out / "model", max_length=48)
    with torch.inference_mode():
        logits = model.logits(model.pairs.join(model.pairs.ids(queries), model.pairs.ids(documents)))
    np.testing.assert_allclose(json.loads(told), logits.numpy(), atol=1e-5)
    assert not all(0 < logit < 1 for logit in json.loads(told))  # no sigmoid


def test_a_dual_pooled_teacher_loads_as_a_model_and_as_a_scorer(runs, judged):
    out, record = runs["dual-pooled"]
    queries, documents = some_pairs(judged)
    model = DualPooledModel.load(out)
    with torch.inference_mode():
        scores = model.scores(model.pairs.join(model.pairs.ids(queries), model.pairs.ids(documents)))
    scorer = DualPooledScorer(ScorerSpec(kind="dual-pooled", model=str(out)))
    said = scorer.source().encode([pair_text(*pair) for pair in zip(queries, documents, strict=True)], "pair")
    np.testing.assert_allclose(said[:, 0], scores.numpy(), atol=1e-6)
    assert float(model.scale.detach()) != 10.0
    assert record["model"]["parameters"] == scorer.parameters + 1  # the scale


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_model_is_the_one_that_validated_best(runs, judged, tiny_encoder, signals, kind):
    from potstill.pipeline.mined_lists import mine_lists
    from potstill.teaching.judged import judged_pairs
    from potstill.teaching.material import gather

    out, record = runs[kind]
    spec = spec_of(kind, judged, tiny_encoder, *LONG)
    collection = open_collection(judged)
    chosen = judged_pairs(collection, spec)
    mined = mine_lists(collection, chosen, spec, signals)
    model = (
        DualPooledModel.load(out)
        if kind == "dual-pooled"
        else CrossEncoderModel.from_base(out / "model", max_length=48)
    )
    validation = gather(collection, chosen, mined.negatives, mined.lists, spec, model.pairs).validation
    assert validation.of(validation.logits(model)) == record["validation"]["after"]
    assert validation.found() == record["validation"]["found"]


def test_the_scale_moves_no_ranking_but_the_seed_and_the_options_count(tiny_encoder, judged):
    head = [
        untrained(spec_of("cross-encoder", judged, tiny_encoder, f"training.seed={seed}")).model.classifier.weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(head[0], head[1])
    assert not torch.equal(head[0], head[2])
    model = untrained(spec_of("dual-pooled", judged, tiny_encoder, "pooling=first", "normalize=false", "scale=3"))
    assert (model.pooling, model.normalize) == ("first", False)
    assert float(model.scale.detach()) == pytest.approx(3.0)


def test_bf16_and_a_cap_on_lists(tmp_path, judged, tiny_encoder, signals):
    settings = ("training.bf16=true", "positives=1", "lists=20", "training.epochs=1", "miner=bm25")
    record = taught(tmp_path / "run", "dual-pooled", judged, tiny_encoder, signals, *settings)
    assert (record["lists"]["lists"], record["training"]["texts"]) == (20, 20)
    assert record["miners"] == ["bm25"]
    assert all(tensor.dtype == torch.float32 for tensor in DualPooledModel.load(tmp_path / "run").state_dict().values())


def test_two_miners_take_turns(tmp_path, judged, tiny_encoder, signals):
    settings = (f"miner=[bm25, {tiny_encoder}]", "lists=8", "training.epochs=1", "depth=10")
    record = taught(tmp_path / "run", "cross-encoder", judged, tiny_encoder, signals, *settings)
    assert [part["source"] for part in record["mined"]] == ["bm25", "vectors"]
    assert record["lists"]["negatives_mined"] == 32 * 10


def test_a_plain_encoder_is_mined_for_by_words(tmp_path, judged, signals, capsys):
    from tiny import make_tiny_encoder

    base = make_tiny_encoder(tmp_path / "plain", sentence_transformer=False)
    record = taught(tmp_path / "run", "cross-encoder", judged, base, signals, "lists=8", "training.epochs=1")
    assert record["miners"] == ["bm25"]
    assert "BM25 finds the negatives" in capsys.readouterr().err


def test_in_python(tmp_path, judged, tiny_encoder, signals):
    done = potstill.teach(
        "cross-encoder",
        judged,
        tiny_encoder,
        out=tmp_path / "run",
        negatives=3,
        miner="bm25",
        max_length=32,
        settings={"lists": 8, "training.epochs": 1},
        signals=signals,
    )
    assert isinstance(done, potstill.Taught)
    assert done.model == tmp_path / "run" / "model"
    assert (done.model / "model.safetensors").is_file()
    assert done.record["lists"]["epoch_pairs"] == 8 * 4
    again = potstill.teach("cross-encoder", out=tmp_path / "run", resume=True, signals=signals)
    assert again.record["validation"] == done.record["validation"]


def test_teaching_again_gives_the_same_bytes(tmp_path, judged, tiny_encoder, signals):
    from teaching_toys import bytes_of

    for name in ("one", "two"):
        spec = spec_of("cross-encoder", judged, tiny_encoder, "lists=16", "training.epochs=1")
        teach(spec, tmp_path / name, signals=signals)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
