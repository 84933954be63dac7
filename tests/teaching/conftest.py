from __future__ import annotations

from pathlib import Path

import pytest

from tiny import make_tiny_collection


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with more judgments than the tiny one."""
    return make_tiny_collection(tmp_path_factory.mktemp("judged") / "collection", documents=60, queries=80)


@pytest.fixture(scope="session")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signals") / "store"
