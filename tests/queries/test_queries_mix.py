"""Training queries: shares, seeds, what is kept out."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.collection import Collection, open_collection
from potstill.errors import InputError
from potstill.queries import SOURCES, TrainingQueries, training_queries
from potstill.queries.drawing import share_out
from potstill.recipe import QueriesSpec
from potstill.texts import normalise
from tiny import make_tiny_collection

SPEC = QueriesSpec(cap=200, held_out=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("mix") / "collection", documents=40, queries=36)


@pytest.fixture(scope="module")
def collection(folder: Path) -> Collection:
    return open_collection(folder)


def made(collection: Collection, spec: QueriesSpec = SPEC, seed: int = 0, split: str = "test") -> TrainingQueries:
    never = set(collection.qrels(split))
    real = [i for i in collection.queries if i not in never]
    return training_queries(collection, spec, seed=seed, exclude_ids=never, real_ids=real)


def test_what_is_promised_of_every_result(collection: Collection):
    found = made(collection)
    everything = [*found.texts, *found.held_out]
    assert len(found.texts) == 200
    assert len(found.held_out) == 40
    assert len({normalise(text) for text in everything}) == len(everything)
    assert all(text == " ".join(text.split()) and text for text in everything)
    assert len(found.texts) == len(found.sources) == len(found.documents)
    assert len(found.held_out) == len(found.held_out_documents)
    assert found.documents.dtype == found.held_out_documents.dtype == np.int64
    assert found.counts == dict(Counter(found.sources))
    assert set(found.counts) <= {"real", *SOURCES}
    assert {name: texts[0] for name, texts in found.examples(1).items()}.keys() == found.counts.keys()


def test_evaluated_queries_are_kept_out_by_id_and_by_text(folder: Path, tmp_path: Path):
    """Two traps: a title that is a test query in other letters, and a training query that repeats one."""
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    test = [line.split("\t")[0] for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    train = next(name for name in asked if name not in test)
    rows[0]["title"] = "  ".join(asked[test[0]].upper().split())
    rows[1]["text"] = f"{asked[test[1]]}. {rows[1]['text']}"
    asked[train] = asked[test[2]] + " "
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (trap / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in asked.items()))
    (trap / "qrels").symlink_to(folder / "qrels")
    collection = open_collection(trap)
    found = made(collection, QueriesSpec(cap=5000, held_out=40))
    never = {normalise(collection.queries[name]) for name in collection.qrels("test")}
    assert not never & {normalise(text) for text in (*found.texts, *found.held_out)}
    assert found.excluded["evaluated queries"] >= 3


def test_held_out_queries_are_no_training_queries(collection: Collection):
    found = made(collection)
    assert not {normalise(t) for t in found.texts} & {normalise(t) for t in found.held_out}
    few = made(collection, QueriesSpec(cap=40, held_out=500))
    assert (len(few.texts), len(few.held_out)) == (40, 10)


def test_the_seed_decides_and_nothing_else(collection: Collection):
    assert same(made(collection), made(collection))
    other = made(collection, seed=1)
    assert set(other.texts) != set(made(collection).texts)
    assert len(other.texts) == 200


def same(a: TrainingQueries, b: TrainingQueries) -> bool:
    return (a.texts, a.sources, a.held_out, a.counts, a.excluded) == (
        b.texts,
        b.sources,
        b.held_out,
        b.counts,
        b.excluded,
    )


def test_the_order_of_documents_does_not_matter(folder: Path, tmp_path: Path):
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    # The same words in other letters: which spelling is taken must not depend on the order either.
    twin = json.loads(lines[0]) | {"_id": "twin"}
    twin = {key: value if key == "_id" else value.upper() for key, value in twin.items()}
    lines.append(json.dumps(twin))
    found = []
    for seed in (None, 1, 2):
        copy = tmp_path / str(seed)
        copy.mkdir()
        if seed is not None:
            random.Random(seed).shuffle(lines)
        (copy / "corpus.jsonl").write_text("".join(f"{line}\n" for line in lines))
        (copy / "queries.jsonl").symlink_to(folder / "queries.jsonl")
        (copy / "qrels").symlink_to(folder / "qrels")
        collection = open_collection(copy)
        ids = list(collection.document_ids)
        result = made(collection, QueriesSpec(cap=400, held_out=40))
        found.append((result, [ids[i] if i >= 0 else None for i in result.documents]))
    for result, origins in found[1:]:
        assert same(result, found[0][0])
        assert origins == found[0][1]


def test_documents_are_those_that_the_texts_were_cut_from(collection: Collection):
    found = made(collection)
    documents = list(collection.documents())
    assert {number >= 0 for number, source in zip(found.documents, found.sources, strict=True) if source != "real"} == {
        True
    }
    for text, source, number in zip(found.texts, found.sources, found.documents, strict=True):
        if source == "real":
            assert number == -1
            assert text in collection.queries.values()
        else:
            full = normalise(documents[number].full)
            assert all(word in full for word in normalise(text).split())
            if source == "titles":
                assert text == documents[number].title


def test_shares_are_kept_where_there_is_enough(collection: Collection):
    weights = {"titles": 0, "phrases": 0, "documents": 0, "sentences": 1, "spans": 3, "keywords": 1}
    spec = QueriesSpec(cap=100, held_out=10, other_splits=False, **weights)
    found = made(collection, spec)
    assert set(found.counts) == {"sentences", "spans", "keywords"}
    drawn = Counter(found.sources)
    assert 50 <= drawn["spans"] <= 70  # 66 of 110, before some are held out
    assert sum(drawn.values()) == 100


def test_real_queries_come_first(collection: Collection, tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_text("peat smoke\n\n  copper   still \nPEAT SMOKE\n高い 山\n", encoding="utf-8-sig")
    found = made(collection, QueriesSpec(cap=200, held_out=10, files=(log,)))
    everything = dict(zip([*found.texts, *found.held_out], [*found.sources, *["?"] * 10], strict=True))
    assert {"peat smoke", "copper still", "高い 山"} <= set(everything)
    assert found.excluded["empty"] >= 1
    assert found.excluded["duplicates"] >= 1
    train = {collection.queries[i] for i in collection.qrels("train")}
    assert len(train & set(everything)) == len(train)
    alone = made(collection, QueriesSpec(cap=200, held_out=10, other_splits=False))
    assert "real" not in alone.counts


def test_too_many_real_queries_are_drawn_from(collection: Collection, tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"query number {i}\n" for i in range(500)))
    found = made(collection, QueriesSpec(cap=100, held_out=10, files=(log,)))
    assert len(found.texts) == 100
    assert found.counts["real"] >= 85
    again = made(collection, QueriesSpec(cap=100, held_out=10, files=(log,)))
    assert same(found, again)


def test_files_that_cannot_be_read_are_named(collection: Collection, tmp_path: Path):
    for path, content in ((tmp_path / "none.txt", None), (tmp_path / "latin.txt", b"caf\xe9\n"), (tmp_path, None)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            made(collection, QueriesSpec(files=(path,)))
        assert caught.value.where == str(path)
        assert caught.value.fix


def test_too_little_to_train_on_is_told(tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "wind"}\n')
    with pytest.raises(InputError, match=r"only \d+ training queries"):
        training_queries(open_collection(tmp_path), SPEC, seed=0, exclude_ids=set())


def test_endless_sentences_are_left_out_and_counted(folder: Path, tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text(
        (folder / "corpus.jsonl").read_text() + json.dumps({"_id": "table", "text": "7 8 9 " * 600}) + "\n"
    )
    found = training_queries(open_collection(tmp_path), SPEC, seed=0, exclude_ids=set())
    assert found.excluded["longer than 2,000 characters"] == 1
    lengths = {source: len(text) for text, source in zip(found.texts, found.sources, strict=True) if len(text) > 2_000}
    assert set(lengths) <= {"documents"}


def test_a_japanese_corpus_without_titles(tmp_path: Path):
    things = [
        "銅製の蒸留釜",
        "泥炭の煙",
        "麦芽と水",
        "酵母の発酵",
        "樽の熟成",
        "酒の香り",
        "島の港",
        "山の泉",
        "冬の海",
        "石の塔",
    ]
    acts = ["を守る", "を運ぶ", "を描く", "が光る", "を測る", "を洗う", "を売る", "を待つ"]
    chance = random.Random(0)
    rows = [
        {"_id": str(i), "text": "".join(f"{thing}{chance.choice(acts)}。" for thing in chance.sample(things, 2))}
        for i in range(40)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = training_queries(open_collection(tmp_path), SPEC, seed=0, exclude_ids=set())
    assert {"sentences", "spans", "phrases", "keywords", "documents"} == set(found.counts)
    assert "蒸留釜" in {*found.texts, *found.held_out}


NUMBERS = st.integers(0, 300)


@settings(max_examples=300, deadline=None)
@given(
    wanted=st.integers(-5, 1000),
    sources=st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(1e-3, 1e3), NUMBERS), max_size=6),
)
def test_share_out(wanted: int, sources: dict[str, tuple[float, int]]):
    shares = {name: share for name, (share, _) in sources.items()}
    available = {name: count for name, (_, count) in sources.items()}
    places = share_out(wanted, shares, available)
    assert places.keys() == shares.keys()
    assert all(0 <= places[name] <= available[name] for name in places)
    assert sum(places.values()) == max(0, min(wanted, sum(available.values())))
    assert share_out(wanted, dict(reversed(shares.items())), available) == places, (
        "the order of sources decides nothing"
    )
    # Fair: what is not exhausted gets its share, up to rounding.
    open_ones = [name for name in places if places[name] < available[name]]
    for name in open_ones:
        for other in open_ones:
            if shares[name] >= shares[other]:
                assert places[name] >= places[other] - slack(places)


def slack(places: Iterable[str]) -> int:
    return 2 + len(list(places))


def test_share_out_by_hand():
    assert share_out(100, {"a": 1, "b": 1}, {"a": 1000, "b": 1000}) == {"a": 50, "b": 50}
    assert share_out(100, {"a": 3, "b": 1}, {"a": 1000, "b": 1000}) == {"a": 75, "b": 25}
    assert share_out(100, {"a": 1, "b": 1}, {"a": 10, "b": 1000}) == {"a": 10, "b": 90}
    assert share_out(100, {"a": 1, "b": 1}, {"a": 10, "b": 20}) == {"a": 10, "b": 20}
    assert share_out(0, {"a": 1}, {"a": 5}) == {"a": 0}
    assert share_out(5, {}, {}) == {}
