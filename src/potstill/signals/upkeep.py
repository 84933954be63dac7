"""Looking after a store: what is there, whether it is sound, what may go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from .pairs import quoted
from .shard import (
    BrokenShard,
    forget_checks,
    leftovers,
    open_shard,
    read_manifest,
    remove_shard,
    shard_files,
    shard_names,
)
from .store import table_folders
from .table import TABLE_FILE, TableFile
from .texts import TEXT, read_texts


@dataclass(frozen=True)
class TableEntry:
    """One table as listed.

    Attributes:
        path: its folder.
        model, revision, role, prompt, max_length, dimensions: of its fingerprint; None (or "?" for the model) where
            `table.json` is damaged.
        signal: what is said of a pair, `scores` or `pair_vectors`; None for vectors of single texts.
        label: which of a classifier's logits the scores are; None where there is no such choice.
        rows: rows of all sound manifests.
        bytes: size on disk.
        dtype: precision on disk; `text` for what a model wrote.
        created: when it was begun, ISO 8601.
        used: when it was last opened or filled, ISO 8601.
    """

    path: Path
    model: str
    revision: str | None
    role: str | None
    prompt: str | None
    max_length: int | None
    dimensions: int | None
    signal: str | None
    label: str | None
    rows: int
    bytes: int
    dtype: str
    created: str | None
    used: str

    def __str__(self) -> str:
        said = [f"{self.signal} of pairs" if self.signal else self.role or "?"]
        if self.label is not None:
            said.append(f"label {self.label}")
        if self.prompt:
            said.append(f"prompt {quoted(self.prompt)}")
        if self.max_length is not None:
            said.append(f"at most {self.max_length:,} tokens")
        if self.revision is not None:
            said.append(f"revision {self.revision.removeprefix('blake2b:')[:8]}")
        held = "texts" if self.dtype == TEXT else f"x {self.dimensions or '?'} {self.dtype}"
        size = f"{self.rows:,} {held}, {self.bytes / 1e6:,.1f} MB"
        return f"{self.model} ({', '.join(said)}): {size}, created {self.created or '?'}, used {self.used}"


@dataclass(frozen=True)
class Problem:
    """Something in a store that is not as it was written.

    Attributes:
        path: the table's folder, with the shard's name.
        message: what is wrong.
        fix: what to do about it.
        recomputable: whether the next `fill` mends it by itself.
    """

    path: Path
    message: str
    fix: str
    recomputable: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.message}\n  What to do: {self.fix}"


def listing(root: str | Path | None = None) -> list[TableEntry]:
    """List the tables of a store, by name. Reads manifests only, so it is quick; None: the default store."""
    entries = []
    for folder, dtype, _ in table_folders(root):
        held = TableFile.read(folder)
        mark = held.fingerprint if held else None
        extra = dict(mark.extra) if mark else {}
        entries.append(
            TableEntry(
                path=folder,
                model=mark.model if mark else "?",
                revision=mark.revision if mark else None,
                role=mark.role if mark else None,
                prompt=mark.prompt if mark else None,
                max_length=mark.max_length if mark else None,
                dimensions=mark.dimensions if mark else None,
                signal=extra.get("signal"),
                label=extra.get("label"),
                rows=_rows(folder),
                bytes=_size(folder.iterdir()),
                dtype=dtype,
                created=held.created if held else None,
                used=datetime.fromtimestamp(_last_used(folder), UTC).isoformat(timespec="seconds"),
            )
        )
    return entries


def verify(root: str | Path | None = None) -> list[Problem]:
    """Read every byte of a store and compare it with the checksums; [] when all is well. Changes nothing."""
    forget_checks()
    problems = []
    for folder, dtype, digest in table_folders(root):
        held = TableFile.read(folder)
        if held is None or (held.fingerprint.digest(), held.dtype) != (digest, dtype):
            message = "table.json is missing, damaged or another table's"
            problems.append(
                Problem(folder / TABLE_FILE, message, "fill the table: the file is then written anew", True)
            )
        for broken in _broken(folder, digest, dtype):
            path = folder / broken.name
            problems.append(Problem(path, broken.message, broken.fix or "", broken.recomputable))
    return problems


def gc(
    root: str | Path | None = None,
    *,
    older_than: timedelta | None = None,
    model: str | None = None,
    broken: bool = True,
    dry_run: bool = False,
) -> int:
    """Free disk space; the bytes freed.

    Whole tables go only where `older_than` or `model` is given, and then those that fulfil all that is given.

    Args:
        root: the store; None: the default one.
        older_than: tables neither opened nor filled for this long.
        model: tables of this model, `*` and `?` match as in file names.
        broken: in the other tables, broken shards and the files of writers that died.
        dry_run: delete nothing, only count.
    """
    forget_checks()
    freed = 0
    for folder, dtype, digest in table_folders(root):
        if _goes(folder, older_than, model):
            freed += _size(folder.iterdir())
            if not dry_run:
                for name in shard_names(folder):  # manifests first: no other process meets half a shard
                    remove_shard(folder, name)
                shutil.rmtree(folder, ignore_errors=True)
        elif broken:
            names = [error.name for error in _broken(folder, digest, dtype)]
            abandoned = leftovers(folder)
            freed += _size([*abandoned, *(path for name in names for path in shard_files(folder, name))])
            if not dry_run:
                for name in names:
                    remove_shard(folder, name)
                for path in abandoned:
                    path.unlink(missing_ok=True)
    return freed


def _goes(folder: Path, older_than: timedelta | None, model: str | None) -> bool:
    if older_than is None and model is None:
        return False
    if older_than is not None and time.time() - _last_used(folder) < older_than.total_seconds():
        return False
    held = TableFile.read(folder)
    return model is None or (held is not None and fnmatchcase(held.fingerprint.model, model))


def _broken(folder: Path, digest: str, dtype: str) -> list[BrokenShard]:
    found = []
    for name in shard_names(folder):
        try:
            if dtype == TEXT:
                read_texts(folder, name, digest)
                continue
            opened = open_shard(folder, name, digest, np.dtype(dtype))
            if opened is not None:
                _ = opened.vectors
        except BrokenShard as error:
            found.append(error)
    return found


def _rows(folder: Path) -> int:
    rows = 0
    for name in shard_names(folder):
        with suppress(BrokenShard):
            rows += (read_manifest(folder, name) or {}).get("rows", 0)
    return rows


def _size(paths: Iterable[Path]) -> int:
    size = 0
    for path in paths:
        with suppress(OSError):
            size += path.stat().st_size
    return size


def _last_used(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    with suppress(OSError):
        times = [(folder / TABLE_FILE).stat().st_mtime]
    return max(times)
