"""Many small requests become few large batches: whatever waits while the model works is its next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import PotstillError


@dataclass
class _Job:
    """One request: its texts, what each costs in tokens, and the rows that are done."""

    texts: Sequence[Any]
    costs: Sequence[int]
    done: asyncio.Future[np.ndarray]
    rows: list[np.ndarray | None] = field(default_factory=list)
    left: int = 0


class Batcher:
    """One thread that runs a model on batches of what is waiting.

    No time is spent waiting for company: a text that comes while the model is idle is encoded at once, and texts that
    come meanwhile are encoded together. A batch takes texts in the order of their arrival while `texts * longest` stays
    within `max_tokens`. A request whose caller is gone is dropped; a batch that fails fails its requests alone.

    Args:
        encode: texts to an array whose first axis is the texts'; runs in a thread, never twice at a time.
        max_texts: texts a batch.
        max_tokens: tokens a batch, padding counted.
        watch: called with the number of texts of every batch.
    """

    def __init__(
        self,
        encode: Callable[[list[Any]], np.ndarray],
        max_texts: int,
        max_tokens: int,
        watch: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._encode, self._max_texts, self._max_tokens, self._watch = encode, max_texts, max_tokens, watch
        self._waiting: deque[tuple[_Job, int]] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="potstill-model")
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin to serve; on the event loop that `encode` is awaited on."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish the batch in hand and fail what still waits."""
        self._stopping = True
        self._wake.set()
        if self._running is not None:
            await self._running
        for job, _ in self._waiting:
            if not job.done.done():
                job.done.set_exception(PotstillError("the service is stopping"))
        self._waiting.clear()
        self._thread.shutdown(wait=True)

    async def encode(self, texts: Sequence[Any], costs: Sequence[int]) -> np.ndarray:
        """Rows of the texts, in their order; `costs` are their tokens."""
        if not texts:
            return self._encode([])
        job = _Job(texts, costs, asyncio.get_running_loop().create_future(), [None] * len(texts), len(texts))
        self._waiting.extend((job, place) for place in range(len(texts)))
        self._wake.set()
        return await job.done

    def _next(self) -> list[tuple[_Job, int]]:
        taken: list[tuple[_Job, int]] = []
        longest = 0
        while self._waiting and len(taken) < self._max_texts:
            job, place = self._waiting[0]
            if not job.done.done():  # else its caller is gone, or a part of it has failed
                longest = max(longest, job.costs[place])
                if taken and longest * (len(taken) + 1) > self._max_tokens:
                    break
                taken.append((job, place))
            self._waiting.popleft()
        return taken

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            if self._stopping:
                return
            taken = self._next()
            if not taken:
                self._wake.clear()
                continue
            self._watch(len(taken))
            try:
                texts = [job.texts[place] for job, place in taken]
                rows = await loop.run_in_executor(self._thread, self._encode, texts)
            except Exception as error:
                for job, _ in taken:
                    if not job.done.done():
                        job.done.set_exception(error)
                continue
            for (job, place), row in zip(taken, rows, strict=True):
                job.rows[place] = row
                job.left -= 1
                if not job.left and not job.done.done():
                    job.done.set_result(np.asarray(job.rows))
