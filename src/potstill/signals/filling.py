"""Fill a table: each distinct text is encoded once, ever, in batches of like length; a crash costs little."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Generic

import numpy as np

from ..errors import InputError
from ..progress import Meter, meter, warn
from .keys import text_keys
from .shard import BrokenShard, leftovers
from .source import RoleT, VectorSource
from .table import VectorTable
from .writer import ShardWriter, checked

_BLOCK = 8192  # texts looked up at a time


@dataclass(frozen=True)
class FillReport:
    """What `fill` did.

    Attributes:
        texts: texts seen, repetitions included.
        reused: of these, those whose vector was there already or that were repetitions.
        encoded: distinct texts that the source encoded.
        batches: calls of the source's `encode`.
        shards: shards written.
        dropped: shards that were found broken, and dropped.
        seconds: wall-clock time.
    """

    texts: int
    reused: int
    encoded: int
    batches: int
    shards: int
    dropped: int
    seconds: float


def fill(
    table: VectorTable,
    source: VectorSource[RoleT],
    texts: Iterable[str],
    role: RoleT,
    *,
    tokens_per_batch: int = 16384,
    label: str = "",
    total: int | None = None,
    window: int = 50_000,
    shard_rows: int | None = None,
    shard_seconds: float = 60.0,
) -> FillReport:
    """Encode the texts that the table lacks and append them.

    Texts are streamed: `window` of those that need encoding are held at a time, sorted by length, longest first (what
    does not fit in memory fails at once), and cut into batches of at most `tokens_per_batch` tokens, padding included.
    Killed at any moment and called again, it encodes at most one shard's texts twice. Several processes may fill one
    table at once. On an error or Ctrl-C, what was encoded so far is kept.

    Args:
        table: opened with the source's fingerprint for this role.
        source: gives the vectors.
        texts: in any order, with repetitions.
        role: the role that the texts play.
        tokens_per_batch: texts of a batch times the longest one's tokens.
        label: what the progress line says.
        total: number of texts, for the time left, where `texts` has no length.
        window: texts held at a time.
        shard_rows: rows of a full shard; None: 65,536, fewer for wide vectors.
        shard_seconds: a shard is closed after this time at the latest.

    Raises:
        InputError: the source is not the table's, gave something that is not a vector, or cannot make a broken shard
            anew; or the store may not be written.
        PotstillError: the disk is full or cannot be read.
    """
    if source.fingerprint(role).digest() != table.fingerprint.digest():
        raise InputError(
            f"this table holds vectors of another source or setting than {source.fingerprint(role)}",
            where=str(table.folder),
            fix="open the table with the source's own fingerprint: store.vectors(source.fingerprint(role))",
        )
    started = time.monotonic()
    writer = ShardWriter(table, recomputable=source.recomputable, rows=shard_rows, seconds=shard_seconds)
    job = _Filling(table, source, role, tokens_per_batch, writer)
    total = len(texts) if isinstance(texts, Sized) else total
    with meter(
        label or (f"{table.row}s of pairs" if role == "pair" else f"vectors of {role} texts"),
        total=total,
        unit=table.unit,
    ) as progress:
        try:
            stream = iter(texts)
            while block := list(islice(stream, _BLOCK)):
                job.look_at(block, progress)
                if len(job.waiting) >= window:
                    job.encode_waiting(progress)
            job.encode_waiting(progress)
        finally:
            writer.close_shard()
    return FillReport(
        texts=job.seen,
        reused=job.seen - job.encoded,
        encoded=job.encoded,
        batches=job.batches,
        shards=writer.written,
        dropped=job.dropped,
        seconds=time.monotonic() - started,
    )


def batches_by_length(lengths: np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Cut texts into batches, longest first: positions of each batch; its size times its longest text fits the budget.

    A single text longer than the budget is a batch of its own.
    """
    lengths = np.maximum(np.asarray(lengths), 1)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, int(tokens_per_batch // lengths[order[start]]))
        yield order[start : start + size]
        start += size


class _Filling(Generic[RoleT]):
    """The state of one call of `fill`."""

    def __init__(
        self, table: VectorTable, source: VectorSource[RoleT], role: RoleT, tokens_per_batch: int, writer: ShardWriter
    ) -> None:
        self.table, self.source, self.role = table, source, role
        self.tokens_per_batch, self.writer = tokens_per_batch, writer
        self.waiting: dict[str, None] = {}  # a set that keeps its order
        self.seen = self.encoded = self.batches = self.dropped = 0
        self.encoding_s = 0.0

    def look_at(self, texts: Sequence[str], progress: Meter) -> None:
        """Let the texts wait that nobody has encoded yet."""
        before = len(self.waiting)
        self.waiting.update(dict.fromkeys(self._missing(texts)))
        self.seen += len(texts)
        progress.skip(len(texts) - (len(self.waiting) - before))

    def encode_waiting(self, progress: Meter) -> None:
        """Encode all that waits, longest first, and close the last shard: what comes next must find it on disk."""
        texts = self._missing(list(self.waiting))  # another process may have been here meanwhile
        progress.skip(len(self.waiting) - len(texts))
        self.waiting.clear()
        if not texts:
            return
        self.table.prepare()  # a store that cannot be written says so before the source works for hours
        for path in leftovers(self.table.folder):
            path.unlink(missing_ok=True)
        for batch in batches_by_length(self.source.lengths(texts, self.role), self.tokens_per_batch):
            began = time.monotonic()
            chosen = [texts[i] for i in batch]
            vectors = self.source.encode(chosen, self.role)
            vectors = checked(self.table, chosen, vectors, self.table.fingerprint.model or "the teacher")
            self.writer.add(text_keys(chosen), vectors)
            self.batches += 1
            self.encoded += len(chosen)
            self.encoding_s += time.monotonic() - began
            progress.advance(len(chosen), note=f"{self.encoded / max(self.encoding_s, 1e-9):,.0f} encoded/s")
        self.writer.close_shard()

    def _missing(self, texts: Sequence[str]) -> list[str]:
        """Find the distinct texts without a sound vector; broken shards are dropped on the way, and told."""
        self.table.refresh()
        distinct = list(dict.fromkeys(texts))
        rows = self.table.rows(distinct)
        broken = [*self.table.broken.values(), *self.table.check(rows)]
        for error in broken:
            self._drop(error)
        if broken:
            rows = self.table.rows(distinct)
        return [text for text, row in zip(distinct, rows, strict=True) if row < 0]

    def _drop(self, error: BrokenShard) -> None:
        if not (error.recomputable and self.source.recomputable):
            raise BrokenShard(error.folder, error.name, error.reason, recomputable=False)
        warn(f"{error.where}: {error.reason}; the shard is dropped, its vectors are computed anew")
        self.table.drop(error.name)
        self.dropped += 1
