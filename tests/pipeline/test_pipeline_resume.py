"""Real processes, stopped at real moments: what goes on from there ends in the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from loopback_service import Reply, running
from pipeline_runs import check_evaluation, lines, read

from potstill.cli import run as cli

EPOCHS = 60
SETTINGS = (
    "queries.cap=80",
    f"training.epochs={EPOCHS}",
    "training.max_texts_per_batch=16",
    "training.patience=1000",
    "training.checkpoint_seconds=0.05",
)


def arguments(collection: Path, teacher: str, out: Path, signals: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    where = ["--collection", str(collection), "--teacher", teacher, "--out", str(out), "--signals", str(signals)]
    return ["distill", *where, "--student", "static", *settings, *more]


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "potstill.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a moment of the process; it must come before the process ends."""
    for _ in range(12_000):
        if condition():
            return
        if process.poll() is not None:
            raise AssertionError(f"ended too early: {process.communicate()[1]}")
        time.sleep(0.005)
    process.kill()
    raise AssertionError("the moment never came")


def steps(run: Path) -> int:
    names = [path.name.removeprefix("step-") for path in (run / "checkpoints").glob("step-*")]
    return max(map(int, names), default=-1)


def weights(run: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "student").rglob("*.safetensors"))}
    assert found
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_collection: Path, tiny_encoder: Path) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert cli(arguments(tiny_collection, str(tiny_encoder), folder / "run", folder / "signals")) == 0
    return folder / "run"


def test_stopped_in_training_politely_and_then_not(
    undisturbed: Path, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, capfd: pytest.CaptureFixture[str]
):
    run, signals = tmp_path / "run", tmp_path / "signals"
    command = arguments(tiny_collection, str(tiny_encoder), run, signals)

    process = start(command)
    until(lambda: steps(run) >= 20, process)
    process.send_signal(signal.SIGSTOP)
    capfd.readouterr()
    assert cli(command) == 2, "two runs in one folder"
    assert cli([*command, "--resume"]) == 2
    assert capfd.readouterr().err.count("another process is working in this folder") == 2
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert not (run / "student").exists()
    stopped_at = steps(run)
    assert stopped_at < EPOCHS * 5

    process = start(["distill", "--out", str(run), "--signals", str(signals), "--resume"])
    until(lambda: steps(run) >= stopped_at + 50, process)
    process.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert f"resumed at step {stopped_at}\n" in said
    killed_at = steps(run)
    assert stopped_at < killed_at < EPOCHS * 5

    assert cli(["distill", "--out", str(run), "--signals", str(signals), "--resume"]) == 0
    assert f"resumed at step {killed_at}\n" in capfd.readouterr().err
    assert weights(run) == weights(undisturbed)
    assert not (run / ".lock").exists()
    mine, theirs = read(run / "evaluation.json"), read(undisturbed / "evaluation.json")
    check_evaluation(mine)
    assert mine["systems"] == theirs["systems"]
    assert [timeless(line) for line in lines(run / "metrics.jsonl")] == [
        timeless(line) for line in lines(undisturbed / "metrics.jsonl")
    ]


def timeless(line: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in line.items() if key != "seconds"}


def test_killed_after_training(
    undisturbed: Path, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, capfd: pytest.CaptureFixture[str]
):
    run, signals = tmp_path / "run", undisturbed.parent / "signals"
    process = start(arguments(tiny_collection, str(tiny_encoder), run, signals))
    until(lambda: (run / "student" / "modules.json").exists(), process)
    process.kill()
    process.communicate(timeout=60)
    assert not (run / "report.html").exists()
    # The last checkpoint is complete: nothing is trained again.
    assert cli(["distill", "--out", str(run), "--signals", str(signals), "--resume"]) == 0
    assert f"resumed at step {EPOCHS * 5}\n" in capfd.readouterr().err
    assert weights(run) == weights(undisturbed)
    assert (run / "report.html").is_file()
    # Not with another recipe, which leaves the run's own recipe alone.
    before = (run / "recipe.yaml").read_bytes()
    changed = ["--resume", "--set", "training.learning_rate=0.5"]
    assert cli(["distill", "--out", str(run), "--signals", str(signals), *changed]) == 2
    assert "training.learning_rate was" in capfd.readouterr().err
    assert (run / "recipe.yaml").read_bytes() == before
    # A finished run may be resumed too: everything is there, and stays as it is.
    assert cli(["distill", "--out", str(run), "--signals", str(signals), "--resume"]) == 0
    assert weights(run) == weights(undisturbed)


def test_killed_while_the_teacher_works(tmp_path: Path, tiny_collection: Path, capfd: pytest.CaptureFixture[str]):
    settings = ["--set", "student.vocabulary_size=100", "--set", "training.epochs=2", "--set", "evaluate.cost=false"]
    with running() as service:
        settings += ["--set", f"teacher.url={service.url}/v1", "--set", "teacher.batch_size=8"]

        def command(out: str, signals: str) -> list[str]:
            return arguments(tiny_collection, "any", tmp_path / out, tmp_path / signals, *settings)

        service.script.extend(Reply(delay=0.05) for _ in range(1000))
        process = start(command("run", "signals"))
        corpus = (tiny_collection / "corpus.jsonl").read_text()

        def documents() -> int:
            return sum(all(t[-20:] in corpus for t in r["json"]["input"]) for r in list(service.requests)[5:])

        until(lambda: documents() >= 3, process)
        process.kill()
        process.communicate(timeout=60)
        service.script.clear()
        assert steps(tmp_path / "run") == -1
        assert cli(["distill", "--out", str(tmp_path / "run"), "--signals", str(tmp_path / "signals"), "--resume"]) == 0
        assert "training starts from the beginning" in capfd.readouterr().err
        assert cli(command("other", "other-signals")) == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "other")


def test_ctrl_c_outside_training(tmp_path: Path, tiny_collection: Path, capfd: pytest.CaptureFixture[str]):
    with running() as service:
        settings = ["--set", f"teacher.url={service.url}/v1"]
        service.script.extend(Reply(delay=0.3) for _ in range(1000))
        process = start(arguments(tiny_collection, "any", tmp_path / "run", tmp_path / "signals", *settings))
        until(lambda: len(service.requests) >= 3, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "What to do" in said
    assert "--resume" in said
    assert "Traceback" not in said
