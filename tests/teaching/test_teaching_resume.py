"""A teaching run that was killed anywhere ends in the same bytes as one that nothing disturbed."""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from teaching_toys import APART, KINDS, bytes_of, lines_of, taught

from potstill.errors import InputError, Interrupted
from potstill.training.loop import _Loop


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is saved."""


def fatal_at(monkeypatch: pytest.MonkeyPatch, step: int, what) -> None:
    update = _Loop._update

    def fatal(self, *arguments):
        if self.at.step == step:
            what()
        update(self, *arguments)

    monkeypatch.setattr(_Loop, "_update", fatal)


def die() -> None:
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory, judged: Path, tiny_encoder: Path, signals: Path):
    """By kind: a run that nothing disturbed."""

    @functools.cache
    def run(kind: str) -> Path:
        out = tmp_path_factory.mktemp("whole") / kind
        taught(out, kind, judged, tiny_encoder, signals)
        return out

    return run


@pytest.mark.parametrize("kind", [*KINDS, *APART])
@pytest.mark.parametrize("step", [0, 5, 9])
def test_a_run_killed_anywhere_ends_in_the_same_bytes(
    tmp_path, monkeypatch, capsys, whole, judged, tiny_encoder, signals, kind, step
):
    expected = whole(kind)
    out = tmp_path / "run"
    often = "training.checkpoint_seconds=0.000001"
    with monkeypatch.context() as patch:
        fatal_at(patch, step, die)
        with pytest.raises(Killed):
            taught(out, kind, judged, tiny_encoder, signals, often)
    assert not (out / "model").exists()
    capsys.readouterr()
    again = taught(out, kind, judged, tiny_encoder, signals, often, resume=True)
    assert f"resumed at step {step}" in capsys.readouterr().err
    assert bytes_of(out) == bytes_of(expected)
    assert lines_of(out) == lines_of(expected)
    assert again["training"]["steps"] == 16


def test_an_interrupt_saves_and_a_finished_run_is_resumed_without_work(
    tmp_path, monkeypatch, whole, judged, tiny_encoder, signals
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        fatal_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted) as told:
            taught(out, "dual-pooled", judged, tiny_encoder, signals)
    assert "--resume" in told.value.fix
    for _ in range(2):
        taught(out, "dual-pooled", judged, tiny_encoder, signals, resume=True)
        assert bytes_of(out) == bytes_of(whole("dual-pooled"))
    with monkeypatch.context() as patch:
        fatal_at(patch, 16, die)
        taught(out, "dual-pooled", judged, tiny_encoder, signals, resume=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.learning_rate=0.5", "training.learning_rate was"),
        ("negatives=4", "settings was"),
        ("depth=20", "settings was"),
        ("max_length=40", "settings was"),
    ],
)
def test_a_different_run_is_not_resumed(tmp_path, monkeypatch, judged, tiny_encoder, signals, setting, said):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        fatal_at(patch, 2, die)
        with pytest.raises(Killed):
            taught(out, "cross-encoder", judged, tiny_encoder, signals)
    before = (out / "teach.yaml").read_text()
    with pytest.raises(InputError, match=said):
        taught(out, "cross-encoder", judged, tiny_encoder, signals, setting, resume=True)
    assert (out / "teach.yaml").read_text() == before


def wait_for_step(out: Path, step: int, process: subprocess.Popen) -> None:
    for _ in range(12_000):
        if any(int(path.name[5:]) >= step for path in (out / "checkpoints").glob("step-*")):
            return
        assert process.poll() is None, "the child ended too early"
        time.sleep(0.01)
    raise AssertionError("no checkpoint came")


def test_kill_9_in_a_process_of_its_own(tmp_path, whole, judged, tiny_encoder, signals):
    kind, out = "dual-pooled", tmp_path / "run"
    child = [sys.executable, str(Path(__file__).with_name("teaching_child.py"))]
    child += [kind, *map(str, (judged, tiny_encoder, out, signals))]
    process = subprocess.Popen([*child, "0.2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(out, 3, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    again = subprocess.run([*child, "0", "--resume"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert int(re.search(r"resumed at step (\d+)", again.stderr)[1]) >= 3
    assert bytes_of(out) == bytes_of(whole(kind))
    assert lines_of(out) == lines_of(whole(kind))
