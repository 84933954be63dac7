"""One of several processes that train as one: `gloo_child.py FOLDER KIND RANK WORLD AT_ONCE`; the first writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def main() -> None:
    from layer_toys import QUERIES, gradients, layer_task

    from potstill.training.gathering import average_gradients
    from potstill.training.gradient_cache import CachedPasses

    folder, kind, rank, world, at_once = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_num_threads(1)
    task, data = layer_task(folder, kind)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    batch = task.prepare(data, np.arange(QUERIES), 0)
    cached = CachedPasses(task.passes(batch), at_once) if at_once else None
    outputs = task(batch) if cached is None else task.assembled(cached.values, batch)
    losses = task.losses(outputs, batch)
    losses.total.backward()
    if cached is not None:
        cached.spread()
    average_gradients(value for _, value in task.named_trainable())
    if rank == 0:
        torch.save({"loss": losses.total.detach(), **gradients(task)}, folder / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
