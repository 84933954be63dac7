"""The folder of a run: one process at a time, nothing overwritten unasked, a record of what made it."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..atomic import write_json, write_text
from ..errors import InputError
from ..recipe import Recipe

RECIPE = "recipe.yaml"
_PACKAGES = ("torch", "transformers", "sentence-transformers", "accelerate", "tokenizers", "numpy", "ir-measures")


@contextmanager
def claimed(run: Path, recipe: Recipe, *, resume: bool) -> Iterator[None]:
    """Hold the folder for one run, and write its resolved recipe.

    Raises:
        InputError: another process works there, there is another run already, or there is none to resume.
    """
    existing = run / RECIPE
    if resume and not existing.is_file():
        raise InputError("there is no run to resume here", where=str(run), fix="start it without --resume")
    if not resume and run.exists() and (not run.is_dir() or any(name != ".lock" for name in os.listdir(run))):
        raise InputError(
            "the output folder is not empty",
            where=str(run),
            fix="give another --out, remove the folder, or go on with that run: --resume",
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder: {error.strerror}", where=str(run), fix="give a folder of your own"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another process is working in this folder", where=str(run), fix="wait for it, or give another --out"
            ) from None
        text = recipe.to_yaml()
        if not resume or existing.read_text(encoding="utf-8") != text:
            write_text(existing, text)
        yield
    finally:
        (run / ".lock").unlink(missing_ok=True)
        lock.close()


def recorded(run: Path) -> dict[str, Any]:
    """The recipe that a run was started with, as plain data.

    Raises:
        InputError: there is none.
    """
    path = run / RECIPE
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("there is no run here", where=str(run), fix="give the folder of a run") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"cannot read the run's recipe: {error}", where=str(path), fix="start the run anew in another folder"
        ) from None
    if not isinstance(data, dict):
        raise InputError("the run's recipe is not a mapping", where=str(path), fix="start the run anew")
    return data


class Record:
    """`run.json`: what made the run, filled in as the run goes along."""

    def __init__(self, run: Path, seed: int) -> None:
        self.path = run / "run.json"
        self.started = time.monotonic()
        self.data: dict[str, Any] = {
            "potstill": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "seed": seed,
            "seconds": {},
            "warnings": [],
        }

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage took."""
        before = time.monotonic()
        yield
        seconds = self.data["seconds"]
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - before, 2)

    def write(self) -> None:
        """Write the file."""
        self.data["seconds"]["total"] = round(time.monotonic() - self.started, 2)
        write_json(self.path, self.data)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Versions of the packages that decide a result."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
