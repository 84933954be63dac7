"""Texts that a model wrote for other texts: shards of JSON lines, looked up by the digest of what the model read.

A shard is a manifest, as a shard of vectors has it, and a `.texts.jsonl` with one line for each text that was read:
`{"key": digest, "texts": [...]}`. It is there whole or not at all, and its bytes are checked whenever it is read.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..atomic import flush
from ..progress import warn
from ..texts import digest
from .fingerprint import Fingerprint
from .shard import (
    TEXTS,
    BrokenShard,
    cannot_read,
    leftovers,
    new_shard,
    read_manifest,
    remove_shard,
    shard_names,
)
from .table import TABLE_FILE, TableFile

TEXT = "text"  # where tables of vectors have a precision


class TextTable:
    """What a model wrote, by what it read. Made by `SignalStore.texts`.

    Attributes:
        folder: where the shards are; made when something is first written.
        fingerprint: of the model and all its settings.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._digest = fingerprint.digest()
        with suppress(OSError):  # "last used", for gc; a store that may only be read goes without
            os.utime(self.folder / TABLE_FILE)

    def find(self, texts: Iterable[str]) -> dict[str, list[str]]:
        """What was written for these texts; those without an entry are not in the result.

        Shards found broken are dropped, and told: what they held is then missing, and made again.
        """
        wanted = {digest(text).hex(): text for text in texts}
        found: dict[str, list[str]] = {}
        for name in shard_names(self.folder):
            try:
                held = read_texts(self.folder, name, self._digest)
            except BrokenShard as error:
                warn(f"{error.where}: {error.reason}; the shard is dropped, its texts are made anew")
                remove_shard(self.folder, name)
                continue
            found.update((wanted[key], written) for key, written in held.items() if key in wanted)
        return found

    def append(self, written: Mapping[str, list[str]]) -> None:
        """Write one new shard: for each text that was read, what the model wrote.

        Raises:
            PotstillError: it cannot be written; what was there before stays.
        """
        if not written:
            return
        self.prepare()
        body = "".join(
            json.dumps({"key": digest(read).hex(), "texts": texts}, ensure_ascii=True) + "\n"
            for read, texts in written.items()
        ).encode("ascii")
        with new_shard(self.folder, self._digest) as (name, manifest):
            path = self.folder / (name + TEXTS)
            path.write_bytes(body)
            flush(path)
            told = {"bytes": len(body), "crc32": zlib.crc32(body)}
            manifest |= {"rows": len(written), "dtype": TEXT, "texts": told}

    def prepare(self) -> None:
        """Make the folder and its `table.json`, and remove what dead writers left; the check that it can be written."""
        TableFile.keep(self.folder, self.fingerprint, TEXT)
        for path in leftovers(self.folder):
            path.unlink(missing_ok=True)


def read_texts(folder: Path, name: str, fingerprint: str) -> dict[str, list[str]]:
    """Read a shard, checked: digest (hex) of a text that was read -> the texts written for it; {} if it is gone.

    Raises:
        BrokenShard: it is not what was written.
        PotstillError: it cannot be read just now.
    """
    manifest = read_manifest(folder, name)
    if manifest is None:
        return {}
    if (manifest["fingerprint"], manifest["dtype"]) != (fingerprint, TEXT):
        raise BrokenShard(folder, name, f"it belongs to another table ({manifest['dtype']}, {manifest['fingerprint']})")
    path = folder / (name + TEXTS)
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        raise BrokenShard(folder, name, f"{path.name} is missing") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    if {"bytes": len(body), "crc32": zlib.crc32(body)} != manifest["texts"]:
        raise BrokenShard(folder, name, f"{path.name} does not match its checksum")
    rows = map(json.loads, body.decode("ascii").splitlines())
    return {row["key"]: row["texts"] for row in rows}
