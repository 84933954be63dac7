"""The store against its model, a dict of text to vector, through any sequence of what can happen to it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from signals_fakes import MARK, FakeSource, flip, vectors_of

from potstill.signals import SignalStore, fill, gc, import_vectors, verify
from potstill.signals.shard import forget_checks

some_texts = st.lists(st.text(max_size=2), max_size=12)


class StoreIsADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = SignalStore(self.folder)
        self.table = self.store.vectors(MARK)
        self.reader = self.store.vectors(MARK)
        self.model: set[str] = set()
        self.rows: dict[str, int] = {}

    def teardown(self):
        shutil.rmtree(self.folder)

    @rule(texts=some_texts, tokens=st.integers(1, 8), shard=st.integers(1, 5), window=st.integers(1, 6))
    def fills(self, texts, tokens, shard, window):
        source = FakeSource()
        options = {"tokens_per_batch": tokens, "shard_rows": shard, "window": window}
        report = fill(self.table, source, iter(texts), "query", **options)
        assert sorted(source.encoded) == sorted(set(texts) - self.model)
        assert (report.texts, report.encoded) == (len(texts), len(source.encoded))
        self.model |= set(texts)

    @rule(texts=some_texts)
    def another_process_fills(self, texts):
        fill(self.store.vectors(MARK), FakeSource(), texts, "document")
        self.model |= set(texts)
        self.table.refresh()

    @rule(texts=some_texts.map(lambda texts: list(dict.fromkeys(texts))))
    def imports(self, texts):
        held = len(self.model & set(texts))
        assert import_vectors(self.table, texts, vectors_of(texts)) == len(texts) - held
        self.model |= set(texts)

    @rule()
    def reopens(self):
        forget_checks()
        self.table = self.store.vectors(MARK)
        self.rows = {}

    @precondition(lambda self: self.table.shard_count > 0)
    @rule(data=st.data())
    def breaks_a_shard(self, data):
        path = data.draw(st.sampled_from(sorted(self.table.folder.glob("*.npy"))))
        flip(path, -1)
        assert len(verify(self.folder)) == 1
        assert gc(self.folder) > 0
        self.table.refresh()
        lost = set(self.table.missing(self.model))
        assert lost
        self.model -= lost
        for text in lost:
            self.rows.pop(text, None)

    @invariant()
    def it_holds_what_the_model_holds(self):
        self.reader.refresh()
        texts = sorted(self.model)
        for table in (self.table, self.reader):
            assert len(table) == table.distinct == len(texts)
            assert table.missing([*texts, "never seen"]) == ["never seen"]
            assert np.array_equal(table.vectors(texts), vectors_of(texts))
        now = dict(zip(texts, self.table.rows(texts).tolist(), strict=True))
        assert all(now[text] == row for text, row in self.rows.items())  # row numbers stay
        self.rows = now


StoreIsADict.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
test_store_is_a_dict = StoreIsADict.TestCase
