"""Tables: lookups, gathers over shards, row numbers that stay."""

from __future__ import annotations

import numpy as np
import pytest
from signals_fakes import MARK, FakeSource, numbered, vectors_of

from potstill.errors import InputError, PotstillError
from potstill.signals import SignalStore, fill, import_vectors
from potstill.signals.keys import text_keys


def test_rows_of_texts_there_and_not(filled):
    rows = filled.rows(["text 3", "never seen", "text 99", "text 3"])
    assert rows.dtype == np.int64
    assert rows[1] == -1
    assert rows[0] == rows[3] != rows[2]
    assert filled.missing(["x", "text 1", "y", "x"]) == ["x", "y"]


def test_gather_over_shards_in_the_order_asked(filled):
    rng = np.random.default_rng(0)
    for count in (1, 7, 300):
        texts = [f"text {i}" for i in rng.integers(0, 100, count)]
        got = filled.gather(filled.rows(texts))
        assert got.dtype == np.float32
        assert np.array_equal(got, vectors_of(texts))


def test_gather_within_one_shard_of_many(filled):
    texts = numbered(20, 60)[::-1]
    assert np.array_equal(filled.gather(filled.rows(texts)), vectors_of(texts))


def test_gather_from_a_table_of_one_shard(store):
    table = store.vectors(MARK)
    fill(table, FakeSource(), numbered(10), "query")
    assert table.shard_count == 1
    assert np.array_equal(table.vectors(["text 7", "text 2"]), vectors_of(["text 7", "text 2"]))


def test_no_rows(filled, store):
    assert filled.gather(np.array([], dtype=np.int64)).shape == (0, MARK.dimensions)
    assert filled.rows([]).shape == (0,)
    assert store.vectors(MARK).vectors([]).shape == (0, MARK.dimensions)


@pytest.mark.parametrize("row", [-1, 100, 10**9])
def test_a_row_that_does_not_exist_is_an_error(filled, row):
    with pytest.raises(IndexError, match=f"row {row} "):
        filled.gather(np.array([0, row]))


def test_an_absent_text_is_named(filled):
    with pytest.raises(PotstillError, match=r"2 of 3 texts .* 'not there'"):
        filled.vectors(["text 1", "not there", "nor this"])


def test_chunks_are_the_gather_in_pieces(filled):
    rows = filled.rows(numbered(100))[::-1]
    pieces = list(filled.chunks(rows, 33))
    assert [len(piece) for piece in pieces] == [33, 33, 33, 1]
    assert np.array_equal(np.concatenate(pieces), filled.gather(rows))


def test_a_reader_sees_what_another_appends(store, filled):
    reader = store.vectors(MARK)
    rows = reader.rows(numbered(100))
    fill(filled, FakeSource(), ["new"], "query")
    assert reader.rows(["new"]) == [-1]
    reader.refresh()
    assert np.array_equal(reader.vectors(["new"]), vectors_of(["new"]))
    assert np.array_equal(reader.rows(numbered(100)), rows)
    assert len(reader) == reader.distinct == 101


def test_row_numbers_stay_when_a_shard_goes(filled):
    texts = numbered(100)
    rows = filled.rows(texts)
    name = filled._slots[2].name
    filled.drop(name)
    after = filled.rows(texts)
    gone = after < 0
    assert gone.sum() == 20
    assert np.array_equal(after[~gone], rows[~gone])
    assert len(filled) == 80
    with pytest.raises(PotstillError, match="removed from the store"):
        filled.gather(rows[gone][:1])
    fill(filled, FakeSource(), texts, "query")
    assert np.array_equal(filled.rows(texts)[~gone], rows[~gone])
    assert np.array_equal(filled.vectors(texts), vectors_of(texts))


def test_a_text_in_two_shards_is_harmless(store):
    table = store.vectors(MARK)
    for value in (1.0, 2.0):
        table.append(text_keys(["a", f"b{value}"]), np.full((2, MARK.dimensions), value, dtype=np.float16))
    assert len(table) == 4
    assert table.distinct == 3
    assert (table.vectors(["a"]) == 1.0).all()  # the first wins
    assert (store.vectors(MARK).vectors(["a"]) == 1.0).all()


def test_float32_keeps_every_bit(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((50, MARK.dimensions)).astype(np.float32) * 1e6
    table = SignalStore(tmp_path, "float32").vectors(MARK)
    import_vectors(table, numbered(50), vectors)
    assert np.array_equal(table.vectors(numbered(50)), vectors)


def test_float16_is_rounded_and_no_more(store):
    vectors = np.random.default_rng(0).standard_normal((50, MARK.dimensions)).astype(np.float32)
    table = store.vectors(MARK)
    import_vectors(table, numbered(50), vectors)
    assert np.array_equal(table.vectors(numbered(50)), vectors.astype(np.float16).astype(np.float32))


def test_bytes_on_disk(store):
    table = store.vectors(MARK)
    fill(table, FakeSource(), numbered(5000), "query")
    keys = sum(path.stat().st_size for path in table.folder.glob("*.keys.npy"))
    assert keys <= 32 * 5000
    assert all(isinstance(held.keys.base, np.memmap) for held in table._slots)
    assert all(isinstance(held.vectors.base, np.memmap) for held in table._slots)


def test_odd_texts_are_texts(store):
    texts = ["", " ", "a", "A", "é", "e\u0301", "\ud800", "\x00", "a\nb", "日本" * 1000]
    table = store.vectors(MARK)
    fill(table, FakeSource(), texts, "query")
    assert len(table) == len(texts)
    assert np.array_equal(table.vectors(texts), vectors_of(texts))


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    assert SignalStore().root == tmp_path / "home" / "signals"
    monkeypatch.delenv("POTSTILL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert SignalStore().root == tmp_path / "cache" / "potstill" / "signals"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SignalStore().root == tmp_path / ".cache" / "potstill" / "signals"
    assert SignalStore(tmp_path / "x").root == tmp_path / "x"
    assert SignalStore(str(tmp_path / "x")).root == tmp_path / "x"


def test_opening_writes_nothing(store):
    assert len(store.vectors(MARK)) == 0
    assert not store.root.exists()


def test_an_unknown_precision(tmp_path):
    with pytest.raises(InputError, match="int8"):
        SignalStore(tmp_path, "int8")
