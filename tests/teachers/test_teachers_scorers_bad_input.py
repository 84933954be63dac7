"""Broken teachers of scores: each ends in an InputError (exit code 2) that names the place and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from potstill.errors import InputError
from potstill.recipe import ScorerSpec
from potstill.signals import SignalStore, fill, pair_text
from potstill.teachers import open_scorer
from tiny import make_tiny_cross_encoder, make_tiny_encoder, make_tiny_sparse_encoder, make_tiny_tokenizer

Make = Callable[[Path], dict[str, Any]]


def reader(**more: Any) -> Make:
    """A sound cross-encoder, opened with these options."""
    return lambda folder: {"model": str(make_tiny_cross_encoder(folder / "m", layers=1)), **more}


def labelled(*names: str, **more: Any) -> Make:
    return lambda folder: {"model": str(make_tiny_cross_encoder(folder / "m", layers=1, label_names=names)), **more}


def sparse(**more: Any) -> Make:
    return lambda folder: {"kind": "sparse", "model": str(make_tiny_sparse_encoder(folder / "m")), **more}


def fixed(**spec: Any) -> Make:
    return lambda folder: spec


def constant(folder: Path) -> dict[str, Any]:
    return {"model": str(make_tiny_cross_encoder(folder / "m", layers=1, scale=0.0))}


def vectors(kind: str, **options: Any) -> Make:
    def a_model_of_vectors(folder: Path) -> dict[str, Any]:
        return {"kind": kind, "model": str(make_tiny_encoder(folder / "m", layers=1, **options))}

    return a_model_of_vectors


def headless(folder: Path) -> dict[str, Any]:
    """A classifier that lost BERT's pooler, which embedders do without and classifiers do not."""
    model = make_tiny_cross_encoder(folder / "m", layers=1)
    tensors = load_file(model / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    return {"model": str(model)}


def nan_weights(folder: Path) -> dict[str, Any]:
    model = make_tiny_cross_encoder(folder / "m", layers=1)
    tensors = load_file(model / "model.safetensors")
    tensors["classifier.weight"][:] = np.nan
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return {"model": str(model)}


def nan_sparse(folder: Path) -> dict[str, Any]:
    model = make_tiny_sparse_encoder(folder / "m")
    tensors = load_file(model / "model.safetensors")
    tensors["cls.predictions.bias"][:] = np.nan
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return {"kind": "sparse", "model": str(model)}


def no_tokenizer(kind: str) -> Make:
    def without_its_tokenizer(folder: Path) -> dict[str, Any]:
        make = make_tiny_cross_encoder if kind == "cross-encoder" else make_tiny_sparse_encoder
        model = make(folder / "m")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (model / name).unlink()
        return {"kind": kind, "model": str(model)}

    return without_its_tokenizer


def pickled(kind: str) -> Make:
    def a_pickle(folder: Path) -> dict[str, Any]:
        make = make_tiny_cross_encoder if kind == "cross-encoder" else make_tiny_sparse_encoder
        model = make(folder / "m")
        tensors = {name: torch.from_numpy(tensor) for name, tensor in load_file(model / "model.safetensors").items()}
        (model / "model.safetensors").unlink()
        torch.save(tensors, model / "pytorch_model.bin")
        return {"kind": kind, "model": str(model)}

    return a_pickle


def own_code(folder: Path) -> dict[str, Any]:
    model = make_tiny_cross_encoder(folder / "m", layers=1, sentence_transformer=False)
    config = json.loads((model / "config.json").read_text())
    (model / "own.py").write_text("raise SystemExit('remote code ran')")
    auto = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    (model / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto}))
    return {"model": str(model)}


def broken_config(folder: Path) -> dict[str, Any]:
    model = make_tiny_cross_encoder(folder / "m", layers=1)
    (model / "config.json").write_text('{"model_type": "bert",')
    return {"model": str(model)}


def sequence_to_sequence(folder: Path) -> dict[str, Any]:
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = make_tiny_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(folder / "m")
    tokenizer.save_pretrained(folder / "m")
    return {"model": str(folder / "m")}


def a_file(folder: Path) -> dict[str, Any]:
    (folder / "weights").write_text("")
    return {"model": str(folder / "weights")}


CASES: list[tuple[Make, str, str]] = [
    (fixed(model="/no/such/folder"), "/no/such/folder: no such model folder", "check the path"),
    (fixed(model="nobody/no-such-model"), "nobody/no-such-model", "HF_HUB_OFFLINE"),
    (fixed(model="/no/such/folder", kind="sparse"), "no such model folder", "check the path"),
    (lambda folder: {"model": str(folder)}, "holds no model", "save_pretrained"),
    (a_file, "a file is not a model", "folder"),
    (broken_config, "cannot load the model", "save the model again"),
    (own_code, "its own Python code", "scorers.trust_remote_code: true"),
    (vectors("cross-encoder"), "BertModel is no whole cross-encoder: classifier.", "potstill teach cross-encoder"),
    (vectors("cross-encoder", sentence_transformer=False), "no whole cross-encoder", "trained head"),
    (lambda folder: {**sparse()(folder), "kind": "cross-encoder"}, "no whole cross-encoder", "kind: sparse"),
    (sequence_to_sequence, "T5ForConditionalGeneration is no whole cross-encoder", "sequence classifier"),
    (headless, "bert.pooler.dense", "trained head"),
    (nan_weights, "NaN or infinite scores", "check its weights"),
    (constant, "the same score (0) to 'water' with 'water'", "it was trained"),
    (no_tokenizer("cross-encoder"), "the same score", "tokenizer.json"),
    (pickled("cross-encoder"), "pickle alone (pytorch_model.bin)", "save_pretrained"),
    (labelled("LABEL_0", "LABEL_1"), "2 labels (0: LABEL_0, 1: LABEL_1)", "`label: 1` (LABEL_1)"),
    (labelled("entailment", "neutral", "contradiction"), "3 labels (0: entailment", "`label: 0` (entailment)"),
    (labelled("a", "b", "c"), "3 labels (0: a, 1: b, 2: c)", "the one that a fitting document has"),
    (labelled("a", "b", label=2), "label 2 is not a label of this model, which has 2", "from 0 to 1"),
    (reader(label=1), "label 1 is not a label of this model, which has 1", "leave `label` out"),
    (reader(max_length=65), "65, but the model has positions for 64 tokens", "at most 64"),
    (reader(device="cuda:99"), "scorers.device: there is no device cuda:99", "cpu"),
    (reader(device="toaster"), "'toaster' is not a device", "`scorers.device`"),
    (reader(revision="main"), "a folder has no revisions", "leave out `revision`"),
    (sparse(max_length=65), "65, but the model has positions for 64 tokens", "at most 64"),
    (vectors("sparse"), "no whole sparse encoder: the autoencoder (module 3)", "SPLADE"),
    (vectors("sparse", sentence_transformer=False), "no whole sparse encoder: the autoencoder", "`teacher`"),
    (lambda folder: {**reader()(folder), "kind": "sparse"}, "no whole sparse encoder", "kind: cross-encoder"),
    (nan_sparse, "NaN or infinite numbers for the query 'water'", "check its weights"),
    (no_tokenizer("sparse"), "the same score", "tokenizer.json"),
    (pickled("sparse"), "pickle alone (pytorch_model.bin)", "save_pretrained"),
    (
        lambda folder: {"kind": "sparse", "model": str(make_tiny_sparse_encoder(folder / "m", similarity="euclidean"))},
        "compares by euclidean",
        "similarity_fn_name",
    ),
]


@pytest.mark.parametrize(("make", "place", "remedy"), CASES, ids=[case[1][:40] for case in CASES])
def test_broken_scorer(make: Make, place: str, remedy: str, tmp_path: Path) -> None:
    spec = ScorerSpec(**{"kind": "cross-encoder", **make(tmp_path)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        open_scorer(spec)
    assert caught.value.exit_code == 2
    assert place in str(caught.value)
    assert caught.value.fix is not None
    assert remedy in caught.value.fix
    assert len(caught.value.message.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_classifier_of_two_kinds_of_weights_loads(tmp_path: Path) -> None:
    """A pickle beside safetensors is never opened, and harms nobody."""
    model = make_tiny_cross_encoder(tmp_path / "m", layers=1)
    (model / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert open_scorer(ScorerSpec(kind="cross-encoder", model=str(model))).kind == "cross-encoder"


def test_pair_vectors_are_refused(tmp_path: Path) -> None:
    scorer = open_scorer(ScorerSpec(kind="sparse", model=str(make_tiny_sparse_encoder(tmp_path / "m"))))
    with pytest.raises(InputError, match="m: a sparse scorer gives scores, not pair_vectors") as told:
        scorer.source("pair_vectors")
    assert "dual-pooled" in str(told.value.fix)


def test_a_score_that_is_not_finite_names_query_and_document(tmp_path: Path) -> None:
    """One word's vector is NaN, which no look at a few pairs can find: it shows where that word is read."""
    model = make_tiny_cross_encoder(tmp_path / "m", layers=1)
    word = make_tiny_tokenizer().convert_tokens_to_ids("yeast")
    tensors = load_file(model / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][word] = np.nan
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    scorer = open_scorer(ScorerSpec(kind="cross-encoder", model=str(model)))
    source = scorer.source()
    table = SignalStore(tmp_path / "signals", "float32").vectors(source.fingerprint("pair"))
    texts = [pair_text("bread", "flour"), pair_text("what rises", "yeast in dough")]
    with pytest.raises(InputError) as told:
        fill(table, source, texts, "pair")
    said = (
        "m gave a score that is not finite for the query 'what rises' with the document 'yeast in dough' (1 such pairs)"
    )
    assert said in str(told.value)
    assert "precision" in str(told.value.fix)


def test_kept_pickles_are_not_looked_for_elsewhere(tmp_path: Path) -> None:
    """A checkpoint of a trainer inside the folder is not the model."""
    model = make_tiny_cross_encoder(tmp_path / "m", layers=1)
    (model / "checkpoint-1").mkdir()
    (model / "checkpoint-1" / "pytorch_model.bin").write_bytes(b"")
    assert open_scorer(ScorerSpec(kind="cross-encoder", model=str(model))).kind == "cross-encoder"
