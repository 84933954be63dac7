"""Generators that learn from judged pairs: the loss, what is drawn, warm starts, whole runs, resume."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import potstill
from potstill.cli import run as cli
from potstill.collection import Collection, open_collection
from potstill.errors import InputError
from potstill.pipeline.teach_generator import teach_generator
from potstill.queries.seq2seq import Seq2Seq
from potstill.recipe import GeneratorSpec, TeachGeneratorSpec
from potstill.students.tokens import Tokens
from potstill.teaching.generator import GeneratorTask, WritingSet, WritingValidation
from potstill.teaching.judged import judged_pairs
from potstill.teaching.writers import save_writer, untrained_writer
from potstill.teaching.writing_material import gather_pairs
from potstill.training.loop import _Loop
from tiny import make_tiny_collection, make_tiny_encoder, make_tiny_seq2seq


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("teach")
    bases: dict[str, Path] = {kind: make_tiny_seq2seq(root / kind, kind=kind) for kind in ("t5", "bart", "bert")}  # type: ignore[arg-type]
    bases["encoder"] = make_tiny_encoder(root / "encoder", sentence_transformer=False)
    bases["sentences"] = make_tiny_encoder(root / "sentences")
    bases["collection"] = make_tiny_collection(root / "collection", documents=40, queries=80)
    return bases


def spec(folders: dict[str, Path], base: str = "t5", **options: Any) -> TeachGeneratorSpec:
    training = {"epochs": 2, "max_texts_per_batch": 8, "learning_rate": 3e-3} | options.pop("training", {})
    given = {"collection": str(folders["collection"]), "base": str(folders[base]), "held_out": 8, "max_input": 48}
    return TeachGeneratorSpec.model_validate(given | {"max_output": 10, "training": training} | options)


def made(folders: dict[str, Path], base: str = "t5", **options: Any) -> tuple[GeneratorTask, Any, Any, Collection]:
    how = spec(folders, base, **options)
    collection = open_collection(how.collection)
    model, tokenizer = untrained_writer(how)
    material = gather_pairs(collection, judged_pairs(collection, how), how, tokenizer, model.generation_config)
    return GeneratorTask(model).eval(), material, tokenizer, collection


def tokens(*texts: list[int]) -> Tokens:
    return Tokens.of(texts)


@pytest.mark.parametrize("base", ["t5", "bart", "bert", "encoder", "sentences"])
def test_the_loss_is_the_models_own(folders: dict[str, Path], base: str):
    """Our shift and mean against transformers' own loss from labels, padding and all."""
    task, material, _, _ = made(folders, base)
    batch = task.batch(material.data, material.data.pairs[:5])
    assert (batch.labels == -100).any()
    task.model.config.decoder_start_token_id, task.model.config.pad_token_id = task.start, task.pad
    with torch.no_grad():
        own = task.losses(task(batch), batch).total
        given = task.model(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.labels).loss
    assert float(own) == pytest.approx(float(given), rel=1e-5)


@pytest.mark.parametrize("base", ["t5", "bart", "bert", "encoder"])
def test_both_sides_are_tokenised_as_they_are_met(folders: dict[str, Path], base: str):
    task, material, tokenizer, collection = made(folders, base, prefix="the ")
    start, end = task.start, tokenizer.sep_token_id
    documents = list(collection.documents())
    read = {tuple(tokenizer("the " + d.full, truncation=True, max_length=48)["input_ids"]) for d in documents}
    asked = Counter(collection.queries.values())
    for query, document in material.data.pairs.tolist():
        assert tuple(material.data.documents[document].tolist()) in read
        labels = material.data.queries[query].tolist()
        assert labels[-1] == end
        assert labels[0] != start or base == "t5"
        text = tokenizer.decode(labels, skip_special_tokens=True)
        assert text in asked
    # A judged document of the query it is paired with.
    pairs = {
        (
            collection.queries[q],
            tokenizer.decode(tokenizer("the " + documents[row].full, truncation=True, max_length=48)["input_ids"]),
        )
        for q, grades in collection.qrels("train").items()
        for row in collection.document_ids.rows([d for d, g in grades.items() if g > 0]).tolist()
    }
    for query, document in material.data.pairs.tolist():
        said = tokenizer.decode(material.data.queries[query].tolist(), skip_special_tokens=True)
        assert (said, tokenizer.decode(material.data.documents[document].tolist())) in pairs


def test_long_texts_are_cut_and_counted(folders: dict[str, Path]):
    _, whole, _, _ = made(folders, max_input=64, max_output=10)
    _, cut, _, _ = made(folders, max_input=16, max_output=4)
    assert whole.counts["queries_cut"] == 0
    assert cut.counts["documents_cut"] > whole.counts["documents_cut"]
    assert cut.data.documents.lengths.max() == 16
    assert cut.data.queries.lengths.max() == 4
    assert all(cut.data.queries[i][-1] == 3 for i in range(len(cut.data.queries)))
    lengths = [len(whole.data.queries[i]) for i in range(len(whole.data.queries))]
    assert cut.counts["queries_cut"] == sum(length > 4 for length in lengths)


def test_nothing_is_learned_from_held_out_or_test_queries(folders: dict[str, Path]):
    _, material, tokenizer, collection = made(folders)
    train, held = (set(part.pairs[:, 0].tolist()) for part in (material.data, material.validation.data))
    assert not train & held
    assert len(held) == 8
    test = {collection.queries[i] for i in collection.qrels("test")}
    for query in train | held:
        assert tokenizer.decode(material.data.queries[query].tolist(), skip_special_tokens=True) not in test
    with pytest.raises(InputError, match="test split"):
        judged_pairs(collection, spec(folders, split="test"))


def some_pairs() -> WritingSet:
    pairs = np.array([(q, d) for q in range(6) for d in range(q + 1)])
    return WritingSet(tokens(*[[1] * (d + 1) for d in range(6)]), tokens(*[[2, 3]] * 6), pairs)


def test_pairs_are_drawn_anew_each_epoch():
    whole = some_pairs()
    assert len(whole) == 21
    assert np.array_equal(whole.drawn(3), whole.pairs)
    few = WritingSet(whole.documents, whole.queries, whole.pairs, per_query=2, most=9, seed=1)
    assert len(few) == 9
    seen = [few.drawn(epoch).tolist() for epoch in range(40)]
    known = set(map(tuple, whole.pairs.tolist()))
    for drawn in seen:
        assert len({tuple(pair) for pair in drawn}) == len(drawn) == 9
        assert {tuple(pair) for pair in drawn} <= known
        assert max(Counter(query for query, _ in drawn).values()) <= 2
    assert {tuple(pair) for drawn in seen for pair in drawn} == known
    assert few.drawn(0).tolist() == seen[0]
    assert seen[0] != seen[1]
    by_query = WritingSet(whole.documents, whole.queries, whole.pairs, per_query=3)
    assert len(by_query) == 1 + 2 + 3 * 4
    assert by_query.lengths(by_query.pairs[:3]).tolist() == [[1, 2], [1, 2], [2, 2]]


def test_validation_is_the_mean_over_tokens_whatever_the_batches(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    task, material, _, _ = made(folders)
    data = material.validation.data
    total = count = 0.0
    for pair in data.pairs:
        batch = task.batch(data, pair[None])
        total += task.losses(task(batch), batch).total.item() * batch.labels.numel()
        count += batch.labels.numel()
    found = WritingValidation(data)(task)
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    assert found["score"] == -found["loss"]
    monkeypatch.setattr("potstill.teaching.generator._BATCH_TOKENS", 100)
    assert WritingValidation(data)(task)["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_a_warm_start_keeps_the_encoder_on_both_sides(folders: dict[str, Path], tmp_path: Path):
    how = spec(folders, "encoder")
    model, tokenizer = untrained_writer(how)
    again, _ = untrained_writer(how)
    other, _ = untrained_writer(spec(folders, "encoder", training={"seed": 1}))
    held, same, moved = model.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(held[name], same[name]) for name in held)
    changed = {name for name in held if not torch.equal(held[name], moved[name])}
    assert changed
    assert all("crossattention" in name or ".cls." in name for name in changed)
    for name, value in model.encoder.state_dict().items():
        if "pooler" not in name:
            assert torch.equal(value, held[f"decoder.bert.{name}"]), name
    words = model.decoder.get_output_embeddings().weight
    assert words.data_ptr() == model.decoder.get_input_embeddings().weight.data_ptr()
    assert words.data_ptr() != model.encoder.get_input_embeddings().weight.data_ptr()
    save_writer(model, tokenizer, tmp_path / "saved")
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved", use_safetensors=True).state_dict()
    assert loaded.keys() == held.keys()
    assert all(torch.equal(held[name], loaded[name]) for name in held)
    assert str(folders["encoder"]) not in (tmp_path / "saved" / "config.json").read_text()
    assert Seq2Seq(GeneratorSpec(model=str(tmp_path / "saved"), max_input=32), 0).write(["peat"])


def test_bases_that_will_not_do(folders: dict[str, Path], tmp_path: Path):
    from transformers import DistilBertConfig, DistilBertModel

    DistilBertModel(DistilBertConfig(vocab_size=270, dim=32, n_layers=1, n_heads=4, hidden_dim=64)).save_pretrained(
        tmp_path / "distil"
    )
    AutoTokenizer.from_pretrained(folders["encoder"]).save_pretrained(tmp_path / "distil")
    for base, options, said in (
        (str(tmp_path / "distil"), {}, "distilbert"),
        (str(tmp_path / "none"), {}, "no such model folder"),
        (str(folders["bart"]), {"max_input": 65}, "positions for 64"),
        (str(folders["encoder"]), {"max_output": 65}, "positions for 64"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            untrained_writer(spec(folders).model_copy(update={"base": base} | options))
        assert caught.value.fix


@pytest.mark.parametrize("base", ["t5", "sentences"])
def test_a_run_learns_and_its_model_writes_queries(folders: dict[str, Path], base: str, tmp_path: Path):
    out = tmp_path / "run"
    record = teach_generator(spec(folders, base, training={"epochs": 6}), out)
    assert {path.name for path in out.iterdir()} == {
        "teach.yaml",
        "teach.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
    }
    assert json.loads((out / "teach.json").read_text()) == record
    before, after = record["validation"]["before"], record["validation"]["after"]
    assert after["loss"] < before["loss"] - 1.0
    assert record["pairs"]["pairs"] == record["pairs"]["epoch_pairs"] > 50
    assert len(record["examples"]) == 3
    task, material, _, _ = made(folders, base)
    task.model.load_state_dict(AutoModelForSeq2SeqLM.from_pretrained(out / "model").state_dict())
    assert WritingValidation(material.validation.data)(task)["loss"] == pytest.approx(after["loss"], rel=1e-5)
    writer = Seq2Seq(GeneratorSpec(model=str(out / "model"), each=1, max_input=48, max_output=10), 0)
    assert [shown["written"] for shown in record["examples"]] == [
        texts[0] for texts in writer.write([document for document, _ in material.examples])
    ]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is saved."""


@pytest.mark.parametrize("base", ["t5", "encoder"])
def test_resumed_ends_in_the_same_bytes(
    folders: dict[str, Path], base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    how = spec(folders, base, training={"validate_every": 3}, positives=1, pairs=24)
    teach_generator(how, tmp_path / "whole")
    update = _Loop._update

    def fatal(self: Any, *arguments: Any) -> None:
        if self.at.step == 4:
            raise Killed
        update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_Loop, "_update", fatal)
        with pytest.raises(Killed):
            teach_generator(how, tmp_path / "killed")
    resumed = teach_generator(how, tmp_path / "killed", resume=True)
    whole = json.loads((tmp_path / "whole" / "teach.json").read_text())
    assert resumed["validation"] == whole["validation"]
    assert resumed["examples"] == whole["examples"]
    models = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert models[0] == models[1]
    with pytest.raises(InputError, match="different one"):
        teach_generator(how.model_copy(update={"prefix": "x"}), tmp_path / "killed", resume=True)


def test_command_line_and_python(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "cli"
    flags = ["--collection", str(folders["collection"]), "--base", str(folders["t5"]), "--out", str(out)]
    more = [f"--set={name}" for name in ("training.epochs=1", "max_input=32", "max_output=8", "held_out=5")]
    assert cli(["teach", "generator", *flags, *more]) == 0
    said = capsys.readouterr().out
    assert "T5ForConditionalGeneration from" in said
    assert "asked: " in said
    assert f"generator: {out}/model/" in said
    assert cli(["teach", "generator", *flags, "--split", "test", *more]) == 2
    assert "not empty" in capsys.readouterr().err
    assert cli(["teach", "generator", *flags[:-1], str(tmp_path / "new"), "--split", "test", *more]) == 2
    assert "test split" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert cli(["teach", "generator", *flags[:4]]) == 2
    assert "--out" in capsys.readouterr().err
    with pytest.raises(potstill.errors.InputError, match="negatives"):
        potstill.teach("generator", folders["collection"], folders["t5"], out=tmp_path / "py", negatives=3)
    again = potstill.teach("generator", out=out, resume=True)
    assert again.record["validation"] == json.loads((out / "teach.json").read_text())["validation"]
    assert again.model == out / "model"
