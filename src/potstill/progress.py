"""Progress and messages: rich on a terminal, plain lines otherwise. Everything goes to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PLAIN_EVERY_S = 10.0


class Meter(Protocol):
    """What a long job reports to: `advance(n)` after n more units are done."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units as done; `note` is a short text shown beside the rate."""

    def skip(self, n: int) -> None:
        """Count `n` more units as done without work; the rate and the time left are those of the others."""


def say(message: str) -> None:
    """Print one plain line for the user to standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def warn(message: str) -> None:
    """Print one line that the user should not miss to standard error."""
    say(f"warning: {message}")


class _PlainMeter:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self.skipped = 0
        self.started = self.last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last >= _PLAIN_EVERY_S:
            self.last = now
            self.line(now, note)

    def skip(self, n: int) -> None:
        self.done += n
        self.skipped += n

    def line(self, now: float, note: str = "") -> None:
        rate = (self.done - self.skipped) / max(now - self.started, 1e-9)
        of = f"/{self.total:,}" if self.total is not None else ""
        if self.done == self.skipped:
            say(f"{self.label}: {self.done:,}{of} {self.unit}, known already")
            return
        left = f", {self.skipped:,} known already" if self.skipped else ""
        if self.total is not None and rate > 0 and self.done < self.total:
            left += f", about {duration((self.total - self.done) / rate)} left"
        tail = f", {note}" if note else ""
        say(f"{self.label}: {self.done:,}{of} {self.unit}, {rate:,.0f} {self.unit}/s{left}{tail}")


class _RichMeter:
    def __init__(self, progress: object, task: object) -> None:
        self.progress, self.task = progress, task

    def advance(self, n: int = 1, note: str = "") -> None:
        self.progress.update(self.task, advance=n, note=note)  # type: ignore[attr-defined]

    def skip(self, n: int) -> None:
        self.advance(n)


@contextmanager
def meter(label: str, total: int | None = None, unit: str = "texts") -> Iterator[Meter]:
    """Show the progress of one job: count, rate and time left.

    Args:
        label: what is being done, e.g. "teacher: documents".
        total: number of units, None when unknown.
        unit: what is counted, in the plural.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            yield _RichMeter(progress, progress.add_task(label, total=total, note=""))
        return
    plain = _PlainMeter(label, total, unit)
    try:
        yield plain
    finally:
        if plain.done:
            plain.line(time.monotonic())


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 10 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
