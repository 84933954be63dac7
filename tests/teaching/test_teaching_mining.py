"""What is mined for a teacher: as two plain searches find it, in the texts' language, at the base's revision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from teaching_toys import spec_of

from potstill.candidates import Bm25Index, by_words, mine
from potstill.collection import open_collection
from potstill.pipeline import mined_lists
from potstill.pipeline.mined_lists import mine_lists
from potstill.recipe import TeacherSpec
from potstill.teaching.judged import judged_pairs
from potstill.teaching.material import gather
from potstill.teaching.rankers import untrained


@pytest.mark.parametrize(("depth", "skip"), [(7, 0), (7, 3), (100, 2)])
def test_one_search_finds_what_two_would(judged: Path, signals: Path, depth: int, skip: int):
    collection = open_collection(judged)
    spec = spec_of("cross-encoder", judged, judged, "miner=bm25", f"depth={depth}", f"skip={skip}")
    chosen = judged_pairs(collection, spec)
    mined = mine_lists(collection, chosen, spec, signals)
    train = list(chosen.train)
    search = by_words([collection.queries[query] for query in train], Bm25Index(collection.texts()))
    whole = collection.document_count
    plain = mine(search, train, collection.document_ids, min(depth, whole), source="bm25")
    assert mined.met is not None
    np.testing.assert_array_equal(mined.met, plain.rows)
    cleaned = mine(
        search, train, collection.document_ids, min(depth + skip, whole), source="bm25", positives=chosen.train
    )
    width = mined.negatives.rows.shape[1]
    np.testing.assert_array_equal(mined.negatives.rows, cleaned.rows[:, skip : skip + width])
    np.testing.assert_array_equal(mined.negatives.scores, cleaned.scores[:, skip : skip + width])
    assert (cleaned.rows[:, skip + width :] < 0).all()
    (provenance,) = mined.negatives.provenance
    assert provenance.dropped["skipped"] == int((cleaned.rows[:, :skip] >= 0).sum())
    assert provenance.positives_kept_out == sum(map(len, chosen.train.values()))
    assert provenance.settings["language"] == "english"


def test_texts_without_spaces_are_read_as_pairs_of_characters(tmp_path: Path, signals: Path):
    folder = tmp_path / "japanese"
    (folder / "qrels").mkdir(parents=True)
    places = ("東京都", "京都府", "大阪府", "北海道", "沖縄県", "愛知県")
    corpus = [{"_id": f"d{i}", "text": f"{place}に住む人は{i}年の話をする"} for i, place in enumerate(places * 4)]
    queries = [{"_id": f"q{i}", "text": f"{place}の{i}年"} for i, place in enumerate(places * 2)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, some in (("train", range(8)), ("test", range(8, 12))):
        judged = "".join(f"q{i}\td{i}\t1\n" for i in some)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    collection = open_collection(folder)
    spec = spec_of("cross-encoder", folder, folder, "miner=bm25", "held_out=2", "depth=3")
    chosen = judged_pairs(collection, spec)
    mined = mine_lists(collection, chosen, spec, signals)
    assert mined.negatives.provenance[0].settings["analysis"] == "bigrams"
    texts = list(collection.texts())
    for query, rows in zip(chosen.train, mined.negatives.rows, strict=True):
        place = collection.queries[query][:3]
        assert all(texts[row].startswith(place) for row in rows.tolist()), "the same place, another year"


def test_a_base_that_mines_is_looked_up_and_opened_at_its_revision(
    judged: Path, signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, str | None]] = []
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Pooling"}]))

    def download(name: str, file: str, revision: str | None = None) -> str:
        asked.append((file, revision))
        return str(tmp_path / file)

    class OpenedError(Exception):
        pass

    def opened(spec: TeacherSpec) -> None:
        asked.append((str(spec.model), spec.revision))
        raise OpenedError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(mined_lists, "open_teacher", opened)
    collection = open_collection(judged)
    base = spec_of("cross-encoder", judged, Path("owner/base"), "revision=abc")
    other = spec_of("cross-encoder", judged, Path("owner/base"), "revision=abc", "miner=owner/other")
    for spec in (base, other):
        with pytest.raises(OpenedError):
            mine_lists(collection, judged_pairs(collection, spec), spec, signals)
    assert asked == [("modules.json", "abc"), ("owner/base", "abc"), ("owner/other", None)]


def test_judged_pairs_without_a_negative_are_left_out_counted_and_told(judged: Path, tiny_encoder: Path, signals: Path):
    collection = open_collection(judged)
    spec = spec_of("cross-encoder", judged, tiny_encoder, "within_depth=false")
    chosen = judged_pairs(collection, spec)
    mined = mine_lists(collection, chosen, spec, signals)
    pairs = untrained(spec).pairs
    whole = gather(collection, chosen, mined.negatives, mined.lists, None, spec, pairs)
    rows = mined.negatives.rows.copy()
    rows[0] = -1
    less = gather(collection, chosen, replace(mined.negatives, rows=rows), mined.lists, None, spec, pairs)
    alone = len(next(iter(chosen.train.values())))
    assert (whole.counts["pairs_without_negatives"], less.counts["pairs_without_negatives"]) == (0, alone)
    assert less.counts["pairs"] == whole.counts["pairs"] - alone
    assert f"{alone} judged pairs left out: no negative was found for the query" in less.lines()


def test_judged_lists_are_those_of_the_judgments(tmp_path: Path, signals: Path):
    """Where judgments are the lists to rank, a query's zeros are its negatives, and nothing else is."""
    folder = tmp_path / "answers"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "text": f"sentence number {i}"} for i in range(20)]
    queries = [{"_id": f"q{i}", "text": f"what is {i}?"} for i in range(6)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"q{i}\td{3 * i + place}\t{int(place == 1)}" for i in range(6) for place in range(3)]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    collection = open_collection(folder)
    spec = spec_of("cross-encoder", folder, folder, "miner=judged", "held_out=1")
    chosen = judged_pairs(collection, spec)
    mined = mine_lists(collection, chosen, spec, signals)
    for line, query in zip(mined.negatives.rows, chosen.train, strict=True):
        first = 3 * int(query[1:])
        assert line[line >= 0].tolist() == [first, first + 2]
    (query,) = chosen.held_out
    assert mined.lists.rows[0][:3].tolist() == [3 * int(query[1:]) + place for place in range(3)]
    assert mined.miners == ("judged",)
