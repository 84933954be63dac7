"""Broken stores: found, named, made anew; or an error where that cannot be."""

from __future__ import annotations

import io
import json
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals_fakes import MARK, FakeSource, flip, numbered, vectors_of

from potstill.errors import InputError, PotstillError
from potstill.signals import BrokenShard, SignalStore, fill, import_vectors, verify
from potstill.signals import shard as shard_module
from potstill.signals import table as table_module
from potstill.signals.shard import forget_checks


def files(table, ending):
    return sorted(table.folder.glob(f"*{ending}"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path):
    path.write_bytes(b"")


def flip_last(path):
    flip(path, -1)


def flip_middle(path):
    flip(path, path.stat().st_size // 2)


def flip_head(path):
    flip(path, 3)


def not_json(path):
    path.write_text("not json")


def other_json(path):
    path.write_text("[1, 2]")


DAMAGES = [
    (ending, damage)
    for ending in (".vectors.npy", ".keys.npy")
    for damage in (flip_last, flip_middle, flip_head, cut, grow, empty, Path.unlink)
] + [("-*.json", damage) for damage in (flip_middle, flip_head, cut, empty, not_json, other_json)]


@pytest.mark.parametrize(("ending", "damage"), DAMAGES)
def test_a_broken_shard_is_named_and_made_anew(filled, store, reopen, capsys, ending, damage):
    path = files(filled, ending)[1]
    damage(path)
    name = path.name.split(".")[0]
    forget_checks()
    (problem,) = verify(store.root)
    assert problem.path == filled.folder / name
    assert problem.recomputable
    source = FakeSource()
    report = fill(reopen(), source, numbered(100), "query")
    assert report.dropped == 1
    assert f"{filled.folder / name}: " in capsys.readouterr().err
    assert len(source.encoded) == 20
    table = reopen()
    assert np.array_equal(table.vectors(numbered(100)), vectors_of(numbered(100)))
    assert len(table) == 100
    assert verify(store.root) == []
    assert not files(table, name + "*")


@pytest.mark.parametrize("ending", [".vectors.npy", ".keys.npy", "-*.json"])
def test_a_flip_after_the_first_check_is_seen_by_the_next_table(filled, store, ending):
    """No `forget_checks` here: a file that changed on disk is checked again even in the same process."""
    assert fill(store.vectors(MARK), FakeSource(), numbered(100), "query").encoded == 0
    path = files(filled, ending)[0]
    flip_middle(path)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert fill(store.vectors(MARK), FakeSource(), numbered(100), "query").encoded == 20


@pytest.mark.parametrize("damage", [flip_middle, flip_last, cut, grow, empty, Path.unlink])
def test_gather_never_gives_broken_vectors(filled, reopen, damage):
    path = files(filled, ".vectors.npy")[2]
    damage(path)
    table = reopen()
    rows = table.rows(numbered(100))
    assert (rows >= 0).all()  # keys are sound; vectors are checked at their first use
    with pytest.raises(BrokenShard) as caught:
        table.gather(rows)
    assert caught.value.exit_code == 2
    assert path.name.split(".")[0] in str(caught.value)
    assert "run the same command again" in caught.value.fix


def test_checked_once_a_process(filled, reopen, monkeypatch):
    calls = []
    monkeypatch.setattr(shard_module.zlib, "crc32", lambda *a, real=zlib.crc32: calls.append(1) or real(*a))
    table = reopen()
    rows = table.rows(numbered(100))
    opened = len(calls)
    assert opened == 10  # five manifests, five files of keys
    table.gather(rows[:1])
    assert len(calls) == opened + 1
    table.gather(rows)
    table.gather(rows)
    assert len(calls) == opened + 5


@given(at=st.integers(0, 10_000), which=st.sampled_from([".vectors.npy", ".keys.npy", "-*.json", "table.json"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_anywhere_never_gives_a_wrong_vector(tmp_path_factory, at, which):
    store = SignalStore(tmp_path_factory.mktemp("flip"))
    table = store.vectors(MARK)
    fill(table, FakeSource(), numbered(12), "query", shard_rows=6, tokens_per_batch=42)
    path = files(table, which)[0]
    flip(path, at % path.stat().st_size)
    forget_checks()
    table = store.vectors(MARK)
    rows = table.rows(numbered(20))
    for text, row in zip(numbered(20), rows, strict=True):
        if row >= 0:
            try:
                got = table.gather(np.array([row]))
            except BrokenShard:
                continue
            assert np.array_equal(got, vectors_of([text]))
    fill(table, FakeSource(), numbered(20), "query")
    forget_checks()
    assert verify(store.root) == []
    assert np.array_equal(store.vectors(MARK).vectors(numbered(20)), vectors_of(numbered(20)))


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("part", ["vectors", "keys"])
def test_a_pickled_array_is_refused(filled, store, reopen, tmp_path, part):
    """Even with a manifest that vouches for it."""
    path = files(filled, f".{part}.npy")[0]
    body = io.BytesIO()
    np.save(body, np.array([Bomb(tmp_path / "bang")], dtype=object), allow_pickle=True)
    path.write_bytes(body.getvalue())
    manifest_path = filled.folder / (path.name.split(".")[0] + ".json")
    manifest = json.loads(manifest_path.read_text())["shard"]
    manifest[part] = {"bytes": len(body.getvalue()), "crc32": zlib.crc32(body.getvalue())}
    checksum = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    manifest_path.write_text(json.dumps({"shard": manifest, "checksum": checksum}))
    forget_checks()
    (problem,) = verify(store.root)
    assert "not a plain array" in problem.message
    fill(reopen(), FakeSource(), numbered(100), "query")
    assert np.array_equal(reopen().vectors(numbered(100)), vectors_of(numbered(100)))
    assert not (tmp_path / "bang").exists()
    with pytest.raises((ValueError, pickle.UnpicklingError)):  # the bomb was not a dud
        np.load(io.BytesIO(body.getvalue()), allow_pickle=False)
    pickle.loads(pickle.dumps(Bomb(tmp_path / "bang"))).close()
    assert (tmp_path / "bang").exists()


def test_a_shard_of_another_table_is_not_taken(filled, store, reopen):
    import shutil
    from dataclasses import replace

    other = store.vectors(replace(MARK, prompt="query: "))
    other.prepare()
    for path in filled.folder.glob("shard-*"):
        shutil.copy(path, other.folder)
    other.refresh()
    assert len(other) == 0
    assert len(other.broken) == 5
    assert "another table" in next(iter(other.broken.values())).message


def test_table_json_is_mended(filled, store, reopen, capsys):
    (filled.folder / "table.json").write_text("{")
    assert "table.json" in str(verify(store.root)[0])
    fill(reopen(), FakeSource(), numbered(101), "query")
    assert "table.json was damaged" in capsys.readouterr().err
    assert verify(store.root) == []
    assert len(reopen()) == 101


def test_a_read_error_is_no_reason_to_delete(filled, reopen, monkeypatch):
    def fails(self):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fails)
        with pytest.raises(PotstillError, match="Input/output error") as caught:
            reopen()
        assert not isinstance(caught.value, BrokenShard)
    assert len(reopen()) == 100


def _imported(store):
    table = store.vectors(MARK)
    import_vectors(table, numbered(20), vectors_of(numbered(20)))
    return table


def _root_is_a_file(store, patch):
    store.root.write_text("")
    return SignalStore(store.root)


def _parent_is_a_file(store, patch):
    store.root.write_text("")
    return fill(SignalStore(store.root / "deeper").vectors(MARK), FakeSource(), ["x"], "query")


def _read_only(store, patch):
    def denied(*args):
        raise PermissionError(13, "Permission denied")

    patch.setattr(table_module, "write_json", denied)
    return fill(store.vectors(MARK), FakeSource(), ["x"], "query")


def _broken_import(damage, ending):
    def kind(store, patch):
        damage(files(_imported(store), ending)[0])
        forget_checks()
        fill(store.vectors(MARK), FakeSource(), numbered(21), "query")

    return kind


def _lost_and_not_recomputable(store, patch):
    table = store.vectors(MARK)
    fill(table, FakeSource(), numbered(20), "query")
    flip_last(files(table, ".vectors.npy")[0])
    forget_checks()
    fill(store.vectors(MARK), FakeSource(recomputable=False), numbered(20), "query")


BAD_STORES = {
    "the root is a file": (_root_is_a_file, "this is a file", "--signals"),
    "a file is in the way": (_parent_is_a_file, "cannot be written", "--signals"),
    "it may not be written": (_read_only, "cannot be written: Permission denied", "POTSTILL_HOME"),
    "imported vectors, flipped byte": (_broken_import(flip_last, ".vectors.npy"), "checksum", "import them once more"),
    "imported vectors, cut short": (_broken_import(cut, ".vectors.npy"), "not the", "import them once more"),
    "imported vectors, keys lost": (_broken_import(Path.unlink, ".keys.npy"), "missing", "import them once more"),
    "imported vectors, manifest damaged": (_broken_import(flip_middle, "-*.json"), "manifest", "import them once more"),
    "a source that cannot do it again": (_lost_and_not_recomputable, "checksum", "cannot be computed again"),
}


@pytest.mark.parametrize("kind", BAD_STORES)
def test_bad_stores_end_with_exit_code_2_place_and_remedy(store, monkeypatch, kind):
    act, said, remedy = BAD_STORES[kind]
    with pytest.raises(InputError, match=said) as caught:
        act(store, monkeypatch)
    assert caught.value.exit_code == 2
    assert str(store.root) in caught.value.where
    assert remedy in caught.value.fix
    if store.root.is_dir():  # nothing half-written
        for folder in store.root.iterdir():
            assert shard_module.leftovers(folder, older_than_s=-60) == [] or "keys lost" in kind


def test_a_store_that_may_only_be_read_can_be_read(filled, reopen, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", denied)
    monkeypatch.setattr(table_module, "write_json", denied)
    monkeypatch.setattr(shard_module, "write_json", denied)
    table = reopen()
    assert np.array_equal(table.vectors(numbered(100)), vectors_of(numbered(100)))
    assert fill(table, FakeSource(), numbered(100), "query").encoded == 0
    with pytest.raises(InputError, match="Read-only file system"):
        fill(table, FakeSource(), ["new"], "query")
    assert shard_module.leftovers(table.folder, older_than_s=-60) == []
