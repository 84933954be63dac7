from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.evaluation.cost import measure_costs, one_thread


class Fake:
    """Waits a little per text, and writes down what it was asked and in what surroundings."""

    def __init__(self, name, log, wait=0.0, parameters=7, size=28):
        self.name, self.log, self.wait, self.parameters, self.bytes = name, log, wait, parameters, size

    def encode(self, texts):
        self.log.append((self.name, list(texts), os.environ.get("TOKENIZERS_PARALLELISM")))
        if self.wait:
            time.sleep(self.wait * len(texts))
        return np.zeros((len(texts), 2), np.float32)


def test_systems_take_turns_over_the_same_texts():
    log: list = []
    texts = [f"t{i}" for i in range(7)]
    systems = {"teacher": Fake("A", log), "student": Fake("B", log)}
    found = measure_costs(systems, texts, latency_queries=20, turn=5, batch=4, batch_queries=8, rounds=2)
    single = [entry for entry in log if len(entry[1]) == 1]
    together = [entry for entry in log if len(entry[1]) > 1]
    # Ten to warm up; then turns of five, with two untimed ones before each.
    assert "".join(name for name, _, _ in single) == "A" * 10 + "B" * 10 + ("A" * 7 + "B" * 7) * 4
    assert "".join(name for name, _, _ in together) == "AB" + "AABB" * 2
    for name in "AB":
        timed = [text for system, [text], _ in single if system == name][10:]
        assert [text for i, text in enumerate(timed) if i % 7 >= 2] == [texts[i % 7] for i in range(20)]
    assert {parallel for _, _, parallel in single} == {"false"}
    assert list(found) == ["teacher", "student"]
    assert list(found["student"])[:5] == ["parameters", "bytes", "query_ms_p50", "query_ms_p99", "queries_per_s"]
    assert found["student"]["latency_queries"] == 20
    assert (found["student"]["parameters"], found["student"]["bytes"]) == (7, 28)


def test_units_are_milliseconds_and_queries_per_second():
    found = measure_costs(
        {"slow": Fake("A", [], wait=0.002, parameters=None, size=None)},
        ["text"], latency_queries=10, batch=4, batch_queries=8, rounds=1,
    )["slow"]  # fmt: skip
    # Sleep guarantees the lower bound; a busy machine only adds.
    assert found["query_ms_p99"] >= found["query_ms_p50"] >= 2.0
    assert 0 < found["queries_per_s"] <= 500
    assert found["parameters"] is None


def test_a_slow_system_stops_when_its_time_is_up_and_others_go_on():
    found = measure_costs(
        {"slow": Fake("A", [], wait=0.02), "fast": Fake("B", [])},
        ["text"], latency_queries=60, turn=5, batch=2, batch_queries=4, rounds=2, seconds=0.15,
    )  # fmt: skip
    assert 5 <= found["slow"]["latency_queries"] <= 10
    assert found["fast"]["latency_queries"] > found["slow"]["latency_queries"]


def test_one_thread_and_back(monkeypatch):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(2)
        with contextlib.suppress(RuntimeError), one_thread():
            assert torch.get_num_threads() == 1
            assert os.environ["RAYON_NUM_THREADS"] == "1"
            raise RuntimeError("what happens inside must not leave one thread behind")
        assert torch.get_num_threads() == 2
        assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
        assert "RAYON_NUM_THREADS" not in os.environ
    finally:
        torch.set_num_threads(before)


def test_no_texts():
    with pytest.raises(InputError, match="no queries"):
        measure_costs({}, [])
