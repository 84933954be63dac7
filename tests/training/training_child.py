"""Trains a toy in a process of its own: `training_child.py RUN KIND PAUSE [--resume]`; ends like the command line."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_toys import bytes_of, closeness, objectives, settings, some_data, toy_task

from potstill.errors import PotstillError
from potstill.training.loop import train
from potstill.training.task import Task
from potstill.training.terms import build_terms


def main() -> int:
    torch.set_num_threads(1)
    run, kind, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    data = some_data()
    terms = build_terms([*objectives("match:l2"), *objectives("scores:kl", documents="sample", count=5)])
    task = Task(toy_task(kind).query_tower, terms)
    prepare = Task.prepare

    def slowly(self, *arguments):
        time.sleep(pause)
        return prepare(self, *arguments)

    Task.prepare = slowly
    spec = settings(epochs=6, learning_rate=0.05, checkpoint_seconds=0.05)
    try:
        train(task, data, spec, run, validate=closeness(data), resume="--resume" in sys.argv, digest="toy")
    except PotstillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    whole = b"".join(name.encode() + value for name, value in sorted(bytes_of(task).items()))
    print(hashlib.sha256(whole).hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
