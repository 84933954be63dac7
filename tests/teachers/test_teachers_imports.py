"""The room is light until a teacher is opened."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "transformers", "sentence_transformers", "pyarrow", "httpx", "datasets", "scipy"}


def test_importing_the_room_brings_nothing_heavy() -> None:
    code = "import potstill.teachers, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)
