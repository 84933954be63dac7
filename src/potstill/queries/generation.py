"""Queries that a model writes: each text is read once, ever; what was written is kept, and a crash costs little."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..progress import meter, say
from ..recipe import GeneratorSpec
from ..signals import Fingerprint, SignalStore
from ..signals.texts import TextTable

_SHARD_TEXTS = 1_024
_SHARD_SECONDS = 60.0


class Generator(Protocol):
    """Anything that writes queries.

    Attributes:
        name: for people: the model's id or its folder's name.
    """

    name: str

    def generate(self, texts: Sequence[str]) -> list[list[str]]:
        """What is written for each of these texts, in their order; the same whenever asked."""


class Writer(Protocol):
    """A model that reads batches; `Seq2Seq` is one.

    Attributes:
        name: for people.
        truncated: how many texts were cut at its maximum length so far.
    """

    name: str
    truncated: int

    def fingerprint(self) -> Fingerprint:
        """Identity of what it writes."""

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens (n,) of each text."""

    def write(self, texts: Sequence[str]) -> list[list[str]]:
        """What it writes for each text of one batch."""


class StoredGenerator:
    """A writer whose texts are kept in the signal store.

    Texts are read in batches of like length, longest first: what does not fit in memory fails at once. Killed at any
    moment and called again, it reads at most one shard's texts twice.

    Args:
        writer: the model.
        table: opened with the writer's fingerprint.
        batch_size: texts of a batch.
        shard_texts: texts of a shard.
        shard_seconds: a shard is closed after this time at the latest.
    """

    def __init__(
        self,
        writer: Writer,
        table: TextTable,
        batch_size: int,
        *,
        shard_texts: int = _SHARD_TEXTS,
        shard_seconds: float = _SHARD_SECONDS,
    ) -> None:
        self.writer, self.table, self.batch_size = writer, table, batch_size
        self.shard_texts, self.shard_seconds = shard_texts, shard_seconds
        self.name = writer.name

    def generate(self, texts: Sequence[str]) -> list[list[str]]:
        """What is written for each of these texts, in their order; only those are read that the store lacks.

        Raises:
            PotstillError: the store cannot be read or written.
        """
        found = self.table.find(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        with meter(f"generator: {self.name}", total=len(texts)) as progress:
            progress.skip(len(texts) - len(missing))
            if missing:
                self.table.prepare()  # a store that cannot be written says so before the model works for hours
                held: dict[str, list[str]] = {}
                since = time.monotonic()
                try:
                    for batch in self._batches(missing):
                        held.update(zip(batch, self.writer.write(batch), strict=True))
                        progress.advance(len(batch))
                        if len(held) >= self.shard_texts or time.monotonic() - since >= self.shard_seconds:
                            full, held, since = held, {}, time.monotonic()
                            found |= full
                            self.table.append(full)
                finally:
                    self.table.append(held)
                found |= held
        if self.writer.truncated:
            say(f"generator: {self.writer.truncated:,} texts are longer than its maximum length and are read up to it")
        return [found[text] for text in texts]

    def _batches(self, texts: Sequence[str]) -> list[list[str]]:
        order = np.argsort(-self.writer.lengths(texts), kind="stable")
        starts = range(0, len(order), self.batch_size)
        return [[texts[i] for i in order[start : start + self.batch_size]] for start in starts]


def open_generator(spec: GeneratorSpec, seed: int, signals: Path | None) -> StoredGenerator:
    """Load a generator; what it writes is kept below `signals` (None: the default store).

    Raises:
        InputError: the model cannot be loaded, is of another kind, or does not fit the recipe.
        MissingExtra: transformers is not installed.
    """
    from .seq2seq import Seq2Seq

    writer = Seq2Seq(spec, seed)
    return StoredGenerator(writer, SignalStore(signals).texts(writer.fingerprint()), spec.batch_size)
