from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_toys import (
    bytes_of,
    closeness,
    lines_of,
    objectives,
    settings,
    some_data,
    toy_task,
)

from potstill.errors import InputError, Interrupted
from potstill.training.loop import _Loop, train
from potstill.training.task import Task
from potstill.training.terms import build_terms


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is saved."""


def make(kind: str) -> Task:
    terms = build_terms([*objectives("match:l2"), *objectives("scores:kl", documents="sample", count=5, weight=0.1)])
    return Task(toy_task(kind).query_tower, terms)


def run_to_the_end(run: Path, kind: str, *, resume: bool = False, **changes: object) -> tuple[Task, object]:
    task, data = make(kind), some_data()
    result = train(task, data, settings(**changes), run, validate=closeness(data), resume=resume, digest="toy")
    return task, result


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    update = _Loop._update

    def fatal(self, *arguments):
        if self.at.step == step:
            raise Killed
        update(self, *arguments)

    monkeypatch.setattr(_Loop, "_update", fatal)


def run_killed(run: Path, kind: str, step: int, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Train until the update after `step`, and die there."""
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            run_to_the_end(run, kind, **changes)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """By kind of student: bytes of the weights, result and metrics of a run that nothing disturbed."""

    @functools.cache
    def run(kind):
        folder = tmp_path_factory.mktemp(kind)
        task, result = run_to_the_end(folder, kind)
        return bytes_of(task), result, lines_of(folder)

    return run


@pytest.mark.parametrize("kind", ["static", "head", "dense"])
@pytest.mark.parametrize("step", [0, 1, 12, 20, 23, 35])
@pytest.mark.parametrize("seconds", [30.0, 1e-9], ids=["at-epochs", "at-every-step"])
def test_a_run_killed_anywhere_ends_in_the_same_bytes(tmp_path, monkeypatch, uninterrupted, kind, step, seconds):
    weights, expected, lines = uninterrupted(kind)
    assert expected.steps > step
    run_killed(tmp_path, kind, step, monkeypatch, checkpoint_seconds=seconds)
    again, result = run_to_the_end(tmp_path, kind, checkpoint_seconds=seconds, resume=True)
    assert bytes_of(again) == weights
    assert (result.steps, result.texts, result.best_score) == (expected.steps, expected.texts, expected.best_score)
    assert lines_of(tmp_path) == lines


def test_a_run_killed_twice_and_a_damaged_checkpoint_too(tmp_path, monkeypatch, capsys, uninterrupted):
    weights, _, lines = uninterrupted("dense")
    run = tmp_path
    run_killed(run, "dense", 13, monkeypatch, checkpoint_seconds=1e-9)
    run_killed(run, "dense", 31, monkeypatch, checkpoint_seconds=1e-9, resume=True)
    newest = max((run / "checkpoints").glob("step-*"))
    held = bytearray((newest / "task.safetensors").read_bytes())
    held[-1] ^= 1
    (newest / "task.safetensors").write_bytes(bytes(held))
    capsys.readouterr()
    again, _ = run_to_the_end(run, "dense", resume=True)
    told = capsys.readouterr().err
    assert "task.safetensors is damaged" in told
    assert "resumed at step 30" in told
    assert bytes_of(again) == weights
    assert lines_of(run) == lines


def test_when_checkpoints_are_taken_does_not_matter(tmp_path):
    often, _ = run_to_the_end(tmp_path / "often", "dense", checkpoint_seconds=1e-9)
    seldom, _ = run_to_the_end(tmp_path / "seldom", "dense")
    assert bytes_of(often) == bytes_of(seldom)
    assert lines_of(tmp_path / "often") == lines_of(tmp_path / "seldom")


def test_resuming_a_finished_run_trains_nothing(tmp_path, monkeypatch, capsys):
    whole, expected = run_to_the_end(tmp_path, "static")
    kill_at(monkeypatch, expected.steps)
    again, result = run_to_the_end(tmp_path, "static", resume=True)
    assert bytes_of(again) == bytes_of(whole)
    assert result == expected
    assert f"resumed at step {expected.steps}" in capsys.readouterr().err


def test_nothing_to_resume_is_a_fresh_start(tmp_path, capsys):
    whole, _ = run_to_the_end(tmp_path / "whole", "static")
    fresh, _ = run_to_the_end(tmp_path / "fresh", "static", resume=True)
    assert "nothing to resume" in capsys.readouterr().err
    assert bytes_of(fresh) == bytes_of(whole)


def test_a_different_run_is_not_resumed(tmp_path):
    run_to_the_end(tmp_path, "static")
    with pytest.raises(InputError, match=r"training\.epochs was 3 and is 4") as told:
        run_to_the_end(tmp_path, "static", epochs=4, resume=True)
    assert told.value.where == str(tmp_path)
    data = some_data()
    with pytest.raises(InputError, match="data was None and is 'x'"):
        train(make("static"), data, settings(), tmp_path, resume=True, digest={"recipe and data": "toy", "data": "x"})
    with pytest.raises(InputError, match="objectives was"):
        train(toy_task("static"), data, settings(), tmp_path, resume=True, digest="toy")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}
    run_to_the_end(tmp_path, "static", resume=True, checkpoint_seconds=3.0, keep_checkpoints=5)  # free to change
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json*")} == before


def test_other_threads_are_told(tmp_path, monkeypatch, capsys):
    run_killed(tmp_path, "static", 15, monkeypatch)
    run_to_the_end(tmp_path, "static", resume=True, threads=2)
    assert "used 1 threads and goes on with 2" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, monkeypatch, uninterrupted, number):
    update = _Loop._update

    def interrupted(self, *arguments):
        if self.at.step == 17:
            signal.raise_signal(number)
        update(self, *arguments)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(_Loop, "_update", interrupted)
        with pytest.raises(Interrupted) as told:
            run_to_the_end(tmp_path, "dense")
    assert "step 18" in str(told.value)
    assert "--resume" in told.value.fix
    assert signal.getsignal(number) is before
    assert (tmp_path / "checkpoints" / "step-00000018").is_dir()
    again, _ = run_to_the_end(tmp_path, "dense", resume=True)
    assert bytes_of(again) == uninterrupted("dense")[0]


def test_a_second_ctrl_c_is_obeyed_at_once(tmp_path, monkeypatch):
    def twice(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_Loop, "_update", twice)
    with pytest.raises(KeyboardInterrupt):
        run_to_the_end(tmp_path, "static")


def child(run: Path, pause: float = 0.0, *more: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("training_child.py")), str(run), "dense", str(pause), *more]


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    """Until there is a checkpoint of at least this step."""
    for _ in range(12_000):
        if any(int(path.name[5:]) >= step for path in (run / "checkpoints").glob("step-*")):
            return
        assert process.poll() is None, "the child ended too early"
        time.sleep(0.01)
    raise AssertionError("no checkpoint came")


def test_kill_9_in_a_process_of_its_own(tmp_path):
    whole = subprocess.run(child(tmp_path / "whole"), capture_output=True, text=True, check=True)
    run = tmp_path / "killed"
    process = subprocess.Popen(child(run, 0.02), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(run, 25, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    process = subprocess.Popen(child(run, 0.02, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(run, 50, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert int(re.search(r"resumed at step (\d+)", told)[1]) >= 25
    assert "--resume" in told
    again = subprocess.run(child(run, 0.0, "--resume"), capture_output=True, text=True, check=True)
    assert again.stdout == whole.stdout
    assert lines_of(run) == lines_of(tmp_path / "whole")
