"""Teaches in a process of its own: `teaching_child.py KIND COLLECTION BASE OUT SIGNALS PAUSE [--resume]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from teaching_toys import APART, taught

from potstill.errors import PotstillError
from potstill.teaching.contrastive import ContrastiveTask
from potstill.teaching.listwise import ListwiseTask


def main() -> int:
    torch.set_num_threads(1)
    kind, collection, base, out, signals = sys.argv[1], *map(Path, sys.argv[2:6])
    task = ContrastiveTask if kind in APART else ListwiseTask
    prepare = task.prepare

    def slowly(self, *arguments):
        time.sleep(float(sys.argv[6]))
        return prepare(self, *arguments)

    task.prepare = slowly
    try:
        settings = ("training.checkpoint_seconds=0.001", "training.threads=1")
        taught(out, kind, collection, base, signals, *settings, resume="--resume" in sys.argv)
    except PotstillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
