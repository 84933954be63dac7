"""A source whose vectors are a function of the text, and a process that fills a store with it (run as a script)."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from potstill.errors import PotstillError
from potstill.signals import Fingerprint, SignalStore, fill
from potstill.signals import shard as shard_module
from potstill.texts import digest

WIDTH = 8
MARK = Fingerprint("fake", "lab/fake", "abc", "any", "", "mean", 64, True, "float32", WIDTH)


def vector_of(text: str, width: int = WIDTH) -> np.ndarray:
    """The vector of a text: exact in float16, so that what comes back can be compared bit by bit."""
    seed = int.from_bytes(digest(text), "big")
    return (np.random.default_rng(seed).integers(-1000, 1000, width) / 1024).astype(np.float32)


def vectors_of(texts: Sequence[str], width: int = WIDTH) -> np.ndarray:
    return np.stack([vector_of(text, width) for text in texts]) if texts else np.empty((0, width), np.float32)


@dataclass
class FakeSource:
    """Counts what it encodes; writes it to `log` where there is one."""

    mark: Fingerprint = MARK
    recomputable: bool = True
    log: Path | None = None
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        self.batches: list[list[str]] = []

    @property
    def encoded(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    def fingerprint(self, role: str) -> Fingerprint:
        return self.mark

    def lengths(self, texts: Sequence[str], role: str) -> np.ndarray:
        return np.array([len(text) for text in texts])

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        time.sleep(self.delay_s)
        self.batches.append(list(texts))
        if self.log:
            with self.log.open("a") as file:
                file.write("".join(f"{text}\n" for text in texts))
        return vectors_of(texts, self.mark.dimensions)


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"text {i}" for i in range(start, start + count)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--shard-rows", type=int, default=40)
    parser.add_argument("--die-at", type=int, help="SIGKILL this process at the nth flush or manifest of a shard")
    parser.add_argument("--largest-file", type=int, help="no file may grow past this many bytes")
    args = parser.parse_args()
    if args.die_at is not None:
        arm_death(args.die_at)
    source = FakeSource(replace(MARK, dimensions=args.width), log=args.log, delay_s=args.delay)
    table = SignalStore(args.root).vectors(source.mark)
    if args.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (args.largest_file, args.largest_file))
    texts = numbered(args.count, args.start)
    try:
        fill(table, source, texts, "query", tokens_per_batch=args.tokens, shard_rows=args.shard_rows)
    except PotstillError as error:
        print(error)
        sys.exit(error.exit_code)


def arm_death(at: int) -> None:
    """Make the process kill itself in the middle of writing a shard."""
    left = [at]

    def count(real):
        def wrapped(*args):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return wrapped

    shard_module.flush = count(shard_module.flush)
    shard_module.write_json = count(shard_module.write_json)


if __name__ == "__main__":
    main()


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
