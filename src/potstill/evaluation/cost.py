"""What systems cost: size, the latency of one query, and throughput in batches; measured in turn, in one run.

Absolute times depend on the machine and on what else it does; systems that take turns share both, so their ratio is
meaningful. A turn is a few queries long: every system is measured in its own steady state, as a service that runs it
alone would be.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np

from ..errors import InputError


class EncoderLike(Protocol):
    """A query encoder: text in, vectors out, tokenizer included."""

    @property
    def parameters(self) -> int | None:
        """Count the stored numbers, buffers included; None where nobody knows (a service)."""

    @property
    def bytes(self) -> int | None:
        """Count the bytes of the weights on disk; None where nobody knows."""

    def encode(self, texts: list[str]) -> Any:
        """Give `(n, d)` vectors, ready when the call returns."""


def measure_costs(
    systems: Mapping[str, EncoderLike],
    texts: Sequence[str],
    *,
    latency_queries: int = 300,
    turn: int = 10,
    batch: int = 64,
    batch_queries: int = 256,
    rounds: int = 3,
    seconds: float = 30.0,
) -> dict[str, dict[str, float | int | None]]:
    """Measure every system on the same texts, in turn: A, B, A, B, and so on.

    Latency: one text in, one vector out, tokenizer included, on one thread (torch, BLAS and tokenizers; sessions of
    other runtimes must be made with one), `turn` queries a turn after two untimed ones. Throughput: lists of `batch`
    texts, with the process's own number of threads.

    Args:
        systems: encoder by name.
        texts: queries; used in order and again from the start where they are too few.
        latency_queries: timed single queries per system.
        turn: single queries per turn.
        batch: texts per call for throughput.
        batch_queries: texts per system and round for throughput.
        rounds: of throughput; the median counts.
        seconds: time after which a system gets no further turn for latency (and at least one of each is always taken).

    Returns:
        name -> `parameters`, `bytes`, `query_ms_p50`, `query_ms_p99` (milliseconds), `queries_per_s`, `latency_queries`
        (how many were timed), `batch` and `threads` (of the throughput; None where torch is not loaded).

    Raises:
        InputError: there are no texts.
    """
    if not texts:
        raise InputError("there are no queries to measure latency with", fix="give at least one text")
    single: dict[str, list[int]] = {name: [] for name in systems}
    with one_thread():
        for encoder in systems.values():
            for text in _cycle(texts, 0, 10):
                encoder.encode([text])
        for first in range(0, latency_queries, turn):
            portion = _cycle(texts, first, min(turn, latency_queries - first))
            for name, encoder in systems.items():
                if sum(single[name]) < seconds * 1e9:
                    single[name] += _time_each(encoder.encode, portion)
    together: dict[str, list[int]] = {name: [] for name in systems}
    for encoder in systems.values():
        encoder.encode(_cycle(texts, 0, batch))
    for round_ in range(rounds):
        portion = _cycle(texts, round_ * batch_queries, batch_queries)
        for name, encoder in systems.items():
            if not together[name] or sum(together[name]) < seconds * 1e9:
                together[name].append(_time_batches(encoder.encode, portion, batch))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else None
    return {
        name: {
            "parameters": encoder.parameters,
            "bytes": encoder.bytes,
            "query_ms_p50": float(np.percentile(single[name], 50)) / 1e6,
            "query_ms_p99": float(np.percentile(single[name], 99)) / 1e6,
            "queries_per_s": batch_queries / (float(np.median(together[name])) / 1e9),
            "latency_queries": len(single[name]),
            "batch": batch,
            "threads": threads,
        }
        for name, encoder in systems.items()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, BLAS and tokenizers use one thread; as before afterwards. Does not import torch."""
    variables = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in variables}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else None
    os.environ.update(variables)
    try:
        if torch is not None:
            torch.set_num_threads(1)
        with _blas_on_one_thread():
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _blas_on_one_thread() -> Any:
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:  # comes with sentence-transformers; without it no encoder here uses BLAS for one query
        return nullcontext()
    return threadpool_limits(limits=1)


def _cycle(texts: Sequence[str], first: int, count: int) -> list[str]:
    return [texts[(first + i) % len(texts)] for i in range(count)]


def _time_each(encode: Callable[[list[str]], Any], texts: Sequence[str]) -> list[int]:
    """Nanoseconds of each text on its own, after two that only bring the system back into the caches."""
    for text in texts[-2:]:
        encode([text])
    times = []
    for text in texts:
        start = time.perf_counter_ns()
        encode([text])
        times.append(time.perf_counter_ns() - start)
    return times


def _time_batches(encode: Callable[[list[str]], Any], texts: Sequence[str], batch: int) -> int:
    portions = [list(texts[i : i + batch]) for i in range(0, len(texts), batch)]
    start = time.perf_counter_ns()
    for portion in portions:
        encode(portion)
    return time.perf_counter_ns() - start
