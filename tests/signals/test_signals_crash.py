"""kill -9 at any point, several writers at once, a full disk: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import signals_fakes
from signals_fakes import MARK, FakeSource, numbered, vectors_of

from potstill.signals import SignalStore, fill, gc, verify
from potstill.signals.shard import leftovers

SHARD_ROWS = 40
BATCH = 10  # texts of a batch, at most


def start(root: Path, **options: object) -> subprocess.Popen[str]:
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return subprocess.Popen(
        [sys.executable, signals_fakes.__file__, str(root), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shards(root: Path) -> int:
    return len(list(root.glob("*/shard-*.json")))


def check_resumed(root: Path, log: Path, tmp_path: Path) -> None:
    """After a kill: nothing broken, at most one shard's texts encoded twice, the same vectors as without the kill."""
    store = SignalStore(root)
    assert verify(root) == []
    before = log.read_text().splitlines()
    kept = len(store.vectors(MARK))
    texts = numbered(200)
    source = FakeSource()
    fill(store.vectors(MARK), source, texts, "query", tokens_per_batch=100, shard_rows=SHARD_ROWS)
    table = store.vectors(MARK)
    times = Counter(before + source.encoded)
    assert set(times) == set(texts)
    assert len(source.encoded) == 200 - kept
    redone = sum(count - 1 for count in times.values())
    assert redone <= SHARD_ROWS + BATCH
    assert len(table) == table.distinct == 200
    whole = SignalStore(tmp_path / "whole").vectors(MARK)
    fill(whole, FakeSource(), texts, "query")
    assert np.array_equal(table.vectors(texts), whole.vectors(texts))
    assert np.array_equal(table.vectors(texts), vectors_of(texts))
    assert verify(root) == []


@pytest.mark.parametrize("wait_for", [0, 1, 3])
def test_killed_while_encoding(tmp_path, wait_for):
    root, log = tmp_path / "signals", tmp_path / "log"
    process = start(root, log=log, delay=0.02)
    deadline = time.monotonic() + 60
    while shards(root) < wait_for or not log.exists() or not log.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert wait_for <= shards(root) < 5
    check_resumed(root, log, tmp_path)


@pytest.mark.parametrize("die_at", range(6))
def test_killed_while_a_shard_is_written(tmp_path, die_at):
    """Three steps a shard: vectors, keys, manifest; the process dies before the nth."""
    root, log = tmp_path / "signals", tmp_path / "log"
    process = start(root, log=log, die_at=die_at)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert shards(root) == die_at // 3
    folder = next(root.iterdir())
    halves = leftovers(folder, older_than_s=-60)
    assert len(halves) == 1 + min(die_at % 3, 1)
    assert leftovers(folder) == []  # young ones may be a living writer's
    check_resumed(root, log, tmp_path)
    for path in halves:
        os.utime(path, (1, 1))
    assert gc(root) > 0
    assert leftovers(folder, older_than_s=-60) == []
    assert len(SignalStore(root).vectors(MARK)) == 200


def test_a_later_fill_sweeps_the_halves_of_the_dead(tmp_path):
    root = tmp_path / "signals"
    start(root, die_at=1).communicate()
    folder = next(root.iterdir())
    halves = leftovers(folder, older_than_s=-60)
    for path in halves:
        os.utime(path, (1, 1))
    fill(SignalStore(root).vectors(MARK), FakeSource(), ["x"], "query")
    assert halves
    assert not any(path.exists() for path in halves)


def test_two_writers_and_a_reader_at_once(tmp_path):
    root = tmp_path / "signals"
    options = {"count": 200, "delay": 0.005, "shard_rows": 20}
    writers = [start(root, log=tmp_path / f"log{i}", start=i * 100, **options) for i in range(2)]
    reader = SignalStore(root).vectors(MARK)
    texts = numbered(300)
    seen = set()
    while any(writer.poll() is None for writer in writers):
        reader.refresh()
        rows = reader.rows(texts)
        there = [text for text, row in zip(texts, rows, strict=True) if row >= 0]
        assert np.array_equal(reader.gather(rows[rows >= 0]), vectors_of(there))
        seen.add(len(there))
        time.sleep(0.01)
    for writer in writers:
        assert writer.wait() == 0, writer.stderr.read()
    assert len(seen) > 2  # it did see the table grow
    assert reader.broken == {}
    table = SignalStore(root).vectors(MARK)
    assert table.distinct == 300
    assert len(table) >= 300
    assert np.array_equal(table.vectors(texts), vectors_of(texts))
    assert verify(root) == []
    assert leftovers(table.folder, older_than_s=-60) == []


def test_two_writers_of_the_very_same_texts(tmp_path):
    root = tmp_path / "signals"
    writers = [start(root, delay=0.005) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    table = SignalStore(root).vectors(MARK)
    assert table.distinct == 200
    assert len(table) == sum(held.rows for held in table._slots)
    assert np.array_equal(table.vectors(numbered(200)), vectors_of(numbered(200)))
    assert verify(root) == []


def test_a_full_disk(tmp_path):
    """A limit on file size makes the write of the second, larger shard fail half-way, as a full disk does."""
    root = tmp_path / "signals"
    small = start(root, count=20, width=512, shard_rows=20)
    assert small.wait() == 0
    process = start(root, count=200, width=512, shard_rows=100, largest_file=50_000)
    said, trouble = process.communicate()
    assert process.returncode == 1, trouble
    assert "could not be written" in said
    assert "free" in said
    assert "What to do: make room" in said
    folder = next(root.iterdir())
    assert shards(root) == 1
    assert leftovers(folder, older_than_s=-60) == []
    assert verify(root) == []
    assert start(root, count=200, width=512).wait() == 0
    assert verify(root) == []
