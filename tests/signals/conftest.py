"""Stores for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from signals_fakes import MARK, FakeSource, numbered

from potstill.signals import SignalStore, VectorTable, fill
from potstill.signals.shard import forget_checks


@pytest.fixture
def store(tmp_path: Path) -> SignalStore:
    return SignalStore(tmp_path / "signals")


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def filled(store: SignalStore, source: FakeSource) -> VectorTable:
    """100 texts in 5 shards of 20."""
    table = store.vectors(MARK)
    for start in range(0, 100, 20):
        fill(table, source, numbered(20, start), "query")
    assert table.shard_count == 5
    source.batches.clear()
    return table


@pytest.fixture
def reopen(store: SignalStore) -> Callable[[], VectorTable]:
    """Open the table as a new process would: nothing has been checked yet."""

    def opened() -> VectorTable:
        forget_checks()
        return store.vectors(MARK)

    return opened
