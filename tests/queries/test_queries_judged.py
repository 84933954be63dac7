"""Judged training queries: their positives, and the judgments that must not be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from potstill.collection import Collection, open_collection
from potstill.errors import InputError
from potstill.pipeline.preparation import gather_queries, judged_positives
from potstill.queries import TrainingQueries
from potstill.recipe import Recipe
from potstill.texts import normalise
from tiny import make_tiny_collection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judged") / "collection"
    return make_tiny_collection(root, documents=40, queries=90, splits=("train", "dev", "test"))


def recipe(folder: Path, select: str = "held_out", **queries: object) -> Recipe:
    options = {"cap": 120, "held_out": 20, "judgments": "train"} | queries
    return Recipe.model_validate(
        {"collection": str(folder), "teacher": "none", "queries": options, "training": {"select": select}}
    )


def made(folder: Path, **queries: object) -> tuple[TrainingQueries, Collection]:
    collection = open_collection(folder)
    return gather_queries(recipe(folder, **queries), collection, "test"), collection


def with_positives(found: TrainingQueries) -> dict[str, tuple[str, list[int], int]]:
    train = zip(found.texts, found.sources, found.positives, found.documents, strict=True)
    held = zip(found.held_out, ["?"] * 99, found.held_out_positives, found.held_out_documents, strict=False)
    return {t: (s, p.tolist(), int(d)) for t, s, p, d in (*train, *held)}


def test_positives_are_the_documents_judged_above_zero(folder: Path):
    found, collection = made(folder)
    known = with_positives(found)
    asked: dict[str, set[int]] = {}
    for query, grades in collection.qrels("train").items():
        rows = collection.document_ids.rows([d for d, grade in grades.items() if grade > 0]).tolist()
        asked.setdefault(normalise(collection.queries[query]), set()).update(rows)
        assert known[collection.queries[query]][1][0] in rows or len(rows) == 0
    judged = {text: held for text, held in known.items() if held[1]}
    assert {normalise(text) for text in judged} == set(asked)
    for text, (source, rows, document) in judged.items():
        assert source in ("real", "?")
        assert set(rows) == asked[normalise(text)]
        assert document == rows[0]
    dev = {collection.queries[i] for i in collection.qrels("dev")}
    for text in dev - set(judged):
        assert known[text][1:] == ([], -1)
    assert all(p.dtype == np.int64 for p in (*found.positives, *found.held_out_positives))
    assert any(len(p) for p in found.held_out_positives)
    assert "sentences" in found.counts


def test_with_nothing_else_the_judged_queries_are_all(folder: Path):
    found, collection = made(folder, cuts=False, other_splits=False)
    train = {normalise(collection.queries[i]) for i in collection.qrels("train")}
    assert {normalise(text) for text in (*found.texts, *found.held_out)} == train
    assert found.counts.keys() == {"real"}
    assert all(len(p) for p in (*found.positives, *found.held_out_positives))


def test_without_judgments_nothing_is_known(folder: Path):
    found, _ = made(folder, judgments=None)
    assert not any(len(p) for p in (*found.positives, *found.held_out_positives))
    assert len(found.positives) == len(found.texts)
    assert {d for d, s in zip(found.documents.tolist(), found.sources, strict=True) if s == "real"} == {-1}


def test_judged_queries_come_before_others(folder: Path):
    found, collection = made(folder, cap=20, held_out=10)
    train = {normalise(collection.queries[i]) for i in collection.qrels("train")}
    real = [t for t, s in zip(found.texts, found.sources, strict=True) if s == "real"]
    assert len(real) >= 15
    assert {normalise(text) for text in real} <= train
    found, _ = made(folder, cap=40, held_out=10)
    assert train <= {normalise(text) for text in (*found.texts, *found.held_out)}
    assert {*found.sources} <= {"real", "sentences", "titles", "spans", "phrases", "keywords", "documents"}


@pytest.mark.parametrize(
    ("split", "judgments", "select", "said"),
    [
        ("test", "test", "held_out", "evaluated on it"),
        ("dev", "test", "held_out", "testing alone"),
        ("dev", "dev", "held_out", "evaluated on it"),
        ("train", "train", "held_out", "evaluated on it"),
        ("test", "dev", "dev", "chooses the student"),
        ("test", "nowhere", "held_out", "no split nowhere"),
        (None, "test", "held_out", "testing alone"),
    ],
)
def test_judgments_that_must_not_be_learned_from(
    folder: Path, split: str | None, judgments: str, select: str, said: str
):
    with pytest.raises(InputError, match=said) as caught:
        judged_positives(open_collection(folder), recipe(folder, select, judgments=judgments), split)
    assert caught.value.fix


def test_a_query_with_the_text_of_an_evaluated_one_is_never_used(folder: Path, tmp_path: Path):
    copy = tmp_path / "trap"
    copy.mkdir()
    for part in ("corpus.jsonl", "qrels"):
        (copy / part).symlink_to(folder / part)
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    asked = {row["_id"]: row["text"] for row in rows}
    collection = open_collection(folder)
    train, test = (list(collection.qrels(split)) for split in ("train", "test"))
    asked[train[0]] = f"  {asked[test[0]].upper()}"
    asked[train[1]] = asked[train[2]].upper()
    (copy / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in asked.items()))
    log = tmp_path / "log.txt"
    log.write_text(f"{asked[train[3]].upper()}\n")
    found, collection = made(copy, files=[str(log)])
    known = with_positives(found)
    never = {normalise(asked[i]) for i in test}
    assert not never & {normalise(text) for text in known}
    assert found.excluded["evaluated queries"] >= 1
    # Two judged queries of one text are one query that fits the documents of both.
    rows_of = {
        i: collection.document_ids.rows([d for d, grade in collection.qrels("train")[i].items() if grade > 0]).tolist()
        for i in train[1:4]
    }
    (merged,) = [held for text, held in known.items() if normalise(text) == normalise(asked[train[2]])]
    assert set(merged[1]) == {*rows_of[train[1]], *rows_of[train[2]]}
    # A file that repeats a judged query does not take its judgments away.
    (repeated,) = [held for text, held in known.items() if normalise(text) == normalise(asked[train[3]])]
    assert set(repeated[1]) == set(rows_of[train[3]])
