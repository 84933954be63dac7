"""Generated and mixed queries among the training queries: shares, sources, what is kept out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from potstill.collection import Collection, open_collection
from potstill.errors import InputError
from potstill.queries import SOURCES, TrainingQueries, training_queries
from potstill.queries.noise import halves, noised
from potstill.recipe import QueriesSpec
from potstill.texts import normalise
from tiny import make_tiny_collection


class Echo:
    """Writes the first words of a text and of its second half, or whatever it is told to."""

    name = "lab/echo"

    def __init__(self, **written: list[str]) -> None:
        self.written = written
        self.read: list[str] = []

    def generate(self, texts: Sequence[str]) -> list[list[str]]:
        self.read += texts
        return [self.written.get(text.split()[0].lower(), own(text)) for text in texts]


def own(text: str) -> list[str]:
    words = text.split()
    return [f"why {' '.join(words[:4])}", f"how {' '.join(words[len(words) // 2 :][:4])}"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return open_collection(make_tiny_collection(tmp_path_factory.mktemp("w") / "c", documents=40, queries=36))


def spec(**options: object) -> QueriesSpec:
    model = {"model": "lab/echo", **options.pop("generator", {})}  # type: ignore[dict-item]
    return QueriesSpec.model_validate({"cap": 120, "held_out": 20, "generator": model} | options)


def made(collection: Collection, how: QueriesSpec, writer: Echo | None = None, seed: int = 0) -> TrainingQueries:
    never = set(collection.qrels("test"))
    real = [i for i in collection.queries if i not in never]
    return training_queries(collection, how, seed=seed, exclude_ids=never, real_ids=real, generator=writer or Echo())


def everything(found: TrainingQueries) -> list[str]:
    return [*found.texts, *found.held_out]


def test_generated_queries_have_their_share_and_their_document(collection: Collection):
    found = made(collection, spec(cap=80, generated=8.0))
    assert len(found.texts) == 80
    assert 25 <= found.counts["generated"] <= 50  # 8 of 17 parts of 100 - 18 real ones, less those held out
    assert found.counts == dict(Counter(found.sources))
    assert list(found.counts)[:2] == ["real", "generated"]
    assert len({normalise(text) for text in everything(found)}) == len(everything(found))
    documents = list(collection.documents())
    for text, source, number in zip(found.texts, found.sources, found.documents, strict=True):
        if source == "generated":
            assert text in own(documents[number].full)


def test_without_cuts_generated_and_real_ones_are_all(collection: Collection):
    found = made(collection, spec(cuts=False, other_splits=False))
    assert set(found.counts) == {"generated"}
    assert len(everything(found)) == 80
    with_real = made(collection, spec(cuts=False))
    assert set(with_real.counts) == {"real", "generated"}
    assert not set(with_real.counts) & set(SOURCES)
    with pytest.raises(InputError, match=r"only 18 training queries") as caught:
        training_queries(
            collection,
            spec(cuts=False, generated=0.0),
            seed=0,
            exclude_ids=set(collection.qrels("test")),
            real_ids=list(collection.qrels("train")),
        )
    assert "queries.cuts" in str(caught.value.fix)


def test_nothing_else_moves_where_no_generator_is_given(collection: Collection):
    never = set(collection.qrels("test"))
    plain, without = (
        training_queries(collection, how, seed=0, exclude_ids=never)
        for how in (QueriesSpec(cap=120, held_out=20), spec())
    )
    assert plain.texts == without.texts
    assert plain.excluded == without.excluded


def test_evaluated_queries_and_duplicates_are_left_out(collection: Collection):
    asked = [collection.queries[i] for i in collection.qrels("test")]
    train = collection.queries[next(iter(collection.qrels("train")))]
    writer = Echo(whisky=[asked[0].upper(), f"  {asked[1]}"], sailing=[train.upper(), "sail the keel again"])
    found = made(collection, spec(), writer)
    assert not {normalise(text) for text in everything(found)} & {normalise(text) for text in asked}
    # Each of four documents about whisky brings two test queries, each of four about sailing a query known already.
    assert found.excluded["generated: the same for many texts"] == 16
    writer = Echo(whisky=[asked[0].upper(), f"  {asked[1]}"], sailing=[train.upper(), "sail the keel again"])
    found = made(collection, spec(generator={"sources": 15}), writer)
    assert len(writer.read) == 15
    assert found.excluded["evaluated queries"] >= 1
    assert found.excluded["duplicates"] >= 1
    assert not {normalise(text) for text in everything(found)} & {normalise(text) for text in asked}


def test_bad_texts_are_counted(collection: Collection):
    found = made(collection, spec(words=(5, 5)), Echo(whisky=["", "copper still"]))
    assert found.excluded["generated: empty"] == 4
    assert found.excluded["generated: the same for many texts"] == 4
    with pytest.raises(InputError, match=r"80 texts 0 are of use \(80 too few or too many words"):
        made(collection, spec(words=(6, 9)))
    with pytest.raises(InputError, match="wrote nothing") as caught:
        made(collection, spec(), Echo(**{document.full.split()[0]: [""] for document in collection.documents()}))
    assert caught.value.where == "lab/echo"


def test_rewritten_queries_are_of_noised_real_ones(collection: Collection):
    writer = Echo()
    how = spec(generator={"reads": "queries", "noise": 0.4}, cuts=False)
    found = made(collection, how, writer)
    real = [collection.queries[i] for i in collection.qrels("train")]
    assert sorted(writer.read) == sorted(noised(text, 0.4, 0) for text in real)
    assert sum(read not in real for read in writer.read) > 9
    sources = dict(zip(found.texts, found.documents.tolist(), strict=True))
    assert all(sources[text] == -1 for text, source in zip(found.texts, found.sources, strict=True))
    assert found.counts["generated"] > 15
    assert "how" in " ".join(found.texts)
    echoed = made(collection, how, Echo(**{noised(t, 0.4, 0).split()[0]: [t, f"what of {t}"] for t in real}))
    assert echoed.excluded["generated: the text that was read"] > 9
    with pytest.raises(InputError, match="no real queries for the generator"):
        made(collection, how.model_copy(update={"other_splits": False}), Echo())


def test_mixed_queries_are_halves_of_others(collection: Collection):
    how = QueriesSpec(cap=100, held_out=10, mixed=4.0, documents=0, spans=0, sentences=2.0)
    found = made(collection, how)
    assert 20 <= found.counts["mixed"] <= 40
    pieces = {tuple(text.split()) for text in everything(made(collection, how.model_copy(update={"cap": 5000})))}
    starts = {p[: (len(p) + 1) // 2] for p in pieces}
    ends = {p[len(p) // 2 :] for p in pieces}
    for text, source, number in zip(found.texts, found.sources, found.documents, strict=True):
        if source == "mixed":
            assert number == -1
            words = text.split()
            assert any(tuple(words[:i]) in starts and tuple(words[i:]) in ends for i in range(1, len(words)))
    alone = made(collection, QueriesSpec(cap=60, held_out=10, cuts=False, mixed=1.0))
    assert set(alone.counts) == {"real", "mixed"}
    real = {collection.queries[i] for i in collection.qrels("train")}
    joined = {halves(a, b) for a in real for b in real}
    assert all(t in joined for t, s in zip(alone.texts, alone.sources, strict=True) if s == "mixed")


def test_seed_and_order(collection: Collection, tmp_path: Path):
    how = spec(mixed=2.0)
    assert made(collection, how).texts == made(collection, how).texts
    assert set(made(collection, how, seed=1).texts) != set(made(collection, how).texts)
    folder = Path(collection.source)
    copy = tmp_path / "copy"
    copy.mkdir()
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    random.Random(3).shuffle(lines)
    (copy / "corpus.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (copy / "queries.jsonl").symlink_to(folder / "queries.jsonl")
    (copy / "qrels").symlink_to(folder / "qrels")
    shuffled, plain = made(open_collection(copy), how), made(collection, how)
    assert (shuffled.texts, shuffled.sources, shuffled.excluded) == (plain.texts, plain.sources, plain.excluded)


def test_a_pool_to_pick_from(collection: Collection):
    plain = made(collection, spec(cap=60, generated=4.0))
    found = made(collection, spec(cap=60, generated=4.0, pick="entropy", pool=2.5))
    assert plain.room is None
    assert found.room == plain.counts["generated"]
    assert found.held_out == plain.held_out
    assert found.texts[: len(plain.texts)] == plain.texts
    surplus = found.sources[len(plain.texts) :]
    assert set(surplus) == {"generated"}
    assert found.counts["generated"] == found.room + len(surplus)
    assert len(surplus) > found.room
    everything_picked = made(collection, spec(cap=60, pick="entropy", pool=1.0))
    assert everything_picked.room is None


def test_some_of_them(collection: Collection):
    found = made(collection, spec(cap=60, pick="entropy"))
    rows = np.array([i for i, source in enumerate(found.sources) if source != "titles"])[5:]
    some = found.taken(rows, {"picked": 7, "nothing": 0})
    assert some.texts == [found.texts[i] for i in rows]
    assert some.counts == dict(Counter(some.sources))
    assert "titles" not in some.counts
    assert np.array_equal(some.documents, found.documents[rows])
    assert some.excluded == found.excluded | {"picked": 7}
    assert some.room is None
    assert some.held_out == found.held_out
    assert len(some.positives) == len(rows)
