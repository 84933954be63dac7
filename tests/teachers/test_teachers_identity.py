"""The identity of a teacher's vectors: whatever changes them changes it, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from potstill.recipe import TeacherSpec
from potstill.teachers import open_teacher
from potstill.teachers.identity import file_digest, folder_digest
from tiny import make_tiny_encoder


def digest_of(model: Path | str, role: Any = "query", **more: Any) -> str:
    return open_teacher(TeacherSpec(model=str(model), device="cpu", **more)).fingerprint(role).digest()


def test_what_changes_vectors_changes_the_identity(tiny_encoder: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"prompts": {"query": "a "}},
        {"prompts": {"query": "b "}},
        {"max_length": {"query": 32}},
        {"pooling": "cls"},
        {"normalize": False},
        {"dtype": "bfloat16"},
    ]
    digests = [digest_of(tiny_encoder, **change) for change in changes]
    assert len(set(digests)) == len(changes)


def test_what_changes_nothing_keeps_it(tiny_encoder: Path) -> None:
    same = digest_of(tiny_encoder)
    assert digest_of(tiny_encoder, role="document") == same
    assert digest_of(tiny_encoder, prompts={"query": ""}, normalize=True, pooling="mean") == same
    assert digest_of(tiny_encoder, max_length={"query": 64, "document": 64}) == same
    assert digest_of(tiny_encoder, metric="dot", batch_size=1) == same
    # Both roles with the same prompt are one table again.
    both = {"prompts": {"query": "a ", "document": "a "}}
    assert digest_of(tiny_encoder, **both) == digest_of(tiny_encoder, role="document", **both)


def test_a_folder_is_known_by_its_contents(tiny_encoder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "elsewhere" / tiny_encoder.name))
    assert digest_of(copy) == digest_of(tiny_encoder)
    whole = folder_digest(copy)
    (copy / "README.md").write_text("words")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.json").write_text("{}")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    assert folder_digest(copy) == whole
    for name in ("model.safetensors", "tokenizer.json", "1_Pooling/config.json", "config_sentence_transformers.json"):
        before, file = folder_digest(copy), copy / name
        content = bytearray(file.read_bytes())
        content[-2] ^= 1
        file.write_bytes(bytes(content))
        assert folder_digest(copy) != before


def test_other_weights_are_another_model(tiny_encoder: Path, tmp_path: Path) -> None:
    assert digest_of(make_tiny_encoder(tmp_path / "encoder", seed=1)) != digest_of(tiny_encoder)
    assert digest_of(make_tiny_encoder(tmp_path / "again" / "encoder")) == digest_of(tiny_encoder)


def test_a_rewritten_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("1")
    first = file_digest(file)
    assert file_digest(file) == first
    file.write_text("2")
    os.utime(file, ns=(0, 0))
    assert file_digest(file) != first


def test_a_hub_id_is_known_by_its_commit(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    repository = tmp_path / "models--someone--tiny"
    commits = {"main": "a" * 40, "v2": "b" * 40}
    (repository / "refs").mkdir(parents=True)
    for name, commit in commits.items():
        (repository / "refs" / name).write_text(commit)
        shutil.copytree(tiny_encoder, repository / "snapshots" / commit)
    # Another prompt in v2.
    config = repository / "snapshots" / commits["v2"] / "config_sentence_transformers.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prompts": {"query": "moon "}}))
    newest = open_teacher(TeacherSpec(model="someone/tiny", device="cpu"))
    assert newest.fingerprint("query").model == newest.name == "someone/tiny"
    assert newest.fingerprint("query").revision == commits["main"]
    for revision in ("v2", commits["v2"]):
        older = open_teacher(TeacherSpec(model="someone/tiny", revision=revision, device="cpu"))
        assert older.fingerprint("query").revision == commits["v2"]
        assert older.fingerprint("query").prompt == "moon "
