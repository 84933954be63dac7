"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import potstill
from potstill.cli import run
from potstill.signals.shard import forget_checks

SMALL = ("--set", "queries.cap=60", "--set", "training.epochs=1", "--set", "evaluate.cost=false")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_collection: Path, tiny_encoder: Path) -> Path:
    """A folder with `run` and `signals`, made by the command line. Do not write into it."""
    folder = tmp_path_factory.mktemp("done")
    where = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--out", str(folder / "run")]
    assert run(["distill", *where, *SMALL, "--signals", str(folder / "signals")]) == 0
    return folder


def test_version_and_help(capsys: pytest.CaptureFixture[str]):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"potstill {potstill.__version__}\n"
    for command in ([], ["distill"], ["evaluate"], ["doctor"], ["signals"], ["signals", "gc"]):
        assert run([*command, "--help"]) == 0
        assert "--help" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["signals"]])
def test_nothing_asked_for_shows_help_and_is_a_usage_error(command: list[str], capfd: pytest.CaptureFixture[str]):
    assert run(command) == 2
    said = capfd.readouterr()
    assert "Usage" in said.out + said.err
    assert "defect" not in said.err


def test_the_table_goes_to_standard_output_and_progress_to_standard_error(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, done: Path, capsys: pytest.CaptureFixture[str]
):
    where = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--out", str(tmp_path / "run")]
    assert run(["distill", *where, *SMALL, "--signals", str(done / "signals")]) == 0
    said = capsys.readouterr()
    assert re.search(r"^nDCG@10 +0\.\d{4} +0\.\d{4} +\d\.\d{4} \(\d\.\d{4} to \d\.\d{4}\) +\d\.\d{4}$", said.out, re.M)
    assert str(tmp_path / "run") in said.out
    assert "teacher: documents" in said.err
    assert "teacher: documents" not in said.out


def test_evaluate(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, done: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "train.json"
    where = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--student", str(done / "run")]
    options = ["--split", "train", "--measure", "nDCG@5", "--measure", "P@3", "--set", "evaluate.cost=false"]
    assert run(["evaluate", *where, *options, "--out", str(out), "--signals", str(done / "signals")]) == 0
    found = json.loads(out.read_text())
    assert found["split"] == "train"
    assert list(found["systems"]["student"]) == ["nDCG@5", "P@3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.json", "train.per_query.jsonl"]
    assert "P@3" in capsys.readouterr().out


def test_signals(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import shutil

    store = tmp_path / "signals"
    shutil.copytree(done / "signals", store)
    where = ["--signals", str(store)]
    assert run(["signals", "ls", *where]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"1 tables, \d+ rows, \d+\.\d MB", said[-1])
    assert "x 32 float16" in said[0]
    assert run(["signals", "verify", *where]) == 0
    assert capsys.readouterr().out == "all shards are whole\n"

    shard = sorted(store.rglob("*.vectors.npy"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    forget_checks()
    assert run(["signals", "verify", *where]) == 2
    said = capsys.readouterr()
    assert shard.name.split(".")[0] in said.out
    assert "one shard is broken" in said.err
    assert run(["signals", "gc", "--dry-run", *where]) == 0
    assert capsys.readouterr().out.startswith("would free ")
    assert shard.exists()
    assert run(["signals", "gc", *where]) == 0
    assert capsys.readouterr().out.startswith("freed ")
    assert not shard.exists()
    assert run(["signals", "verify", *where]) == 0
    assert run(["signals", "gc", "--older-than-days", "1", *where]) == 0
    assert list(store.rglob("*.npy")), "what was used today stays"
    assert run(["signals", "gc", "--model", "*encoder", *where]) == 0
    assert not list(store.rglob("*.npy"))


def test_a_flipped_byte_is_made_anew_and_told(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, done: Path, capsys: pytest.CaptureFixture[str]
):
    import shutil

    shutil.copytree(done / "signals", tmp_path / "signals")
    for shard in (tmp_path / "signals").rglob("*.vectors.npy"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    forget_checks()
    where = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--out", str(tmp_path / "run")]
    assert run(["distill", *where, *SMALL, "--signals", str(tmp_path / "signals")]) == 0
    assert "computed anew" in capsys.readouterr().err
    theirs, mine = (json.loads((f / "run" / "evaluation.json").read_text()) for f in (done, tmp_path))
    assert mine == theirs


def test_the_default_store_is_below_potstill_home(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    where = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--out", str(tmp_path / "run")]
    assert run(["distill", *where, *SMALL]) == 0
    assert list((tmp_path / "home" / "signals").rglob("*.npy"))


def test_the_same_in_python(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, done: Path):
    settings = {"queries.cap": 60, "training.epochs": 1, "evaluate.cost": False}
    made = potstill.distill(
        tiny_collection, tiny_encoder, "static", out=tmp_path / "run", settings=settings, signals=done / "signals"
    )
    assert made.evaluation == json.loads((done / "run" / "evaluation.json").read_text())
    student, theirs = made.load(), potstill.load(done / "run")
    assert (student.encode_queries(["wind", "sail"]) == theirs.encode_queries(["wind", "sail"])).all()
    with pytest.raises(potstill.errors.PotstillError, match="not empty"):
        potstill.distill(tiny_collection, tiny_encoder, out=tmp_path / "run", signals=done / "signals")


def test_settings_in_python_keep_every_character(tmp_path: Path):
    with pytest.raises(potstill.errors.PotstillError) as caught:
        potstill.distill("/nowhere 🥃 ä", "t", out=tmp_path / "run", settings={"teacher.prompts.query": "🥃: "})
    assert "🥃 ä" in str(caught.value)


_BASE = """
import sys
for name in ("torch", "transformers", "sentence_transformers", "datasets", "scipy", "pyarrow", "ir_measures", "jinja2",
             "matplotlib", "httpx", "accelerate", "click"):
    sys.modules[name] = None
from potstill.cli import run
print([run(arguments) for arguments in ([], ["--version"], ["signals", "ls"], ["distil"], ["distill"],
    ["distill", "--out", "OUT", "--collection", "COLLECTION", "--teacher", "t"])])
"""


def test_the_base_install_answers_and_names_the_extra(tmp_path: Path, tiny_collection: Path):
    code = _BASE.replace("OUT", str(tmp_path / "run")).replace("COLLECTION", str(tiny_collection))
    env = dict(os.environ) | {"POTSTILL_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.splitlines()[-1] == "[2, 0, 0, 2, 2, 2]", done.stderr
    assert 'pip install "potstill[train]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    assert not (tmp_path / "run").exists()
