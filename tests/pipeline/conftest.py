from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "teachers"))  # the loopback service


@pytest.fixture(scope="session")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all runs of a session: what one has encoded the others reuse."""
    return tmp_path_factory.mktemp("signals") / "store"


@pytest.fixture(scope="session")
def corpus_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents alone, nothing judged."""
    from tiny import make_tiny_collection

    return make_tiny_collection(tmp_path_factory.mktemp("tiny") / "corpus-only", splits=())


@pytest.fixture(scope="session")
def static_run(tmp_path_factory: pytest.TempPathFactory, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    """A whole run with a static student, costs measured; (folder, evaluation). Do not write into it."""
    from pipeline_runs import quick_run

    run = tmp_path_factory.mktemp("runs") / "static"
    settings = ["evaluate.cost=true", "output.packed=true", "training.epochs=2"]
    found = quick_run(run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings)
    return run, found
