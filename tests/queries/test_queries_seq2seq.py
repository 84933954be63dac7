"""Models that write: batches, beams and samples, prefixes and lengths, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from potstill.errors import InputError
from potstill.queries.seq2seq import Seq2Seq
from potstill.recipe import GeneratorSpec
from tiny import make_tiny_encoder, make_tiny_seq2seq

TEXTS = ["barley mash copper still", "wind sail", "planet orbit telescope light galaxy dust " * 9, "peat", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seq2seq")
    return {kind: make_tiny_seq2seq(root / kind, kind=kind) for kind in ("t5", "bart", "bert")}


def writer(folder: Path, seed: int = 0, **options: object) -> Seq2Seq:
    return Seq2Seq(
        GeneratorSpec.model_validate({"model": str(folder), "max_input": 32, "max_output": 8} | options), seed
    )


DECODINGS = [{"beams": 3, "each": 2}, {"sampling": 0.9, "each": 3}, {"beams": 1, "each": 1}]


@pytest.mark.parametrize("options", DECODINGS, ids=["beams", "sampling", "greedy"])
@pytest.mark.parametrize("kind", ["t5", "bart", "bert"])
def test_a_text_is_written_for_alone_as_in_any_batch(folders: dict[str, Path], kind: str, options: dict[str, object]):
    model = writer(folders[kind], **options)
    together = model.write(TEXTS)
    assert [len(written) for written in together] == [options["each"]] * len(TEXTS)
    assert [model.write([text])[0] for text in TEXTS] == together
    assert model.write(TEXTS[::-1]) == together[::-1]
    assert all(text == " ".join(text.split()) for written in together for text in written)
    assert any(text for written in together for text in written)


def test_beams_ignore_the_seed_and_samples_hang_on_it(folders: dict[str, Path]):
    by_beams = [writer(folders["t5"], seed, beams=2) for seed in (0, 1)]
    assert by_beams[0].write(TEXTS) == by_beams[1].write(TEXTS)
    assert by_beams[0].fingerprint() == by_beams[1].fingerprint()
    sampled = [writer(folders["t5"], seed, sampling=0.95) for seed in (0, 1)]
    assert sampled[0].write(TEXTS) != sampled[1].write(TEXTS)
    assert sampled[0].fingerprint() != sampled[1].fingerprint()


def test_more_samples_begin_with_the_same_ones(folders: dict[str, Path]):
    few, many = (writer(folders["t5"], sampling=0.9, each=each).write(TEXTS) for each in (2, 4))
    assert [written[:2] for written in many] == few
    assert len({text for written in many for text in written}) > 10


def test_prefix_and_maximum_length_are_read(folders: dict[str, Path]):
    plain, asked = (writer(folders["t5"], sampling=0.9, prefix=prefix) for prefix in ("", "whisky "))
    assert plain.lengths(TEXTS).tolist() == [6, 4, 32, 3, 2]
    assert asked.lengths(TEXTS).tolist() == [7, 5, 32, 4, 3]
    assert (plain.truncated, asked.truncated) == (1, 1)
    assert plain.write(["whisky peat"]) != asked.write(["peat"]), "chance is the text's own"
    greedy = [writer(folders["t5"], beams=1, each=1, prefix=prefix) for prefix in ("", "whisky ")]
    assert greedy[0].write(["whisky peat"]) == greedy[1].write(["peat"])
    longer = writer(folders["t5"], beams=1, each=1)
    assert longer.write([TEXTS[2]]) == longer.write([TEXTS[2] + " and more of it"])


def test_every_setting_is_in_the_fingerprint(folders: dict[str, Path], tmp_path: Path):
    changes: list[dict[str, object]] = [
        {},
        {"each": 3},
        {"beams": 5},
        {"prefix": "ask: "},
        {"max_input": 31},
        {"max_output": 9},
        {"sampling": 0.9},
        {"sampling": 0.8},
        {"sampling": 0.9, "temperature": 0.7},
    ]
    marks = [writer(folders["t5"], **change).fingerprint().digest() for change in changes]
    marks.append(writer(folders["bart"]).fingerprint().digest())
    assert len(set(marks)) == len(marks)
    for alike in ({"batch_size": 2}, {"noise": 0.5}, {"device": "cpu"}, {"sources": 3}):
        assert writer(folders["t5"], **alike).fingerprint().digest() == marks[0]
    elsewhere = shutil.copytree(folders["t5"], tmp_path / folders["t5"].name)
    assert writer(elsewhere).fingerprint().digest() == marks[0]
    (elsewhere / "generation_config.json").write_text(
        json.dumps({"decoder_start_token_id": 2, "eos_token_id": 3, "pad_token_id": 0})
    )
    assert writer(elsewhere).fingerprint().digest() != marks[0]


def test_the_models_own_decoding_settings_do_not_decide(folders: dict[str, Path], tmp_path: Path):
    """A summariser's folder asks for long texts and its own beams; the recipe says what holds."""
    folder = shutil.copytree(folders["t5"], tmp_path / "own")
    held = json.loads((folder / "generation_config.json").read_text())
    more = {"min_length": 56, "num_beams": 7, "no_repeat_ngram_size": 3, "do_sample": True, "length_penalty": 2.0}
    (folder / "generation_config.json").write_text(json.dumps(held | more))
    assert writer(folder).write(TEXTS) == writer(folders["t5"]).write(TEXTS)


def refused(spec: dict[str, object]) -> InputError:
    with pytest.raises(InputError) as caught:
        Seq2Seq(GeneratorSpec.model_validate(spec), 0)
    assert caught.value.fix
    return caught.value


def test_what_is_refused(folders: dict[str, Path], tmp_path: Path):
    encoder = make_tiny_encoder(tmp_path / "encoder", sentence_transformer=False)
    assert "no sequence-to-sequence model" in refused({"model": str(encoder)}).message
    assert "no such model folder" in refused({"model": str(tmp_path / "none")}).message
    assert "no revisions" in refused({"model": str(folders["t5"]), "revision": "main"}).message
    assert "positions for 64" in refused({"model": str(folders["bart"]), "max_input": 65}).message
    assert "positions for 64" in refused({"model": str(folders["bert"]), "max_input": 64, "max_output": 65}).message
    assert "no device" in refused({"model": str(folders["t5"]), "device": "quantum"}).message
    assert "no device" in refused({"model": str(folders["t5"]), "device": "cuda:93"}).message
    assert "local cache" in refused({"model": "nobody/no-such-generator"}).message


def test_pickles_are_not_read(folders: dict[str, Path], tmp_path: Path):
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(folders["t5"], tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refused({"model": str(folder)}).message


def test_code_that_comes_with_a_model_is_not_run(folders: dict[str, Path], tmp_path: Path):
    folder = shutil.copytree(folders["t5"], tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.Config", "AutoModelForSeq2SeqLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    refused({"model": str(folder)})
    assert not (tmp_path / "ran").exists()


def test_missing_weights_and_tokens_are_told(folders: dict[str, Path], tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["t5"], tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "final_layer_norm" in refused({"model": str(folder)}).message
    silent = shutil.copytree(folders["bert"], tmp_path / "silent")
    (silent / "generation_config.json").unlink()
    assert "does not say its" in refused({"model": str(silent)}).message


def test_the_recipe_checks_beams_and_words():
    with pytest.raises(ValueError, match="one text a beam"):
        GeneratorSpec(model="a", each=5, beams=4)
    assert GeneratorSpec(model="a", each=5, beams=4, sampling=0.9).each == 5
