"""A writer without a model, and a process that writes with it until it is killed: `STORE LOG DELAY` are its words."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from potstill.queries import StoredGenerator
from potstill.signals import Fingerprint, SignalStore

MARK = Fingerprint("seq2seq", "lab/fake", None, "any", "", None, 32, None, "float32", 0)
TEXTS = [f"text {i} " + "and more " * (i % 7) for i in range(120)]
SHARD, BATCH = 20, 4


class FakeWriter:
    name = "lab/fake"

    def __init__(self, log: Path | None = None, delay: float = 0.0, fail_at: int | None = None) -> None:
        self.log, self.delay, self.fail_at = log, delay, fail_at
        self.truncated = 0
        self.batches: list[list[str]] = []

    def fingerprint(self) -> Fingerprint:
        return MARK

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        self.truncated += sum(len(text.split()) > 12 for text in texts)
        return np.array([len(text.split()) for text in texts])

    def write(self, texts: Sequence[str]) -> list[list[str]]:
        if len(self.batches) == self.fail_at:
            raise MemoryError("no room")
        time.sleep(self.delay)
        self.batches.append(list(texts))
        if self.log is not None:
            with self.log.open("a") as file:
                file.write("".join(f"{text}\n" for text in texts))
        return [[f"about {text}", f"what of {text}"] for text in texts]


def generator(root: Path, writer: FakeWriter) -> StoredGenerator:
    return StoredGenerator(writer, SignalStore(root).texts(MARK), BATCH, shard_texts=SHARD)


if __name__ == "__main__":
    generator(Path(sys.argv[1]), FakeWriter(Path(sys.argv[2]), float(sys.argv[3]))).generate(TEXTS)
