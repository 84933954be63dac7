from pathlib import Path

import pytest
from report_run import write_run, write_unjudged_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def unjudged(tmp_path: Path) -> Path:
    return write_unjudged_run(tmp_path / "unjudged")
