"""Listing, verifying and clearing a store."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from signals_fakes import MARK, FakeSource, flip, numbered, vectors_of

from potstill.errors import InputError
from potstill.signals import fill, gc, listing, verify

OTHER = replace(MARK, model="lab/other", prompt="query: ", role="query", dimensions=16)


@pytest.fixture
def two(store, filled):
    """A store of two tables: 100 rows of `lab/fake`, 30 of `lab/other`."""
    fill(store.vectors(OTHER), FakeSource(OTHER), numbered(30), "query")
    return store


def on_disk(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_listing(two):
    fake, other = listing(two.root)
    assert (fake.model, fake.role, fake.prompt, fake.rows, fake.dimensions) == ("lab/fake", "any", "", 100, 8)
    assert (other.model, other.role, other.prompt, other.rows) == ("lab/other", "query", "query: ", 30)
    assert fake.dtype == "float16"
    assert fake.bytes == on_disk(fake.path) > 100 * (16 + 16)
    assert str(fake).startswith("lab/fake (any, at most 64 tokens, revision abc): 100 x 8 float16, 0.0 MB, created 20")
    assert str(other).startswith("lab/other (query, prompt 'query: ', at most 64 tokens, revision abc): 30 x 16 ")
    assert datetime.fromisoformat(fake.created) <= datetime.fromisoformat(fake.used)


def test_listing_survives_damage(two, filled):
    (filled.folder / "table.json").write_text("{}")
    manifest = sorted(filled.folder.glob("shard-*.json"))[0]
    manifest.write_text("")
    fake, _ = listing(two.root)
    assert (fake.model, fake.rows) == ("?", 80)
    assert str(fake).startswith("? (?): 80 x ? float16")


def test_no_store_yet_and_strange_folders(store):
    assert (listing(store.root), verify(store.root), gc(store.root)) == ([], [], 0)
    (store.root / "something else").mkdir(parents=True)
    (store.root / "a file").write_text("")
    assert (listing(store.root), verify(store.root), gc(store.root, model="*")) == ([], [], 0)
    assert (store.root / "something else").exists()


@pytest.mark.parametrize("act", [listing, verify, gc])
def test_a_file_is_no_store(tmp_path, act):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="this is a file"):
        act(tmp_path / "file")


def test_the_default_store(two, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(two.root.parent))
    assert listing() == listing(two.root)


def test_verify_lists_every_problem_and_changes_nothing(two, filled):
    vectors = sorted(filled.folder.glob("*.vectors.npy"))
    flip(vectors[0], -1)
    vectors[1].unlink()
    sorted(filled.folder.glob("*.keys.npy"))[2].write_bytes(b"")
    before = {path: path.read_bytes() for path in two.root.rglob("*") if path.is_file()}
    problems = verify(two.root)
    assert [problem.path.name for problem in problems] == [path.name.split(".")[0] for path in vectors[:3]]
    assert all("What to do: " in str(problem) for problem in problems)
    assert {path: path.read_bytes() for path in two.root.rglob("*") if path.is_file()} == before


def test_gc_leaves_what_is_sound(two):
    size = on_disk(two.root)
    assert gc(two.root) == 0
    assert on_disk(two.root) == size


def test_gc_by_model(two, filled):
    size = on_disk(filled.folder)
    assert gc(two.root, model="lab/f*", dry_run=True) == size
    assert len(listing(two.root)) == 2
    assert gc(two.root, model="lab/f*") == size
    assert not filled.folder.exists()
    assert [entry.model for entry in listing(two.root)] == ["lab/other"]
    assert gc(two.root, model="nobody") == 0


def test_gc_by_age_counts_the_last_use(two, filled):
    old = time.time() - 40 * 86400
    for folder in two.root.iterdir():
        os.utime(folder / "table.json", (old, old))
    assert gc(two.root, older_than=timedelta(days=41), dry_run=True) == 0
    two.vectors(MARK)  # opened: used
    assert gc(two.root, older_than=timedelta(days=30), model="lab/fake") == 0
    assert gc(two.root, older_than=timedelta(days=30)) > 0
    assert [entry.model for entry in listing(two.root)] == ["lab/fake"]


def test_gc_of_broken_shards_and_old_leftovers(two, filled, reopen):
    path = sorted(filled.folder.glob("*.vectors.npy"))[0]
    flip(path, -1)
    shard = sum(file.stat().st_size for file in filled.folder.glob(path.name.split(".")[0] + "*"))
    young, old = filled.folder / "shard-9-young.vectors.npy", filled.folder / "shard-9-old.vectors.npy"
    young.write_bytes(b"12345")
    old.write_bytes(b"123")
    os.utime(old, (1, 1))
    (filled.folder / "notes.txt").write_text("mine")
    os.utime(filled.folder / "notes.txt", (1, 1))
    assert gc(two.root, broken=False) == 0
    assert gc(two.root, dry_run=True) == shard + 3
    assert path.exists()
    assert gc(two.root) == shard + 3
    assert young.exists()
    assert not old.exists()
    assert (filled.folder / "notes.txt").exists()
    assert verify(two.root) == []
    assert len(reopen()) == 80
    assert np.array_equal(two.vectors(OTHER).vectors(["text 3"]), vectors_of(["text 3"], 16))
