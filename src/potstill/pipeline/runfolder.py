"""The folder of a run: one process at a time, nothing overwritten unasked, a record of what made it."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import yaml

from ..atomic import write_json, write_text
from ..errors import InputError
from ..progress import warn
from ..version import __version__

RECIPE = "recipe.yaml"
_LOCK = ".lock"
_PACKAGES = ("torch", "transformers", "sentence-transformers", "accelerate", "tokenizers", "numpy", "ir-measures")


class Written(Protocol):
    """What decides a run, and can be written down."""

    def to_yaml(self) -> str:
        """All of it, defaults too."""


@contextmanager
def claimed(run: Path, recipe: Written, *, resume: bool, name: str = RECIPE) -> Iterator[None]:
    """Hold the folder for one run, and write its resolved recipe into the file `name`.

    An `InputError` from within leaves things as they were: a folder that holds nothing but the recipe is removed if it
    was made here, and the recipe of a run that is not resumed after all is put back.

    Raises:
        InputError: another process works there, there is another run already, or there is none to resume.
    """
    recipe_file = run / name
    if resume and not recipe_file.is_file():
        raise InputError("there is no run to resume here", where=str(run), fix="start it without --resume")
    with _made(run), _locked(run):
        if not resume and any(file != _LOCK for file in os.listdir(run)):
            raise InputError(
                "the output folder is not empty",
                where=str(run),
                fix="give another --out, remove the folder, or go on with that run: --resume",
            )
        before = recipe_file.read_text(encoding="utf-8") if resume else None
        text = recipe.to_yaml()
        if text != before:
            write_text(recipe_file, text)
        try:
            yield
        except InputError:
            if before is not None:
                write_text(recipe_file, before)
            elif set(os.listdir(run)) <= {name, _LOCK}:
                recipe_file.unlink()
            raise


@contextmanager
def _made(run: Path) -> Iterator[None]:
    """Make the folder and its parents; those made here and left empty after an `InputError` are removed again."""
    missing = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(run, error) from None
    try:
        yield
    except InputError:
        with suppress(OSError):  # one that is not empty stays, and so do those around it
            for folder in missing:
                folder.rmdir()
        raise


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Hold the folder's lock; the file is removed before the lock is let go."""
    path = run / _LOCK
    while True:
        try:
            lock = path.open("w")
        except OSError as error:
            raise _no_folder(run, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                break
        except BlockingIOError:
            lock.close()
            raise InputError(
                "another process is working in this folder", where=str(run), fix="wait for it, or give another --out"
            ) from None
        except FileNotFoundError:
            pass
        lock.close()  # its last holder has just removed this file: lock the next one
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _no_folder(run: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write to the output folder: {error.strerror}", where=str(run), fix="give a folder of your own"
    )


def recorded(run: Path, name: str = RECIPE) -> dict[str, Any]:
    """The recipe that a run was started with, as plain data.

    Raises:
        InputError: there is none.
    """
    path = run / name
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
    """`run.json` (or another name): what made the run, filled in as the run goes along."""

    def __init__(self, run: Path, seed: int, name: str = "run.json") -> None:
        self.path = run / name
        self.started = time.monotonic()
        self.data: dict[str, Any] = {
            "potstill": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "seed": seed,
            "seconds": {},
            "warnings": [],
            "told": {},
        }

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage took."""
        before = time.monotonic()
        yield
        seconds = self.data["seconds"]
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - before, 2)

    def warn(self, line: str) -> None:
        """Say and record what looks wrong."""
        self.data["warnings"].append(line)
        warn(line)

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
