"""Batches of what waits: everybody gets their own rows, the budget holds, failures and departures stay alone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.serving.batching import Batcher


def numbers(texts):
    return np.array([[float(text)] for text in texts], dtype=np.float32)


class Held:
    """A model that keeps its first batch until it is told to go on, and every batch's texts."""

    def __init__(self):
        self.began, self.go_on, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, texts):
        self.batches.append(list(texts))
        self.began.set()
        assert self.go_on.wait(10)
        return numbers(texts)


async def served(batcher, requests):
    await batcher.start()
    try:
        return await asyncio.gather(
            *(batcher.encode(texts, costs) for texts, costs in requests), return_exceptions=True
        )
    finally:
        await batcher.stop()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(1, 100),
)
def test_everybody_gets_their_rows_and_no_batch_is_over_its_budget(lengths, most, budget):
    seen = []

    def encode(texts):
        seen.append([int(text.split(":")[1]) for text in texts])
        return np.array([[float(text.split(":")[0])] for text in texts])

    requests, number = [], 0
    for costs in lengths:
        texts = [f"{number + place}:{cost}" for place, cost in enumerate(costs)]
        number += len(costs)
        requests.append((texts, costs))
    found = asyncio.run(served(Batcher(encode, most, budget), requests))
    for (texts, _), rows in zip(requests, found, strict=True):
        assert rows[:, 0].tolist() == [float(text.split(":")[0]) for text in texts]
    assert sum(map(len, seen)) == number
    for batch in seen:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(batch) <= budget


def test_what_waits_while_the_model_works_goes_together():
    model = Held()

    async def play():
        batcher = Batcher(model, 64, 1000)
        await batcher.start()
        first = asyncio.create_task(batcher.encode(["0"], [1]))
        await asyncio.get_running_loop().run_in_executor(None, model.began.wait, 10)
        others = [asyncio.create_task(batcher.encode([str(n)], [1])) for n in range(1, 8)]
        await asyncio.sleep(0)
        model.go_on.set()
        rows = await asyncio.gather(first, *others)
        await batcher.stop()
        return rows

    assert [row[0, 0] for row in asyncio.run(play())] == list(range(8))
    assert [len(batch) for batch in model.batches] == [1, 7]


def test_a_failing_batch_fails_its_own_requests_alone():
    def encode(texts):
        if "13" in texts:
            raise ValueError("thirteen")
        return numbers(texts)

    found = asyncio.run(served(Batcher(encode, 1, 10), [(["1"], [1]), (["13", "2"], [1, 1]), (["3"], [1])]))
    assert isinstance(found[1], ValueError)
    assert found[0][0, 0] == 1
    assert found[2][0, 0] == 3


def test_a_request_whose_caller_left_is_not_encoded():
    model = Held()

    async def play():
        batcher = Batcher(model, 1, 10)
        await batcher.start()
        first = asyncio.create_task(batcher.encode(["0"], [1]))
        await asyncio.get_running_loop().run_in_executor(None, model.began.wait, 10)
        left, last = (asyncio.create_task(batcher.encode([text], [1])) for text in ("1", "2"))
        await asyncio.sleep(0)
        left.cancel()
        model.go_on.set()
        await asyncio.gather(first, last)
        await batcher.stop()

    asyncio.run(play())
    assert model.batches == [["0"], ["2"]]


def test_stopping_fails_what_still_waits():
    model = Held()

    async def play():
        batcher = Batcher(model, 1, 10)
        await batcher.start()
        tasks = [asyncio.create_task(batcher.encode([str(n)], [1])) for n in range(3)]
        await asyncio.get_running_loop().run_in_executor(None, model.began.wait, 10)
        model.go_on.set()
        await batcher.stop()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)

    found = asyncio.run(play())
    assert found[0][0, 0] == 0  # the batch in hand is finished
    with pytest.raises(PotstillError, match="stopping"):
        raise found[-1]
