"""Towers on a tiny teacher, and a way to run code where a package cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TEXTS = [
    "The cask and the still: a copper spirit, slow and great.",
    "Wind in the sail, anchor in the harbour; the storm has to wait!",
    "barley mash and yeast make spirit from water and malt",
    "the blood and the heart of a patient in the vaccine trial",
    "A telescope for the galaxy, an orbit for the moon by night.",
    "heart and blood, protein and cell: immune from a virus",
    "",
    "zzz qqq 1234",
] * 3


@pytest.fixture(scope="session")
def texts() -> Callable[[], Iterator[str]]:
    """Representative texts, afresh at every call."""
    return lambda: iter(TEXTS)


@pytest.fixture(scope="session")
def teacher(tiny_encoder: Path):
    """The tiny teacher, opened."""
    from potstill.recipe import TeacherSpec
    from potstill.teachers import open_teacher

    return open_teacher(TeacherSpec(model=str(tiny_encoder), device="cpu"))


def run_without(blocked: str, code: str) -> str:
    """Standard output of Python code run where `import {blocked}` fails."""
    guard = f"import sys; sys.modules[{blocked!r}] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", guard + code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def without() -> Callable[[str, str], str]:
    """`run_without`, for tests."""
    return run_without
