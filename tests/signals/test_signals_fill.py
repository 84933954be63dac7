"""Filling: each distinct text once, ever; batches of like length; nothing bad gets in."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals_fakes import MARK, FakeSource, numbered, vectors_of

from potstill.errors import InputError
from potstill.signals import SignalStore, batches_by_length, fill, verify


def test_each_distinct_text_is_encoded_once_ever(store, source):
    table = store.vectors(MARK)
    texts = numbered(50) * 3
    first = fill(table, source, texts, "query")
    assert (first.texts, first.encoded, first.reused) == (150, 50, 100)
    second = fill(table, source, [*texts, "new", "new"], "query")
    assert (second.texts, second.encoded, second.reused) == (152, 1, 151)
    third = fill(store.vectors(MARK), source, texts, "query")
    assert (third.encoded, third.batches, third.shards) == (0, 0, 0)
    assert Counter(source.encoded) == Counter({*texts, "new"})
    assert np.array_equal(table.vectors(texts), vectors_of(texts))


def test_repetitions_across_windows_and_shards(store, source):
    texts = [f"text {i % 37}" for i in range(500)]
    fill(store.vectors(MARK), source, iter(texts), "query", window=10, shard_rows=7, tokens_per_batch=30)
    assert Counter(source.encoded) == Counter(set(texts))


def test_a_stream_is_not_held(store, monkeypatch):
    import potstill.signals.filling as module

    monkeypatch.setattr(module, "_BLOCK", 10)
    source = FakeSource()
    ahead = []

    def stream():
        for i in range(200):
            ahead.append(i - len(source.encoded))
            yield f"text {i}"

    fill(store.vectors(MARK), source, stream(), "query", window=20)
    assert len(source.encoded) == 200
    assert max(ahead) <= 30  # a window and a block


def test_what_another_process_encoded_meanwhile_is_not_encoded_again(store, source):
    def stream():
        yield from numbered(10)
        fill(store.vectors(MARK), FakeSource(), numbered(8), "query")
        yield from numbered(2, 10)

    report = fill(store.vectors(MARK), source, stream(), "query")
    assert sorted(source.encoded) == ["text 10", "text 11", "text 8", "text 9"]
    assert (report.texts, report.reused, report.encoded) == (12, 8, 4)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 120))
def test_batches_partition_and_keep_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    batches = list(batches_by_length(lengths, budget))
    lengths = np.maximum(lengths, 1)  # even an empty text costs something
    flat = [i for batch in batches for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    for batch, after in pairwise(batches):  # no batch could have taken one more
        assert len(after)
        assert (len(batch) + 1) * lengths[batch[0]] > budget


def test_the_source_gets_batches_within_the_budget(store, source):
    texts = ["x" * (1 + i % 40) + str(i) for i in range(200)]
    fill(store.vectors(MARK), source, texts, "query", tokens_per_batch=100)
    assert len(source.batches) > 20
    assert all(len(batch) * max(map(len, batch)) <= 100 for batch in source.batches)


def test_shards_close_when_full_and_when_old(store, source):
    full = fill(store.vectors(MARK), source, numbered(100), "query", tokens_per_batch=70, shard_rows=25)
    assert full.shards == 4
    old = fill(store.vectors(MARK), source, numbered(100, 100), "query", tokens_per_batch=80, shard_seconds=0.0)
    assert old.shards == old.batches > 4


def test_progress_tells_rate_and_total(store, source, capsys):
    fill(store.vectors(MARK), source, numbered(30), "query", label="teacher: queries")
    assert "teacher: queries: 30/30 texts, " in (said := capsys.readouterr().err)
    assert "texts/s" in said
    fill(store.vectors(MARK), source, iter(numbered(30)), "query", total=30)
    assert "30/30" in capsys.readouterr().err


class Bad(FakeSource):
    """Spoils the vector of `text 7`."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def encode(self, texts, role):
        vectors = super().encode(texts, role)
        if "text 7" not in texts:
            return vectors
        return self.spoil(vectors, texts.index("text 7"))


def _put(value):
    def spoil(vectors, at):
        vectors[at, 3] = value
        return vectors

    return spoil


def _scale(factor):
    def spoil(vectors, at):
        vectors[at] *= factor
        return vectors

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_put(np.nan), "not finite for 'text 7'"),
        (_put(np.inf), "not finite for 'text 7'"),
        (_put(70_000.0), "too large for float16 for 'text 7'"),
        (_scale(1e-9), "too small for float16 for 'text 7'"),
        (lambda vectors, at: vectors[:, :-1], r"\(5, 7\)"),
        (lambda vectors, at: vectors[:-1], r"\(4, 8\)"),
        (lambda vectors, at: vectors[0], r"\(8,\)"),
        (lambda vectors, at: vectors[None], r"\(1, 5, 8\)"),
        (lambda vectors, at: vectors.tolist(), "list"),
        (lambda vectors, at: vectors.astype(np.int32), "int32"),
        (lambda vectors, at: None, "NoneType"),
    ],
)
def test_a_bad_vector_never_gets_in_and_good_work_is_kept(store, spoil, said):
    table, source = store.vectors(MARK), Bad(spoil)
    with pytest.raises(InputError, match=said) as caught:
        fill(table, source, numbered(10), "query", tokens_per_batch=30)
    assert caught.value.fix
    assert "text" in caught.value.message
    assert len(table) == 5
    assert verify(store.root) == []
    again = FakeSource()
    fill(table, again, numbered(10), "query")
    assert len(again.encoded) == 5
    assert np.array_equal(table.vectors(numbered(10)), vectors_of(numbered(10)))


def test_float32_takes_what_float16_cannot(tmp_path):
    for spoil in (_put(70_000.0), _scale(1e-9)):
        table = SignalStore(tmp_path, "float32").vectors(MARK)
        fill(table, Bad(spoil), numbered(10), "query")
    assert len(table) == 10


def test_a_zero_vector_is_a_vector(store):
    table = store.vectors(MARK)
    fill(table, Bad(_scale(0.0)), numbered(10), "query")
    assert not table.vectors(["text 7"]).any()


def test_ctrl_c_keeps_what_was_encoded(store):
    class Interrupting(FakeSource):
        def encode(self, texts, role):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().encode(texts, role)

    source = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        fill(store.vectors(MARK), source, numbered(100), "query", tokens_per_batch=70)
    table = store.vectors(MARK)
    assert len(table) == len(source.encoded) == 30
    resumed = FakeSource()
    fill(table, resumed, numbered(100), "query")
    assert len(resumed.encoded) == 70
