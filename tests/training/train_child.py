"""One of several processes that train together: `train_child.py TASK FOLDER OUT RANK WORLD`; the first writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def main() -> None:
    import torch
    import torch.distributed as dist

    from potstill.training.loop import train

    which, folder, out, rank, world = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:6])
    torch.set_num_threads(1)
    if which == "joint":
        from layer_toys import layer_task
        from test_training_joint import SPEC

        task, data = layer_task(folder, "late-interaction")
    else:
        from relation_toys import relation_task
        from test_training_relations import EVERY, SPEC

        task, data = relation_task(folder, *EVERY)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "ACCELERATE_USE_CPU": "true"}  # as torchrun has it
    dist.init_process_group("gloo", init_method=f"file://{out}/meet", rank=rank, world_size=world)
    train(task, data, SPEC, out / "two")
    if rank == 0:
        torch.save(task.state_dict(), out / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
