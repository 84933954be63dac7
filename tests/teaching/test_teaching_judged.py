"""Never a judgment of a test query: by id, by text, among those that train and those that validate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from teaching_toys import spec_of

from potstill.candidates import Bm25Index, by_chance, mine
from potstill.collection import open_collection
from potstill.errors import InputError
from potstill.pipeline.mined_lists import mine_lists
from potstill.teachers.pair_tokens import PairTokenizer
from potstill.teaching.judged import forbidden, judged_pairs
from potstill.teaching.material import gather
from potstill.texts import normalise
from tiny import make_tiny_collection, make_tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_collection(tmp_path / "collection", documents=60, queries=80)


def judge(folder: Path, split: str, *rows: tuple[str, str, int]) -> None:
    path = folder / "qrels" / f"{split}.tsv"
    head = path.read_text() if path.exists() else "query-id\tcorpus-id\tscore\n"
    path.write_text(head + "".join("\t".join(map(str, row)) + "\n" for row in rows))


def ask(folder: Path, *queries: tuple[str, str]) -> None:
    path = folder / "queries.jsonl"
    path.write_text(path.read_text() + "".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in queries))


def test_no_query_of_the_test_split_is_learned_from_by_id_or_by_text(folder: Path):
    clean = judged_pairs(open_collection(folder), spec_of("cross-encoder", folder, folder))
    assert len(clean.train) == 32
    assert len(clean.held_out) == 8
    assert clean.excluded == {}
    held = open_collection(folder).queries
    judge(folder, "test", ("q0", "d1", 1))  # a training query that is a test query too
    ask(folder, ("copy", held["q1"].upper() + "  "))  # the text of a test query under an id of its own
    judge(folder, "train", ("copy", "d1", 1))
    collection = open_collection(folder)
    found = judged_pairs(collection, spec_of("cross-encoder", folder, folder))
    assert found.excluded == {"queries of train that test has too": 2}
    used = [*found.train, *found.held_out]
    assert not {"q0", "copy"} & set(used)
    assert not forbidden(collection) & set(used)
    tests = {normalise(collection.queries[query]) for query in collection.qrels("test")}
    assert not tests & {normalise(collection.queries[query]) for query in used}


def test_queries_without_a_positive_or_a_text_and_twins_of_the_held_out_are_counted(folder: Path):
    ask(folder, ("zero", "wind and sail"), ("empty", "  "))
    judge(folder, "train", ("zero", "d1", 0), ("empty", "d1", 1))
    spec = spec_of("cross-encoder", folder, folder)
    first = judged_pairs(open_collection(folder), spec)
    assert first.excluded == {"queries of train without a positive": 1, "queries of train without text": 1}
    # Queries of training that read like held-out ones, whichever these are drawn to be.
    texts = {query: open_collection(folder).queries[query] for query in (*first.train, *first.held_out)}
    ask(folder, *((f"twin-{query}", text) for query, text in texts.items()))
    judge(folder, "train", *((f"twin-{query}", "d1", 1) for query in texts))
    again = judged_pairs(open_collection(folder), spec)
    assert again.excluded["queries of train with the text of a held-out one"] > 0
    queries = open_collection(folder).queries
    assert not {queries[q] for q in again.train} & {queries[q] for q in again.held_out}


def test_held_out_queries_depend_on_the_seed_and_are_a_fifth_at_most(folder: Path):
    collection = open_collection(folder)
    chosen = [
        set(judged_pairs(collection, spec_of("cross-encoder", folder, folder, *more)).held_out)
        for more in ((), (), ("training.seed=1",), ("held_out=3",))
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len(part) for part in chosen] == [8, 8, 8, 3]


def test_the_dev_split_selects_where_it_is_asked_for(folder: Path):
    collection = open_collection(folder)
    some = list(collection.qrels("train"))[:5]
    ask(folder, *((f"dev-{query}", f"{collection.queries[query]} wind") for query in some))
    judge(folder, "dev", *((f"dev-{query}", "d3", 1) for query in some), (some[0], "d3", 1))
    collection = open_collection(folder)
    found = judged_pairs(collection, spec_of("cross-encoder", folder, folder, "training.select=dev"))
    assert set(found.held_out) == {*(f"dev-{query}" for query in some), some[0]}
    assert len(found.train) == 39
    assert found.excluded == {"queries of train that dev has too": 1}
    assert found.grades[some[0]] == {"d3": 1}
    with pytest.raises(InputError, match="cannot both train and select"):
        judged_pairs(collection, spec_of("cross-encoder", folder, folder, "training.select=dev", "split=dev"))


def test_material_is_refused_and_not_read_if_a_test_query_came_so_far(folder: Path):
    collection = open_collection(folder)
    spec = spec_of("cross-encoder", folder, folder)
    judged = judged_pairs(collection, spec)
    smuggled = replace(judged, train={**judged.train, "q1": ("d1",)})
    assert "q1" in collection.qrels("test")
    some = mine(by_chance(60, 0), list(judged.train), collection.document_ids, 10, source="random")
    with pytest.raises(RuntimeError, match="test query"):
        gather(collection, smuggled, some, some, spec, PairTokenizer(make_tiny_tokenizer(), 48))


def lists_of(folder: Path, signals: Path, *settings: str):
    collection = open_collection(folder)
    spec = spec_of("cross-encoder", folder, folder, "miner=bm25", *settings)
    judged = judged_pairs(collection, spec)
    mined = mine_lists(collection, judged, spec, signals)
    pairs = PairTokenizer(make_tiny_tokenizer(), 48)
    return judged, gather(collection, judged, mined.negatives, mined.lists, spec, pairs, reach=mined.reach)


def test_rows_are_the_right_texts_and_positives_never_negatives(folder: Path, signals: Path):
    judged, material = lists_of(folder, signals)
    collection = open_collection(folder)
    data, names = material.data, material.validation.names
    texts = {document.id: document.full for document in collection.documents()}
    train = list(judged.train)
    for row in (0, 7, len(names) - 1):
        assert np.array_equal(data.documents[row], data.pairs.ids([texts[names[row]]])[0])
    for row, query in enumerate(train):
        assert np.array_equal(data.queries[row], data.pairs.ids([collection.queries[query]])[0])
        positives = {names[d] for q, d in data.positives.tolist() if q == row}
        negatives = {names[d] for d in data.negatives[row].tolist() if d >= 0}
        assert positives == set(judged.train[query])
        assert not positives & negatives
    assert material.counts["pairs"] == len(data) == sum(map(len, judged.train.values()))


def test_twins_of_positives_and_documents_without_text_are_left_out_and_counted(folder: Path, signals: Path):
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    by_id = {row["_id"]: row for row in rows}
    judged, before = lists_of(folder, signals)
    positive = next(iter(judged.train.values()))[0]
    rows.append({**by_id[positive], "_id": "twin"})
    empty = list(judged.train.values())[3][0]
    by_id[empty].update(title="", text="")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, after = lists_of(folder, signals)
    assert after.counts["twins"] > before.counts["twins"] == 0
    assert after.counts["positives_without_text"] > 0
    assert after.counts["pairs"] + after.counts["positives_without_text"] == before.counts["pairs"]
    told = "\n".join(after.lines())
    assert "text of a positive" in told
    assert "no text" in told


def test_the_same_collection_gives_the_same_lists(folder: Path, signals: Path, tmp_path: Path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (_, one), (_, two) = lists_of(folder, signals), lists_of(copy, signals)
    assert np.array_equal(one.data.drawn(1).documents, two.data.drawn(1).documents)


def test_the_first_found_can_be_skipped(folder: Path, signals: Path):
    (_, all_of_them), (_, later) = lists_of(folder, signals), lists_of(folder, signals, "skip=2")
    first, then = (m.data.negatives for m in (all_of_them, later))
    names = [m.validation.names for m in (all_of_them, later)]
    for row in range(len(first)):
        found = [names[0][d] for d in first[row].tolist() if d >= 0]
        assert [names[1][d] for d in then[row].tolist() if d >= 0] == found[2:]


def test_positives_that_are_not_found_can_be_left_out(folder: Path, signals: Path):
    (judged, every), (_, near) = (lists_of(folder, signals, "depth=3", *more) for more in ((), ("found_only=true",)))
    assert 0 < near.counts["pairs"] < every.counts["pairs"]
    assert near.counts["pairs"] + near.counts["positives_not_found"] == every.counts["pairs"]
    index = Bm25Index(document.full for document in open_collection(folder).documents())
    queries, ids = open_collection(folder).queries, open_collection(folder).document_ids
    train = list(judged.train)
    for query, document in near.data.positives.tolist():
        rows, _ = index.search([queries[train[query]]], 3)
        assert near.validation.names[document] in {ids[row] for row in rows[0].tolist() if row >= 0}
    assert "found_only" in "\n".join(near.lines())
