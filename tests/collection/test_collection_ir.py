"""ir_datasets, through a stand-in with the same interface."""

from __future__ import annotations

import sys
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

from potstill.collection import open_collection
from potstill.errors import InputError, MissingExtra

TitledDoc = namedtuple("TitledDoc", "doc_id title text")
Query = namedtuple("Query", "query_id text")
Qrel = namedtuple("Qrel", "query_id doc_id relevance iteration")


class TrecDoc(namedtuple("TrecDoc", "doc_id headline body")):
    def default_text(self) -> str:
        return f"{self.headline} {self.body}"


class Topic(namedtuple("Topic", "query_id title description")):
    def default_text(self) -> str:
        return self.title


class FakeDataset:
    def __init__(
        self, docs: list[Any] | None, queries: list[Any] | None = None, qrels: list[Any] | None = None
    ) -> None:
        self._docs, self._queries, self._qrels = docs, queries, qrels

    def has_docs(self) -> bool:
        return self._docs is not None

    def has_queries(self) -> bool:
        return self._queries is not None

    def has_qrels(self) -> bool:
        return self._qrels is not None

    def docs_iter(self) -> Any:
        return iter(self._docs)

    def docs_handler(self) -> Any:
        return id(self._docs)

    def queries_iter(self) -> Any:
        return iter(self._queries)

    def qrels_iter(self) -> Any:
        return iter(self._qrels)


DOCS = [TitledDoc("1", "Stills", "A pot still."), TitledDoc("2", "", "A column still.")]
Q1, Q2 = Query("q1", "batch"), Query("q2", "continuous")


@pytest.fixture
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {
        "spirits": FakeDataset(DOCS),
        "spirits/train": FakeDataset(DOCS, [Q1], [Qrel("q1", "1", 1, "0")]),
        "spirits/test": FakeDataset(DOCS, [Q1, Q2], [Qrel("q2", "2", 2, "0"), Qrel("q2", "1", 0, "0")]),
        "spirits/unjudged": FakeDataset(DOCS, [Q1]),
        "spirits/other": FakeDataset([DOCS[0]], [Q1], [Qrel("q1", "1", 1, "0")]),
        "news": FakeDataset([TrecDoc("a", "Head", "line")], [Topic("7", "topic", "long")], [Qrel("7", "a", 1, "0")]),
        "words": FakeDataset(None, [Q1]),
    }
    library = SimpleNamespace(registry=registry, load=registry.__getitem__)
    monkeypatch.setitem(sys.modules, "ir_datasets", library)


@pytest.mark.usefixtures("_library")
def test_the_parts_of_a_data_set_are_its_splits() -> None:
    collection = open_collection("ir_datasets:spirits")
    assert [(d.id, d.title, d.text) for d in collection.documents()] == [tuple(doc) for doc in DOCS]
    assert collection.queries == {"q1": "batch", "q2": "continuous"}
    assert collection.splits == ("train", "test")
    assert collection.qrels("test") == {"q2": {"2": 2, "1": 0}}


@pytest.mark.usefixtures("_library")
def test_a_part_is_one_split_called_after_it() -> None:
    assert open_collection("ir_datasets:spirits/train").splits == ("train",)
    assert open_collection("ir_datasets:spirits/other").splits == ("test",)


@pytest.mark.usefixtures("_library")
def test_fields_of_other_names() -> None:
    collection = open_collection("ir_datasets:news")
    assert [d.full for d in collection.documents()] == ["Head line"]
    assert collection.queries == {"7": "topic"}


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize(("name", "message"), [("nothing", "knows no data set 'nothing'"), ("words", "no documents")])
def test_names_that_do_not_do(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_collection(f"ir_datasets:{name}")
    assert caught.value.fix


@pytest.mark.usefixtures("_library")
def test_a_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(FakeDataset, "docs_iter", fail)
    with pytest.raises(InputError, match="no route to host"):
        open_collection("ir_datasets:spirits")


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingExtra, match=r"potstill\[ir_datasets\]"):
        open_collection("ir_datasets:spirits")
