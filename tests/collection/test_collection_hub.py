"""Hugging Face datasets: in memory, saved to disk, and as local folders in the hub's layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.collection import open_collection
from potstill.collection.checking import check
from potstill.collection.collection import Collection
from potstill.collection.source import Source
from potstill.errors import InputError, MissingExtra

datasets = pytest.importorskip("datasets")

DOCUMENTS = [
    {"_id": "d1", "title": "Stills", "text": "A pot still."},
    {"_id": "d2", "title": "", "text": "A column still."},
]
QUERIES = [{"_id": "q1", "text": "batch"}]
JUDGMENTS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 1},
    {"query-id": "q1", "corpus-id": "d2", "score": 0},
]


def make(rows: list[dict[str, Any]]) -> Any:
    return datasets.Dataset.from_list(rows)


def whole(collection: Collection) -> None:
    assert [(d.id, d.title, d.text) for d in collection.documents()] == [
        ("d1", "Stills", "A pot still."),
        ("d2", "", "A column still."),
    ]
    assert collection.queries == {"q1": "batch"}
    assert collection.qrels("test") == {"q1": {"d1": 1, "d2": 0}}


def repository(folder: Path, configs: dict[str, dict[str, list[dict[str, Any]]]]) -> Path:
    """A local folder as the hub would hold it: a README that names configurations, and files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            name = f"{config}-{split}.jsonl"
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
            lines += [f"  - split: {split}", f"    path: {name}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_in_memory() -> None:
    from potstill.collection.hub import HubTable

    numbered = make([{"_id": i, "text": f"text {i}", "vector": [0.0]} for i in range(2500)]).with_format("numpy")
    judged = make([{"query-id": "q1", "corpus-id": 7, "score": 1.0}])
    source = Source(
        "memory",
        "memory",
        [HubTable(numbered, "numbered")],
        [HubTable(make(QUERIES), "queries")],
        {"test": HubTable(judged, "judged")},
    )
    collection = Collection(source, check(source))
    assert list(collection.document_ids) == [str(i) for i in range(2500)]
    assert collection.qrels("test") == {"q1": {"7": 1}}


def test_saved_as_one_dictionary(tmp_path: Path) -> None:
    parts = {"corpus": DOCUMENTS, "queries": QUERIES, "qrels": JUDGMENTS, "qrels-dev": JUDGMENTS[:1], "notes": QUERIES}
    datasets.DatasetDict({name: make(rows) for name, rows in parts.items()}).save_to_disk(tmp_path / "saved")
    collection = open_collection(tmp_path / "saved")
    whole(collection)
    assert set(collection.splits) == {"test", "dev"}
    assert [f.examples for f in collection.notes.findings if f.kind == "unread_files"] == [["notes"]]
    whole(open_collection(f"hf:{tmp_path}/saved"))


def test_saved_part_by_part(tmp_path: Path) -> None:
    datasets.DatasetDict({"corpus": make(DOCUMENTS)}).save_to_disk(tmp_path / "saved" / "corpus")
    make(QUERIES).save_to_disk(tmp_path / "saved" / "queries")
    datasets.DatasetDict({"test": make(JUDGMENTS)}).save_to_disk(tmp_path / "saved" / "qrels")
    collection = open_collection(tmp_path / "saved")
    whole(collection)
    assert collection.splits == ("test",)


def test_a_saved_data_set_alone_is_a_corpus(tmp_path: Path) -> None:
    make(DOCUMENTS).save_to_disk(tmp_path / "saved")
    collection = open_collection(tmp_path / "saved")
    assert collection.document_count == 2
    assert collection.splits == ()


@pytest.mark.parametrize("judged", ["qrels", "shop-qrels", "default"])
def test_the_layout_of_the_hub(tmp_path: Path, judged: str) -> None:
    folder = repository(
        tmp_path / "shop",
        {
            "corpus": {"corpus": DOCUMENTS},
            "queries": {"queries": QUERIES},
            judged: {"train": JUDGMENTS[:1], "test": JUDGMENTS},
        },
    )
    collection = open_collection(f"hf:{folder}")
    whole(collection)
    assert collection.name == "shop"
    assert set(collection.splits) == {"train", "test"}


def test_judgments_in_a_data_set_of_their_own(tmp_path: Path) -> None:
    folder = repository(tmp_path / "shop", {"corpus": {"corpus": DOCUMENTS}, "queries": {"queries": QUERIES}})
    assert open_collection(f"hf:{folder}").splits == ()
    repository(tmp_path / "shop-qrels", {"default": {"test": JUDGMENTS}})
    whole(open_collection(f"hf:{folder}"))


def test_a_configuration_chooses_a_language_or_a_corpus(tmp_path: Path) -> None:
    configs = {
        "en-corpus": {"corpus": DOCUMENTS},
        "en-queries": {"queries": QUERIES},
        "en-qrels": {"test": JUDGMENTS},
        "dump": {"train": DOCUMENTS},
    }
    folder = repository(tmp_path / "shop", configs)
    collection = open_collection(f"hf:{folder}/en")
    whole(collection)
    assert collection.name == "shop-en"
    assert open_collection(f"hf:{folder}/dump").queries == {}
    with pytest.raises(InputError, match="no configuration fr"):
        open_collection(f"hf:{folder}/fr")


def test_a_mistake_names_data_set_and_row(tmp_path: Path) -> None:
    datasets.DatasetDict({"corpus": make([*DOCUMENTS, DOCUMENTS[0]])}).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"saved corpus, row 3: the document id 'd1' was used before, at .*row 1"):
        open_collection(tmp_path / "saved")


def test_splits_that_could_all_be_the_corpus(tmp_path: Path) -> None:
    datasets.DatasetDict({"a": make(DOCUMENTS), "b": make(DOCUMENTS)}).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match="which of the splits a, b"):
        open_collection(tmp_path / "saved")


@pytest.mark.parametrize("name", ["hf:", "hf:nobody/nothing-of-this-name"])
def test_a_name_that_leads_nowhere(name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_collection(name)
    assert caught.value.where == name
    assert caught.value.fix


def test_a_broken_saved_data_set(tmp_path: Path) -> None:
    make(DOCUMENTS).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"no arrow")
    with pytest.raises(InputError, match="broken data set"):
        open_collection(tmp_path / "saved")


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"potstill\[train\]"):
        open_collection("hf:BeIR/scifact")
