"""Cross-encoders as teachers of scores: the library's own logits, whatever the batches, stored once and for all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scorer_child
import torch

from potstill.recipe import ScorerSpec
from potstill.signals import SignalStore, batches_by_length, fill, pair_text, split_pair, verify
from potstill.teachers import open_scorer
from potstill.teachers.cross_encoder import CrossEncoderScorer
from tiny import make_tiny_cross_encoder, make_tiny_tokenizer, words

PAIRS = [
    ("copper still", "the wind in the sail of the old boat"),
    ("the moon", "moon " * 200),
    ("moon " * 100, "copper"),
    ("", "bread and butter"),
    ("oven", ""),
    ("", ""),
    ("Barley & malt; 12 casks!", "peat, smoke: water"),
    ("вода", "水 water"),
    *(
        (f"{a} {b}", f"{b} of the {c}")
        for a, b, c in zip(words()[:90:3], words()[1:90:3], words()[2:90:3], strict=True)
    ),
]
TEXTS = [pair_text(*pair) for pair in PAIRS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("ce") / "reader")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("contradiction", "entailment", "neutral")
    folder = tmp_path_factory.mktemp("three") / "nli"
    return make_tiny_cross_encoder(folder, label_names=names, sentence_transformer=False)


def scorer(model: Path, **more: Any) -> CrossEncoderScorer:
    opened = open_scorer(ScorerSpec(kind="cross-encoder", model=str(model), device="cpu", **more))
    assert isinstance(opened, CrossEncoderScorer)
    return opened


def library(model: Path, pairs: list[tuple[str, str]] = PAIRS, **more: Any) -> np.ndarray:
    from sentence_transformers import CrossEncoder

    loaded = CrossEncoder(str(model), device="cpu", **more)
    return np.asarray(loaded.predict(pairs, activation_fn=torch.nn.Identity()))


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_scores_are_the_librarys_logits_whatever_the_batches(model: Path, size: int):
    mine = scorer(model)
    found = np.concatenate([mine.encode(TEXTS[i : i + size]) for i in range(0, len(TEXTS), size)])
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 1)
    np.testing.assert_allclose(found[:, 0], library(model), atol=1e-5)
    assert np.ptp(found) > 0.1


def test_scores_are_logits_and_no_probabilities(model: Path):
    from sentence_transformers import CrossEncoder

    probabilities = CrossEncoder(str(model), device="cpu").predict(PAIRS)  # its own activation is a sigmoid
    found = scorer(model).encode(TEXTS)[:, 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), probabilities, atol=1e-5)
    assert found.min() < 0


def test_batches_by_length_give_the_same_scores(model: Path):
    mine = scorer(model)
    found = np.empty((len(TEXTS), 1), dtype=np.float32)
    for batch in batches_by_length(mine.lengths(TEXTS), 100):
        found[batch] = mine.encode([TEXTS[i] for i in batch])
    np.testing.assert_allclose(found[:, 0], library(model), atol=1e-5)


def test_nothing_to_score(model: Path):
    mine = scorer(model)
    assert mine.encode([]).shape == (0, 1)
    assert mine.lengths([]).tolist() == []
    assert mine.truncated([]) == 0


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_label_is_its_logit(three: Path, label: int):
    mine = scorer(three, label=label)
    np.testing.assert_allclose(mine.encode(TEXTS)[:, 0], library(three)[:, label], atol=1e-5)


def test_label_0_of_one_is_that_one(model: Path):
    assert scorer(model, label=0).fingerprint() == scorer(model).fingerprint()


def test_lengths_are_the_tokens_that_the_model_reads(model: Path):
    mine = scorer(model)
    cut = [mine._model.preprocess([pair])["attention_mask"].sum().item() for pair in PAIRS]
    assert mine.lengths(TEXTS).tolist() == cut
    assert mine.lengths(TEXTS).tolist() == cut  # remembered counts are the same
    assert mine.max_length == 64
    assert mine.truncated(TEXTS) == 2


def test_maximum_length(model: Path):
    mine = scorer(model, max_length=16)
    np.testing.assert_allclose(mine.encode(TEXTS)[:, 0], library(model, max_length=16), atol=1e-5)
    assert mine.lengths(TEXTS).max() == 16
    assert mine.truncated(TEXTS) == int((scorer(model).lengths(TEXTS) > 16).sum())
    assert not np.allclose(mine.encode(TEXTS), scorer(model).encode(TEXTS), atol=1e-3)


def test_prompts_stand_before_both_texts(model: Path):
    mine = scorer(model, prompts={"query": "night ", "document": "garden "})
    prompted = [(f"night {query}", f"garden {document}") for query, document in PAIRS]
    np.testing.assert_allclose(mine.encode(TEXTS)[:, 0], library(model, prompted), atol=1e-5)
    read = [mine._model.preprocess([pair])["attention_mask"].sum().item() for pair in prompted]
    assert mine.lengths(TEXTS).tolist() == read
    assert mine.fingerprint().prompt == "night "


def test_the_models_own_prompt_holds_until_another_is_given(model: Path, tmp_path: Path):
    from sentence_transformers import CrossEncoder

    saved = CrossEncoder(str(model), device="cpu", prompts={"ask": "bread "}, default_prompt_name="ask")
    saved.save_pretrained(str(tmp_path / "m"), create_model_card=False)
    mine = scorer(tmp_path / "m")
    assert mine.fingerprint().prompt == "bread "
    np.testing.assert_allclose(mine.encode(TEXTS)[:, 0], library(tmp_path / "m"), atol=1e-5)
    plain = scorer(tmp_path / "m", prompts={"query": ""})
    np.testing.assert_allclose(plain.encode(TEXTS)[:, 0], library(model), atol=1e-5)


@pytest.fixture(scope="module", params=["plain", "chat"])
def language_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A re-ranker that answers yes or no; a chat template, where it has one, wraps query and document."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tiny_tokenizer(max_length=64, more_words=("yes", "no"))
    if request.param == "chat":
        tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}: answer"
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.5,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("lm") / request.param
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_language_model_that_says_yes_or_no(language_model: Path):
    mine = scorer(language_model)
    assert np.ptp(mine.encode(TEXTS)) > 0.1
    np.testing.assert_allclose(mine.encode(TEXTS)[:, 0], library(language_model), atol=1e-4)
    read = [mine._model.preprocess([pair])["attention_mask"].sum().item() for pair in PAIRS]
    assert mine.lengths(TEXTS).tolist() == read
    assert mine.truncated(TEXTS) == 2


def test_what_it_is(model: Path):
    mine = scorer(model)
    assert (mine.name, mine.kind, mine.dimensions) == ("reader", "cross-encoder", 32)
    assert mine.signals == {"scores", "pair_vectors"}
    assert mine.source() is mine
    assert scorer(model, name="judge").name == "judge"
    stored = sum(p.numel() for p in mine._model.parameters())
    assert mine.parameters == stored
    assert mine.bytes == 4 * stored
    assert scorer(model, dtype="bfloat16").bytes == 2 * stored
    mark = mine.fingerprint("pair")
    assert (mark.role, mark.dimensions, mark.max_length, mark.extra) == ("pair", 1, 64, (("signal", "scores"),))


def test_bfloat16_is_near_and_comes_as_float32(model: Path):
    found = scorer(model, dtype="bfloat16").encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], library(model), atol=0.15)


def test_the_second_time_nothing_is_encoded(model: Path, tmp_path: Path):
    store = SignalStore(tmp_path, "float32")
    mine = scorer(model)
    table = store.vectors(mine.fingerprint())
    first = fill(table, mine, [*TEXTS, *TEXTS[:5]], "pair", tokens_per_batch=200)
    assert (first.encoded, first.reused) == (len(TEXTS), 5)
    assert first.batches > 3
    again = scorer(model)
    again.encode = lambda texts, role: pytest.fail("encoded anew")  # type: ignore[method-assign]
    table = store.vectors(again.fingerprint())
    assert fill(table, again, TEXTS, "pair").encoded == 0
    np.testing.assert_allclose(table.vectors(TEXTS)[:, 0], library(model), atol=1e-5)


def test_another_setting_never_finds_the_old_scores(model: Path, three: Path, tmp_path: Path):
    other = make_tiny_cross_encoder(tmp_path / "reader", seed=1)  # same name, other weights
    marks = [
        scorer(model).fingerprint(),
        scorer(model, max_length=32).fingerprint(),
        scorer(model, dtype="bfloat16").fingerprint(),
        scorer(model, prompts={"query": "q "}).fingerprint(),
        scorer(model, prompts={"document": "q "}).fingerprint(),
        scorer(other).fingerprint(),
        scorer(three, label=0).fingerprint(),
        scorer(three, label=1).fingerprint(),
    ]
    assert len({mark.digest() for mark in marks}) == len(marks)
    moved = Path(shutil.copytree(model, tmp_path / "elsewhere" / "reader"))
    assert scorer(moved, name="x").fingerprint() == marks[0]  # neither its place nor what it is called matters


def test_killed_and_started_again(model: Path, tmp_path: Path):
    """At most one shard is scored twice; what was stored before the kill is what an undisturbed run stores."""
    root, log = tmp_path / "signals", tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, scorer_child.__file__, str(model), str(root), str(log)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(list(root.glob("*/shard-*.json"))) < 2:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert verify(root) == []
    mine = scorer(model)
    texts = scorer_child.texts()
    table = SignalStore(root, "float32").vectors(mine.fingerprint())
    kept, begun = len(table), len(log.read_text().splitlines())
    assert 2 * scorer_child.SHARD_ROWS <= kept < len(texts)
    report = fill(table, mine, texts, "pair", tokens_per_batch=scorer_child.TOKENS, shard_rows=scorer_child.SHARD_ROWS)
    assert report.encoded == len(texts) - kept
    assert begun + report.encoded - len(texts) <= 2 * scorer_child.SHARD_ROWS
    np.testing.assert_allclose(table.vectors(texts), mine.encode(texts), atol=1e-5)


def test_the_joint_vector_is_the_first_tokens_twice(tmp_path: Path):
    from sentence_transformers import CrossEncoder

    folder = make_tiny_cross_encoder(tmp_path / "model")
    scorer = CrossEncoderScorer(ScorerSpec(kind="cross-encoder", model=str(folder)))
    source = scorer.source("pair_vectors")
    texts = [pair_text("barley mash", "a cask of malt"), pair_text("moon", "planet orbit star comet")]
    found = source.encode(texts, "pair")
    model = CrossEncoder(str(folder), device="cpu")
    for row, text in zip(found, texts, strict=True):
        given = model.tokenizer(*split_pair(text), return_tensors="pt")
        with torch.inference_mode():
            wanted = model[0].auto_model.bert(**given).last_hidden_state[0, 0].numpy()
        np.testing.assert_allclose(row, np.concatenate([wanted, wanted]), atol=1e-5)
    assert found.shape[1] == 2 * scorer.dimensions == source.fingerprint("pair").dimensions
    assert source.fingerprint("pair").digest() != scorer.fingerprint("pair").digest()
