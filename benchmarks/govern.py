"""GOVERN: several teachers, no labels, one student, on answer sentences (WikiQA).

    POTSTILL_DATA=DIR python benchmarks/govern.py teach [--teachers NAME...]

`teach` makes five teachers of all-MiniLM-L6-v2 on WikiQA's train judgments, whose rows are the lists to rank: two
cross-encoders (different seeds, so different held-out questions and negatives, the second from half the lists an
epoch), a dual-pooled one, a late-interaction model and a dual encoder. The weights that validate best on 64 held-out
train questions are kept. The test split is measured at the end alone.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

COLLECTION = "wikiqa"
TEACHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cross-a": ("cross-encoder", {"training.seed": 0, "training.learning_rate": 5e-5, "training.epochs": 3}),
    "cross-b": (
        "cross-encoder",
        {"training.seed": 1, "training.learning_rate": 5e-5, "training.epochs": 4, "lists": 450},
    ),
    "dual-pooled": ("dual-pooled", {"training.seed": 2, "training.learning_rate": 2e-5, "training.epochs": 3}),
    "late": ("late-interaction", {"training.seed": 3, "training.learning_rate": 2e-5, "training.epochs": 3}),
    "dual": ("dual-encoder", {"training.seed": 4, "training.learning_rate": 2e-5, "training.epochs": 3}),
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["teach"])
    parser.add_argument("--teachers", nargs="+", choices=list(TEACHERS), default=list(TEACHERS))
    parser.add_argument("--work", type=Path, default=Path("runs/govern"))
    given = parser.parse_args()
    for name in given.teachers:
        teach(name, given.work)


def teach(name: str, work: Path) -> Path:
    """A teacher of MiniLM on WikiQA's train judgments; made once."""
    import potstill

    kind, settings = TEACHERS[name]
    out = work / "teachers" / name
    if not (out / "teach.json").exists():
        potstill.teach(
            kind,
            data() / COLLECTION,
            teacher(),
            out=out,
            resume=out.exists(),
            settings={"miner": ["judged"], "negatives": 7, "max_length": 96, "training.patience": 10, **settings},
        )
    return out / "model"


if __name__ == "__main__":
    main()
