"""What a model writes is kept: read once, in batches by length, whatever kills the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import queries_child
from queries_child import BATCH, MARK, SHARD, TEXTS, FakeWriter, generator

from potstill.queries import open_generator
from potstill.recipe import GeneratorSpec
from potstill.signals import SignalStore, verify
from tiny import make_tiny_seq2seq

EXPECTED = [[f"about {text}", f"what of {text}"] for text in TEXTS]


def test_batches_are_of_like_length_longest_first(tmp_path: Path):
    writer = FakeWriter()
    assert generator(tmp_path, writer).generate(TEXTS) == EXPECTED
    lengths = [[len(text.split()) for text in batch] for batch in writer.batches]
    assert all(len(batch) == BATCH for batch in lengths)
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)
    assert len(list(tmp_path.glob("*/*.texts.jsonl"))) == len(TEXTS) // SHARD


def test_nothing_is_read_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    writer = FakeWriter()
    generator(tmp_path, writer).generate(TEXTS[:50] + TEXTS[:50])
    assert Counter(text for batch in writer.batches for text in batch) == Counter(TEXTS[:50])
    more = FakeWriter()
    assert generator(tmp_path, more).generate(TEXTS[::-1]) == EXPECTED[::-1]
    assert sorted(text for batch in more.batches for text in batch) == sorted(TEXTS[50:])
    capsys.readouterr()
    none = FakeWriter()
    assert generator(tmp_path, none).generate(TEXTS) == EXPECTED
    assert none.batches == []
    assert "120/120 texts, known already" in capsys.readouterr().err


def test_texts_that_are_cut_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    generator(tmp_path, FakeWriter()).generate(TEXTS)
    assert "generator: 17 texts are longer than its maximum length" in capsys.readouterr().err


def test_an_error_keeps_what_was_written(tmp_path: Path):
    with pytest.raises(MemoryError):
        generator(tmp_path, FakeWriter(fail_at=8)).generate(TEXTS)
    assert len(SignalStore(tmp_path).texts(MARK).find(TEXTS)) == 8 * BATCH
    writer = FakeWriter()
    assert generator(tmp_path, writer).generate(TEXTS) == EXPECTED
    assert len(writer.batches) == len(TEXTS) // BATCH - 8


@pytest.mark.parametrize("wait_for", [0, 1, 3])
def test_killed_and_resumed(tmp_path: Path, wait_for: int):
    root, log = tmp_path / "store", tmp_path / "log"
    process = subprocess.Popen([sys.executable, queries_child.__file__, str(root), str(log), "0.02"])
    deadline = time.monotonic() + 60
    while len(list(root.glob("*/shard-*.json"))) < wait_for or not log.exists() or not log.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert verify(root) == []
    before = log.read_text().splitlines()
    writer = FakeWriter()
    assert generator(root, writer).generate(TEXTS) == EXPECTED
    times = Counter([*before, *(text for batch in writer.batches for text in batch)])
    assert sum(count - 1 for count in times.values()) <= SHARD + BATCH
    assert verify(root) == []


def test_a_real_model_whatever_was_there_before(tmp_path: Path):
    """Adding texts, another batch size or a lost shard change nothing of what is written for a text."""
    folder = make_tiny_seq2seq(tmp_path / "t5")
    texts = ["barley mash copper still", "wind sail", "planet orbit telescope", "peat", "violin string bow rhythm"]
    spec = GeneratorSpec(model=str(folder), sampling=0.9, max_output=6, batch_size=2)
    whole = open_generator(spec, 0, tmp_path / "a").generate(texts)
    by_parts = open_generator(spec.model_copy(update={"batch_size": 5}), 0, tmp_path / "b")
    assert by_parts.generate(texts[3:]) == whole[3:]
    assert by_parts.generate(texts) == whole
    assert open_generator(spec, 0, tmp_path / "a").generate(texts[1:3]) == whole[1:3]
    for shard in (tmp_path / "a").glob("*/*.texts.jsonl"):
        shard.write_bytes(shard.read_bytes()[:-1])
    assert open_generator(spec, 0, tmp_path / "a").generate(texts) == whole
    assert open_generator(spec, 1, tmp_path / "a").generate(texts) != whole
