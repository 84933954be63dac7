"""A table: all vectors with one fingerprint, looked up by text, read by row number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_json
from ..errors import PotstillError
from ..progress import warn
from . import shard as shards
from .fingerprint import Fingerprint
from .keys import count_distinct, find, text_keys
from .pairs import quoted, quoted_pair

TABLE_FILE = "table.json"


class VectorTable:
    """Vectors of texts, memory-mapped; opened by `SignalStore.vectors`.

    Row numbers belong to this object: they stay as they are for its life, through `refresh` and `drop` too, and mean
    nothing to another process. Any number of processes may read and append at once; nothing is locked.

    Attributes:
        folder: where the table lives; it need not exist before something is written.
        fingerprint: what made the vectors.
        dimensions: their width d.
        dtype: their precision on disk.
        broken: shards found broken and left out, by name. Their texts count as missing; `fill` makes them anew.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, dtype: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.dimensions = fingerprint.dimensions
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.broken: dict[str, shards.BrokenShard] = {}
        self._digest = fingerprint.digest()
        self._slots: list[shards.Shard | None] = []  # None: dropped; its row numbers are never given out again
        self._starts = np.zeros(1, dtype=np.int64)  # first row of each slot, then the end
        self.refresh()
        with suppress(OSError):  # "last used", for gc; a store that may only be read goes without
            os.utime(self.folder / TABLE_FILE)

    @property
    def unit(self) -> str:
        """What rows are about, in the plural, for messages: `texts` or `pairs`."""
        return "pairs" if self.fingerprint.role == "pair" else "texts"

    @property
    def row(self) -> str:
        """What a row is, for messages: `vector` or `score`."""
        return "score" if self.fingerprint.role == "pair" and self.dimensions == 1 else "vector"

    def quoted(self, text: str) -> str:
        """A text of this table as shown in a message; of a pair, the query and the document."""
        return quoted_pair(text) if self.fingerprint.role == "pair" else quoted(text)

    def refresh(self) -> None:
        """Take in what other processes appended, or removed, since the table was opened."""
        names = shards.shard_names(self.folder)
        there = set(names)
        for slot, held in enumerate(self._slots):
            if held is not None and held.name not in there:
                self._slots[slot] = None
        self.broken = {name: error for name, error in self.broken.items() if name in there}
        known = {held.name for held in self._slots if held is not None} | self.broken.keys()
        for name in names:
            if name not in known:
                self._open(name)

    def __len__(self) -> int:
        """Number of rows held. Two processes that fill at once may both hold a text: see `distinct`."""
        return sum(held.rows for held in self._slots if held is not None)

    @property
    def distinct(self) -> int:
        """Number of distinct texts held."""
        return count_distinct([held.keys for held in self._slots if held is not None])

    @property
    def shard_count(self) -> int:
        """Number of shards held."""
        return sum(held is not None for held in self._slots)

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """Row numbers of texts, (n,) int64; -1 where absent. Of a text in two shards, the older one's row."""
        return self.rows_of_keys(text_keys(texts))

    def rows_of_keys(self, keys: np.ndarray) -> np.ndarray:
        """As `rows`, for keys (2, n)."""
        found = np.full(keys.shape[1], -1, dtype=np.int64)
        # Sorted questions walk through the mapped keys in one direction: many times faster when they are many.
        left = np.argsort(keys[0], kind="stable")
        for held, start in zip(self._slots, self._starts, strict=False):
            if held is None or not len(left):
                continue
            place = find(held.keys, keys[:, left])
            hit = place >= 0
            found[left[hit]] = place[hit] + start
            left = left[~hit]
        return found

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that are not held, in the order of their first occurrence."""
        distinct = list(dict.fromkeys(texts))
        return [text for text, row in zip(distinct, self.rows(distinct), strict=True) if row < 0]

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Vectors by row number, (n, d) float32, in the order asked.

        Args:
            rows: (n,) row numbers of this table object.

        Raises:
            IndexError: a row number is negative (an absent text) or past the end.
            BrokenShard: a shard, checked at its first use in the process, is not what was written.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            return np.empty((0, self.dimensions), dtype=np.float32)
        if rows.min() < 0 or rows.max() >= self._starts[-1]:
            wrong = rows[(rows < 0) | (rows >= self._starts[-1])][0]
            raise IndexError(f"row {wrong} is not a row of {self.folder} (-1 stands for a text that is not held)")
        if len(self._slots) == 1:
            return self._vectors(0).take(rows, axis=0).astype(np.float32, copy=False)
        slots = np.searchsorted(self._starts, rows, side="right") - 1
        if (slots == slots[0]).all():
            rows = rows - self._starts[slots[0]]
            return self._vectors(slots[0]).take(rows, axis=0).astype(np.float32, copy=False)
        return self._gather_across(rows, slots)

    def _gather_across(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        order = np.argsort(slots, kind="stable")
        slots = slots[order]
        local = rows[order] - self._starts[slots]
        begins = np.flatnonzero(np.diff(slots, prepend=-1))
        ends = [*begins[1:].tolist(), len(rows)]
        picked = np.empty((len(rows), self.dimensions), dtype=self.dtype)
        for slot, begin, end in zip(slots[begins].tolist(), begins.tolist(), ends, strict=True):
            # "clip" lets `take` write in place; the bounds were checked by `gather`.
            self._vectors(slot).take(local[begin:end], axis=0, out=picked[begin:end], mode="clip")
        out = np.empty(picked.shape, dtype=np.float32)
        out[order] = picked
        return out

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, (n, d) float32.

        Raises:
            PotstillError: a text is not held; the message quotes the first.
        """
        rows = self.rows(texts)
        if len(rows) and rows.min() < 0:
            first = self.quoted(texts[int(np.argmax(rows < 0))])
            damage = f" ({len(self.broken)} broken shards were left out)" if self.broken else ""
            count = int((rows < 0).sum())
            raise PotstillError(
                f"{count:,} of {len(rows):,} {self.unit} have no {self.row} here{damage}; the first is {first}",
                where=str(self.folder),
                fix=f"fill the table with these {self.unit} first",
            )
        return self.gather(rows)

    def chunks(self, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Vectors of `rows` in order, as float32 arrays of at most `size` rows: a large table in bounded memory."""
        for start in range(0, len(rows), size):
            yield self.gather(rows[start : start + size])

    def append(self, keys: np.ndarray, vectors: np.ndarray, *, recomputable: bool = True) -> None:
        """Write one new shard and hold it. `fill` and `import_vectors` are the usual ways.

        Args:
            keys: (2, n) distinct keys.
            vectors: (n, d) in the store's precision.
            recomputable: False where the vectors cannot be made again.

        Raises:
            PotstillError: it cannot be written; what was there before stays.
        """
        self.prepare()
        self._open(shards.write_shard(self.folder, keys, vectors, self._digest, recomputable=recomputable))

    def prepare(self) -> None:
        """Make the folder and its `table.json`, or mend it; the check that the store can be written."""
        TableFile.keep(self.folder, self.fingerprint, self.dtype.name)

    def check(self, rows: np.ndarray) -> list[shards.BrokenShard]:
        """Verify the shards that hold these rows (once a process); those found broken."""
        found = []
        used = np.unique(np.searchsorted(self._starts, rows[rows >= 0], side="right") - 1)
        for slot in used:
            try:
                self._vectors(slot)
            except shards.BrokenShard as error:
                found.append(error)
        return found

    def drop(self, name: str) -> None:
        """Delete a shard from disk; its texts are missing from now on."""
        shards.remove_shard(self.folder, name)
        self.refresh()

    def _open(self, name: str) -> None:
        try:
            opened = shards.open_shard(self.folder, name, self._digest, self.dtype)
        except shards.BrokenShard as error:
            self.broken[name] = error
            return
        if opened is not None:
            self._slots.append(opened)
            self._starts = np.append(self._starts, self._starts[-1] + opened.rows)

    def _vectors(self, slot: int) -> np.ndarray:
        held = self._slots[slot]
        if held is None:
            raise PotstillError(
                "these rows were removed from the store while they were in use",
                where=str(self.folder),
                fix="look the texts up again",
            )
        return held.vectors


@dataclass(frozen=True)
class TableFile:
    """What `table.json` says."""

    fingerprint: Fingerprint
    dtype: str
    created: str

    @classmethod
    def read(cls, folder: Path) -> TableFile | None:
        """Read a table's file; None where it is missing or damaged."""
        try:
            values = json.loads((folder / TABLE_FILE).read_bytes())
            fingerprint = Fingerprint.from_dict(values["fingerprint"])
            return cls(fingerprint, str(values["store_dtype"]), str(values["created"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @classmethod
    def keep(cls, folder: Path, fingerprint: Fingerprint, dtype: str) -> None:
        """Make the folder and its file, or mend the file.

        Raises:
            PotstillError: the store cannot be written.
        """
        held = cls.read(folder)
        if held is not None and (held.fingerprint, held.dtype) == (fingerprint, dtype):
            return
        path = folder / TABLE_FILE
        if path.exists():
            warn(f"{path} was damaged and is written anew")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"fingerprint": fingerprint.as_dict(), "store_dtype": dtype, "created": created}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, about)
        except OSError as error:
            raise shards.cannot_write(folder, error) from error
