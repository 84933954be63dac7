"""The folder of a built index: `index.json`, `ids.jsonl` and the data, with a digest of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..teachers.identity import file_digest

ABOUT, IDS, VECTORS = "index.json", "ids.jsonl", "vectors.npy"
FORMAT = 1


def write_ids(path: Path, ids: Sequence[str]) -> None:
    """One JSON string a line: an id may hold any character."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(name) + "\n" for name in ids)


def read_ids(path: Path) -> list[str]:
    """The inverse of `write_ids`.

    Raises:
        InputError: there is no such file, or a line is no JSON string.
    """
    ids: list[str] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                name = json.loads(line)
                if not isinstance(name, str):
                    raise ValueError("not a string")
                ids.append(name)
    except FileNotFoundError:
        raise InputError("the index lacks its ids", where=str(path), fix="build it again") from None
    except ValueError as error:
        raise InputError(
            f"no JSON string: {error}", where=f"{path}:{len(ids) + 1}", fix="build the index again"
        ) from None
    return ids


def digest(folder: Path) -> str:
    """Identity of everything in the folder but `index.json`: names and contents."""
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != ABOUT:
            whole.update(f"{name}\0{file_digest(path)}\n".encode())
    return f"blake2b:{whole.hexdigest()}"


def read_about(folder: Path, verify: bool) -> dict[str, Any]:
    """What `index.json` says, checked against what is there.

    Raises:
        InputError: it is malformed, of another version, or the files have changed since.
    """
    path = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, count, made = about["kind"], int(about["count"]), int(about["format"])
        _ = about["metric"], int(about["dimensions"]), about["digest"], about["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"this is no index of Potstill's: {error!r}", where=str(path), fix="build the index again"
        ) from None
    if made != FORMAT:
        raise InputError(
            f"the index is of format {made}, and this version reads {FORMAT}",
            where=str(path),
            fix="build it again, or update Potstill",
        )
    if verify and digest(folder) != about["digest"]:
        raise InputError(
            f"the files of this {kind} index of {count:,} documents are not those that were built",
            where=str(folder),
            fix="build it again, or copy the whole folder again",
        )
    return about
