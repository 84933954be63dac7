"""Where signals live: one folder of tables, one table for each fingerprint and precision."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .fingerprint import Fingerprint
from .table import VectorTable
from .texts import TEXT, TextTable

StoreDtype = Literal["float16", "float32"]


class SignalStore:
    """Signals on disk, keyed by what made them: never stale, never computed twice.

    Args:
        root: folder of the tables; None: `default_root()`. It is made when something is first written.
        dtype: precision on disk. float16 halves the size and moves a unit vector's entries by at most 1 part in 2,000;
            each precision has its own tables.

    Raises:
        InputError: `root` is a file, or `dtype` is not a precision of the store.
    """

    def __init__(self, root: str | Path | None = None, dtype: StoreDtype = "float16") -> None:
        self.root = default_root() if root is None else Path(root)
        self.dtype = dtype
        if dtype not in ("float16", "float32"):
            raise InputError(f"a signal store keeps float16 or float32, not {dtype!r}", fix="choose one of the two")
        if self.root.exists() and not self.root.is_dir():
            raise InputError("the signal store is a folder, and this is a file", where=str(self.root), fix=_ELSEWHERE)

    def vectors(self, fingerprint: Fingerprint) -> VectorTable:
        """The table of this fingerprint, empty if nothing was stored yet."""
        return VectorTable(self.root / table_name(fingerprint, self.dtype), fingerprint, self.dtype)

    def texts(self, fingerprint: Fingerprint) -> TextTable:
        """The table of the texts that a model with this fingerprint wrote, empty if nothing was stored yet."""
        return TextTable(self.root / table_name(fingerprint, TEXT), fingerprint)


_ELSEWHERE = "name a folder: --signals DIR, or the environment variable POTSTILL_HOME"


def default_root() -> Path:
    """`$POTSTILL_HOME/signals`, or `potstill/signals` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    home = os.environ.get("POTSTILL_HOME")
    if home:
        return Path(home).expanduser() / "signals"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "potstill" / "signals"


_NAME = re.compile(
    r"(?P<model>.+)\.(?P<role>query|document|any|pair)\.(?P<dtype>float16|float32|text)\.(?P<digest>[0-9a-f]{32})"
)


def table_folders(root: str | Path | None) -> list[tuple[Path, str, str]]:
    """Find the tables of a store: (folder, precision or `text`, fingerprint's digest), by name; [] without a store.

    Raises:
        InputError: `root` is a file.
    """
    base = SignalStore(root).root
    if not base.exists():
        return []
    named = ((path, _NAME.fullmatch(path.name)) for path in sorted(base.iterdir()))
    return [(path, name["dtype"], name["digest"]) for path, name in named if name and path.is_dir()]


def table_name(fingerprint: Fingerprint, dtype: str) -> str:
    """Folder of a table: the start for people to read, the digest for the machine."""
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", fingerprint.model.rstrip("/\\"))[-40:].strip("-.")
    return f"{model or 'model'}.{fingerprint.role}.{dtype}.{fingerprint.digest()}"
