"""What it costs to put a list of candidates in order: measured time, and the multiply-adds of matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .cost import one_thread


@dataclass(frozen=True)
class RankingCost:
    """Of one system, over the lists that were timed.

    Attributes:
        ms_per_list: median milliseconds from the texts of a list to its scores, one thread.
        ms_per_pair: all of that time over all pairs.
        multiply_adds_per_pair: of matrix products and attention that torch runs; None: it runs none.
        lists: how many were timed.
        pairs: candidates in them.
    """

    ms_per_list: float
    ms_per_pair: float
    multiply_adds_per_pair: float | None
    lists: int
    pairs: int

    def as_json(self) -> dict[str, Any]:
        """Give all by name."""
        return asdict(self)

    @classmethod
    def together(cls, costs: Sequence[RankingCost]) -> RankingCost:
        """Of several systems that are all asked about the same lists."""
        adds = [cost.multiply_adds_per_pair for cost in costs]
        return cls(
            sum(cost.ms_per_list for cost in costs),
            sum(cost.ms_per_pair for cost in costs),
            None if all(each is None for each in adds) else sum(each or 0.0 for each in adds),
            costs[0].lists,
            costs[0].pairs,
        )


def measure_rankers(
    systems: Mapping[str, Callable[[int], object]], sizes: Sequence[int], *, turn: int = 5, counted: int = 5
) -> dict[str, RankingCost]:
    """Time systems in turn, each list by itself, on one thread.

    Args:
        systems: by name, what scores list `i` from its texts, without anything that was kept.
        sizes: candidates of each list.
        turn: lists a turn; the first call of each turn is repeated, untimed before it.
        counted: lists over which multiply-adds are counted.
    """
    spent: dict[str, list[int]] = {name: [] for name in systems}
    with one_thread():
        for first in range(0, len(sizes), turn):
            for name, score in systems.items():
                score(first)
                for number in range(first, min(first + turn, len(sizes))):
                    start = time.perf_counter_ns()
                    score(number)
                    spent[name].append(time.perf_counter_ns() - start)
    some = list(range(min(counted, len(sizes))))
    pairs = sum(sizes[number] for number in some)
    found = {}
    for name, score in systems.items():
        adds = multiply_adds(lambda score=score: [score(number) for number in some])  # type: ignore[misc]
        found[name] = RankingCost(
            float(np.median(spent[name])) / 1e6,
            sum(spent[name]) / 1e6 / max(1, sum(sizes)),
            None if adds is None else adds / max(1, pairs),
            len(sizes),
            int(sum(sizes)),
        )
    return found


def multiply_adds(call: Callable[[], object]) -> int | None:
    """Multiply-adds of all matrix products and attention that torch runs in a call; None where it runs none."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={on_cpu: attention}) as counter:
        call()
    return int(counter.get_total_flops()) // 2 or None
