"""One shard: a `.npy` of vectors, a `.npy` of keys and a manifest. Written once, never changed, checked before use.

The manifest is written last and atomically, so a shard is there whole or not at all, whenever a process dies. Rows are
sorted by key, which makes the key file its own index: 16 bytes a row, memory-mapped, nothing to build when opened.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import flush, write_json
from ..errors import InputError, PotstillError
from .keys import WORD, sorted_order

IMPORTED = "imported-"  # first letters of the names of shards that cannot be computed again
_COMPUTED = "shard-"
_DATA, _KEYS, _MANIFEST = ".vectors.npy", ".keys.npy", ".json"
TEXTS = ".texts.jsonl"  # of a shard that holds texts (see `texts.py`) in place of the two arrays
_verified: set[tuple[str, int, int, int]] = set()  # files whose checksum this process has seen to be right


def forget_checks() -> None:
    """Let every file be read and checked again at its next use, as a new process would."""
    _verified.clear()


class BrokenShard(InputError):
    """A shard that is not what was written: a flipped byte, a missing or shortened file, a foreign array."""

    def __init__(self, folder: Path, name: str, reason: str, *, recomputable: bool = True) -> None:
        self.folder, self.name, self.reason = folder, name, reason
        self.recomputable = recomputable and not name.startswith(IMPORTED)
        fix = (
            "run the same command again: the shard is dropped and what it held is computed anew"
            if self.recomputable
            else "its vectors cannot be computed again: import them once more from the file they came from, "
            "or delete the shard with `potstill signals gc`"
        )
        super().__init__(f"the signal shard is broken: {reason}", where=str(folder / name), fix=fix)


@dataclass(frozen=True)
class Shard:
    """An opened shard whose manifest and keys are sound; the vectors are checked when first asked for."""

    folder: Path
    name: str
    rows: int
    dimensions: int
    dtype: np.dtype[Any]
    keys: np.ndarray
    manifest: dict[str, Any]

    @cached_property
    def vectors(self) -> np.ndarray:
        """(rows, d) in the store's precision, memory-mapped.

        Raises:
            BrokenShard: the file is not the one that was written.
        """
        shape = (self.rows, self.dimensions)
        return _mapped(self.folder, self.name, _DATA, self.manifest["vectors"], shape, self.dtype)


def open_shard(folder: Path, name: str, fingerprint: str, dtype: np.dtype[Any]) -> Shard | None:
    """Open a shard by name; None when another process has just removed it.

    Args:
        folder: the table's folder.
        name: file name without endings.
        fingerprint: digest that the shard must carry; the width is part of it.
        dtype: precision that it must have.

    Raises:
        BrokenShard: manifest or keys are not what was written.
    """
    manifest = read_manifest(folder, name)
    if manifest is None:
        return None
    if (manifest["fingerprint"], manifest["dtype"]) != (fingerprint, dtype.name):
        raise BrokenShard(folder, name, f"it belongs to another table ({manifest['dtype']}, {manifest['fingerprint']})")
    rows = manifest["rows"]
    keys = _mapped(folder, name, _KEYS, manifest["keys"], (2, rows), WORD)
    return Shard(folder, name, rows, manifest["dimensions"], dtype, keys, manifest)


def write_shard(folder: Path, keys: np.ndarray, vectors: np.ndarray, fingerprint: str, *, recomputable: bool) -> str:
    """Write a shard and give its name; on any failure nothing of it counts and its files are removed.

    Args:
        folder: the table's folder.
        keys: (2, n) distinct keys.
        vectors: (n, d) in the store's precision.
        fingerprint: digest of the table's fingerprint.
        recomputable: False marks the vectors as impossible to compute again.

    Raises:
        PotstillError: the disk is full or the folder cannot be written.
    """
    order = sorted_order(keys)
    with new_shard(folder, fingerprint, recomputable=recomputable) as (name, manifest):
        manifest |= {
            "rows": len(vectors),
            "dimensions": vectors.shape[1],
            "dtype": vectors.dtype.name,
            "vectors": _write_array(folder / (name + _DATA), vectors[order]),
            "keys": _write_array(folder / (name + _KEYS), keys[:, order]),
        }
    return name


@contextmanager
def new_shard(folder: Path, fingerprint: str, *, recomputable: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write a shard's files in here and complete its manifest, which is then written; on any failure all are removed.

    Raises:
        PotstillError: the disk is full or the folder cannot be written.
    """
    # Names sort by time and never repeat, so that processes may write at once without knowing of each other.
    name = f"{_COMPUTED if recomputable else IMPORTED}{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    manifest = {"fingerprint": fingerprint, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        yield name, manifest
        write_json(folder / (name + _MANIFEST), {"shard": manifest, "checksum": _checksum_of(manifest)})
    except BaseException as error:
        remove_shard(folder, name)
        if isinstance(error, OSError):
            raise cannot_write(folder, error) from error
        raise


def shard_names(folder: Path) -> list[str]:
    """Names of the shards that are there whole, oldest first; [] when there is no such folder."""
    try:
        files = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    ours = (f.removesuffix(_MANIFEST) for f in files if f.endswith(_MANIFEST))
    return sorted((n for n in ours if n.startswith((_COMPUTED, IMPORTED))), key=lambda n: (n.partition("-")[2], n))


def shard_files(folder: Path, name: str) -> list[Path]:
    """The files that a shard may have, the manifest first."""
    return [folder / (name + ending) for ending in (_MANIFEST, _DATA, _KEYS, TEXTS)]


def remove_shard(folder: Path, name: str) -> None:
    """Delete a shard, its manifest first: from that moment it is not there."""
    for path in shard_files(folder, name):
        path.unlink(missing_ok=True)


def leftovers(folder: Path, older_than_s: float = 3600.0) -> list[Path]:
    """Files of writers that died before their shard was whole; young ones may belong to a writer at work."""
    whole = {file.name for name in shard_names(folder) for file in shard_files(folder, name)}
    before = time.time() - older_than_s
    found = []
    for path in folder.iterdir():
        known = path.name.startswith((_COMPUTED, IMPORTED, f".{_COMPUTED}", f".{IMPORTED}", ".table.json."))
        if known and path.name not in whole and path.stat().st_mtime < before:
            found.append(path)
    return sorted(found)


def cannot_write(folder: Path, error: OSError) -> PotstillError:
    """The error for a folder that takes no more bytes: full, read-only or not ours."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return InputError(
            f"the signal store cannot be written: {error.strerror}",
            where=str(folder),
            fix="name a folder that you may write to: --signals DIR, or the environment variable POTSTILL_HOME",
        )
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    return PotstillError(
        f"a signal shard could not be written: {error.strerror or error}; {free / 1e6:,.0f} MB are free",
        where=str(folder),
        fix="make room or name another folder with --signals DIR, then run the same command again: "
        "the shards written so far are kept",
    )


def read_manifest(folder: Path, name: str) -> dict[str, Any] | None:
    """Read what a shard says of itself; None when it is not there.

    Raises:
        BrokenShard: it is not what was written.
    """
    try:
        whole = json.loads((folder / (name + _MANIFEST)).read_bytes())
        manifest = whole["shard"]
        sound = bool(whole["checksum"] == _checksum_of(manifest))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_read(folder / (name + _MANIFEST), error) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise BrokenShard(folder, name, "its manifest is damaged")
    return dict(manifest)


def _checksum_of(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _write_array(path: Path, array: np.ndarray) -> dict[str, int]:
    """Write a `.npy` file and flush it to disk; its size in bytes and CRC-32."""
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    body = array.reshape(-1).view(np.uint8).data
    with open(path, "xb") as file:
        file.write(head.getbuffer())
        file.write(body)
    flush(path)
    return {"bytes": len(head.getbuffer()) + len(body), "crc32": zlib.crc32(body, zlib.crc32(head.getbuffer()))}


def _mapped(
    folder: Path, name: str, ending: str, told: dict[str, int], shape: tuple[int, int], dtype: np.dtype[Any]
) -> np.ndarray:
    """Map an array whose bytes have been compared with the manifest, once in this process."""
    path = folder / (name + ending)
    try:
        state = path.stat()
        if state.st_size != told["bytes"]:
            reason = f"{path.name} has {state.st_size:,} bytes, not the {told['bytes']:,} that were written"
            raise BrokenShard(folder, name, reason)
        seen = (str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns)
        if seen not in _verified:
            raw = np.memmap(path, dtype=np.uint8, mode="r")
            if zlib.crc32(raw.data) != told["crc32"]:
                raise BrokenShard(folder, name, f"{path.name} does not match its checksum")
        # The plain view: NumPy's memmap class costs microseconds at every indexing.
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise BrokenShard(folder, name, f"{path.name} is missing") from None
    except ValueError as error:  # not a .npy file, or one that asks for unpickling
        raise BrokenShard(folder, name, f"{path.name} is not a plain array ({error})") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    if array.shape != shape or array.dtype != dtype:
        raise BrokenShard(folder, name, f"{path.name} holds {array.dtype} {array.shape}, not {dtype} {shape}")
    _verified.add(seen)
    return array


def cannot_read(path: Path, error: OSError) -> PotstillError:
    """The error for a file that is there and cannot be read."""
    # Never called broken: a file that cannot be read just now must not be thrown away.
    return PotstillError(
        f"the signal store cannot be read: {error.strerror or error}",
        where=str(path),
        fix="check the disk and the file's permissions, then run the same command again",
    )
