"""Vectors from outside: by text or by id, checked, once."""

from __future__ import annotations

import numpy as np
import pytest
from signals_fakes import MARK, FakeSource, flip, numbered, vectors_of

from potstill.errors import InputError
from potstill.signals import BrokenShard, SignalStore, fill, identity, import_vectors, verify
from potstill.signals import imports as imports_module
from potstill.signals.shard import forget_checks


def test_by_id(store):
    ids = ["d1", "d2", "10"]
    table = store.vectors(MARK)
    assert import_vectors(table, ids, vectors_of(ids), by_id=True) == 3
    assert np.array_equal(table.vectors([identity("10"), identity("d1")]), vectors_of(["10", "d1"]))
    assert table.missing(ids) == ids  # an id is not a text


def test_by_text_and_then_filled_no_more(store, source):
    table = store.vectors(MARK)
    import_vectors(table, numbered(30), vectors_of(numbered(30)))
    assert fill(table, source, numbered(30), "document").encoded == 0


def test_again_takes_in_only_what_is_new(store):
    table = store.vectors(MARK)
    assert import_vectors(table, numbered(30), vectors_of(numbered(30))) == 30
    assert import_vectors(table, numbered(30), vectors_of(numbered(30))) == 0
    assert import_vectors(store.vectors(MARK), numbered(40), vectors_of(numbered(40))) == 10
    assert np.array_equal(store.vectors(MARK).vectors(numbered(40)), vectors_of(numbered(40)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_mapped_matrix_in_pieces(store, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(imports_module, "_PIECE", 7)
    np.save(tmp_path / "index.npy", vectors_of(numbered(50)).astype(dtype))
    matrix = np.load(tmp_path / "index.npy", mmap_mode="r")
    table = store.vectors(MARK)
    import_vectors(table, numbered(50), matrix)
    assert table.shard_count == 1
    assert np.array_equal(table.vectors(numbered(50)), vectors_of(numbered(50)))


def test_broken_shards_are_named_and_imported_anew(store, capsys):
    table = store.vectors(MARK)
    import_vectors(table, numbered(30), vectors_of(numbered(30)))
    (path,) = table.folder.glob("imported-*.vectors.npy")
    flip(path, -1)
    forget_checks()
    with pytest.raises(BrokenShard, match=path.name.split(".")[0]) as caught:
        store.vectors(MARK).vectors(numbered(1))
    assert "import them once more" in caught.value.fix
    assert not verify(store.root)[0].recomputable
    with pytest.raises(BrokenShard):
        fill(store.vectors(MARK), FakeSource(), numbered(30), "query")
    assert path.exists()  # what cannot be computed again is not thrown away
    assert import_vectors(store.vectors(MARK), numbered(30), vectors_of(numbered(30))) == 30
    assert "imported anew" in capsys.readouterr().err
    assert verify(store.root) == []


def _spoilt(value):
    vectors = vectors_of(numbered(10))
    vectors[4, 2] = value
    return vectors


@pytest.mark.parametrize(
    ("keys", "vectors", "said"),
    [
        (numbered(10), vectors_of(numbered(9)), "10 keys for 9 vectors"),
        ([*numbered(8), "text 3", "text 1"], vectors_of(numbered(10)), "2 keys come twice; the first is 'text 3'"),
        (numbered(10), _spoilt(np.nan), "not finite for 'text 4'"),
        (numbered(10), _spoilt(1e6), "too large for float16 for 'text 4'"),
        (numbered(10), vectors_of(numbered(10), 5), r"\(10, 5\)"),
        (numbered(10), np.zeros((10, 8), dtype=object), "object"),
        (numbered(10), np.zeros((10, 8), dtype=np.int8), "int8"),
    ],
)
def test_bad_matrices_are_refused_whole(store, keys, vectors, said):
    with pytest.raises(InputError, match=said) as caught:
        import_vectors(store.vectors(MARK), keys, vectors)
    assert caught.value.fix
    assert len(store.vectors(MARK)) == 0


def test_nothing_to_import(tmp_path):
    table = SignalStore(tmp_path / "s").vectors(MARK)
    assert import_vectors(table, [], np.empty((0, MARK.dimensions), np.float32)) == 0
    assert not (tmp_path / "s").exists()
