"""Progress and messages: plain lines on standard error where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill import progress


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]):
    progress.say("hello")
    progress.warn("careful")
    assert capsys.readouterr() == ("", "hello\nwarning: careful\n")


def test_plain_lines_come_now_and_then_and_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]):
    with progress.meter("teacher: documents", total=4000) as meter:
        for _ in range(35):
            clock.now += 1.0
            meter.advance(100, note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "teacher: documents: 1,000/4,000 texts, 100 texts/s, about 30 s left, loss 0.5",
        "teacher: documents: 2,000/4,000 texts, 100 texts/s, about 20 s left, loss 0.5",
        "teacher: documents: 3,000/4,000 texts, 100 texts/s, about 10 s left, loss 0.5",
        "teacher: documents: 3,500/4,000 texts, 100 texts/s, about 5 s left",
    ]


def test_without_a_total_or_anything_done(clock: Clock, capsys: pytest.CaptureFixture[str]):
    with progress.meter("reading", unit="lines") as meter:
        clock.now += 2.0
        meter.advance(7)
    with progress.meter("nothing", total=0):
        pass
    assert capsys.readouterr().err == "reading: 7 lines, 4 lines/s\n"


def test_what_needed_no_work_has_no_rate(clock: Clock, capsys: pytest.CaptureFixture[str]):
    with progress.meter("all", total=5) as meter:
        meter.skip(5)
    with progress.meter("some", total=50) as meter:
        meter.skip(30)
        clock.now += 10.0
        meter.advance(10)
        clock.now += 10.0
        meter.advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "all: 5/5 texts, known already",
        "some: 40/50 texts, 1 texts/s, 30 known already, about 10 s left",
        "some: 50/50 texts, 1 texts/s, 30 known already",
        "some: 50/50 texts, 1 texts/s, 30 known already",
    ]


def test_the_last_line_comes_after_an_error_too(clock: Clock, capsys: pytest.CaptureFixture[str]):
    def stopped() -> None:
        with progress.meter("work", total=10) as meter:
            meter.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert capsys.readouterr().err.startswith("work: 3/10 texts")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.meter("teacher: documents", total=10) as meter:
        meter.advance(10, note="done")
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", terminal.getvalue())
    assert "teacher: documents" in shown
    assert "10/10" in shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations(seconds: float, said: str):
    assert progress.duration(seconds) == said


@given(seconds=st.floats(0, 1e7))
def test_durations_have_no_impossible_parts(seconds: float):
    numbers = [int(n) for n in re.findall(r"\d+", progress.duration(seconds))]
    assert all(number < 60 for number in numbers[1:])
