"""Tables of texts: written whole, checked when read, looked after as all tables are."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals_fakes import MARK, FakeSource, flip, numbered

from potstill.errors import PotstillError
from potstill.signals import Fingerprint, SignalStore, fill, gc, listing, verify
from potstill.signals.texts import TextTable

OWN = Fingerprint(
    "seq2seq", "lab/writer", "abc", "any", "ask: ", None, 32, None, "float32", 0, (("beams", "4"), ("each", "2"))
)
WRITTEN = {f"text {i}": [f"query {i}", "", "копия 高い 山 \ud800"] for i in range(20)}


@pytest.fixture
def table(tmp_path: Path) -> TextTable:
    return SignalStore(tmp_path / "store").texts(OWN)


def shards(table: TextTable) -> list[Path]:
    return sorted(table.folder.glob("*.texts.jsonl"))


def test_what_was_written_is_found(table: TextTable):
    assert table.find(WRITTEN) == {}
    table.append(WRITTEN)
    table.append({"more": []})
    table.append({})
    again = SignalStore(table.folder.parent).texts(OWN)
    assert again.find(["text 3", "never", "more"]) == {"text 3": WRITTEN["text 3"], "more": []}
    assert again.find(WRITTEN) == WRITTEN
    assert len(shards(table)) == 2
    first = json.loads(shards(table)[0].read_text().splitlines()[0])
    assert first.keys() == {"key", "texts"}


@settings(max_examples=50, deadline=None)
@given(written=st.dictionaries(st.text(), st.lists(st.text(), max_size=3), max_size=5))
def test_any_texts_come_back(tmp_path_factory: pytest.TempPathFactory, written: dict[str, list[str]]):
    table = SignalStore(tmp_path_factory.mktemp("texts")).texts(OWN)
    table.append(written)
    assert table.find(written) == written


def test_another_setting_is_another_table(table: TextTable):
    table.append(WRITTEN)
    for change in ({"revision": "abd"}, {"prompt": ""}, {"max_length": 31}, {"extra": (("beams", "5"), ("each", "2"))}):
        other = SignalStore(table.folder.parent).texts(Fingerprint(**{**OWN.__dict__, **change}))
        assert other.find(WRITTEN) == {}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "foreign"])
def test_a_damaged_shard_is_told_dropped_and_made_again(
    table: TextTable, damage: str, capsys: pytest.CaptureFixture[str]
):
    table.append({"kept": ["whole"]})
    table.append(WRITTEN)
    path = shards(table)[1]
    manifest = path.with_name(path.name.replace(".texts.jsonl", ".json"))
    if damage == "flip":
        flip(path, 40)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        manifest.write_text("{}")
    else:
        other = SignalStore(table.folder.parent).texts(Fingerprint(**{**OWN.__dict__, "prompt": "other"}))
        other.append(WRITTEN)
        for file in other.folder.glob("shard-*"):
            (table.folder / file.name).write_bytes(file.read_bytes())
        path, manifest = shards(table)[2], path
    assert len(verify(table.folder.parent)) == 1
    found = table.find([*WRITTEN, "kept"])
    assert "the shard is dropped, its texts are made anew" in capsys.readouterr().err
    assert found["kept"] == ["whole"]
    assert len(found) == (21 if damage == "foreign" else 1)
    assert not path.exists()
    assert verify(table.folder.parent) == []
    table.append(WRITTEN)
    assert table.find(WRITTEN) == WRITTEN


def test_the_store_looks_after_it(table: TextTable):
    root = table.folder.parent
    table.append(WRITTEN)
    fill(SignalStore(root).vectors(MARK), FakeSource(), numbered(10), "query")
    fake, own = sorted(listing(root), key=lambda entry: entry.model)
    assert (own.model, own.rows, own.dtype, fake.dtype) == ("lab/writer", 20, "text", "float16")
    assert str(own).startswith("lab/writer (any, prompt 'ask: ', at most 32 tokens, revision abc): 20 texts, 0.0 MB")
    assert verify(root) == []
    assert gc(root) == 0
    flip(shards(table)[0], 40)
    (problem,) = verify(root)
    assert problem.recomputable
    assert "does not match its checksum" in problem.message
    assert gc(root) > 0
    assert verify(root) == []
    assert table.find(WRITTEN) == {}
    table.append(WRITTEN)
    assert gc(root, model="lab/wr*") > 0
    assert not table.folder.exists()
    assert len(listing(root)) == 1


def test_files_of_dead_writers_go(table: TextTable):
    table.append(WRITTEN)
    half = table.folder / "shard-00000000000000000001-abcdef01.texts.jsonl"
    half.write_text("{}")
    table.append({"b": []})
    assert half.exists(), "it may be a living writer's"
    old = time.time() - 7200
    os.utime(half, (old, old))
    table.append({"c": []})
    assert not half.exists()
    assert table.find(WRITTEN) == WRITTEN


def test_last_used_is_noted(table: TextTable):
    table.append(WRITTEN)
    old = time.time() - 86400
    os.utime(table.folder / "table.json", (old, old))
    assert gc(table.folder.parent, older_than=timedelta(hours=2), dry_run=True) > 0
    SignalStore(table.folder.parent).texts(OWN)
    assert gc(table.folder.parent, older_than=timedelta(hours=2), dry_run=True) == 0


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "store").mkdir()
    table = SignalStore(tmp_path / "store").texts(OWN)
    table.folder.write_text("a file")
    with pytest.raises(PotstillError, match="cannot be written"):
        table.append(WRITTEN)
