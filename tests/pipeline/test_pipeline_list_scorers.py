"""Scorers that know the documents: BM25, and files of scores with holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import check_evaluation, quick_run, read

from potstill.candidates import Bm25Index
from potstill.collection import open_collection
from potstill.errors import InputError
from potstill.pipeline.list_scorers import Bm25Scorer, FileScorer
from potstill.recipe import ScorerSpec
from tiny import make_tiny_collection

JUDGED = ("queries.judgments=train", "queries.other_splits=false", "queries.cuts=false", "candidates.count=5")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_collection(tmp_path_factory.mktemp("lists") / "collection", documents=40, queries=60)


@pytest.fixture(scope="module")
def run_file(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TREC run of every query but the first of each split, with every third document left out."""
    collection = open_collection(str(judged))
    index = Bm25Index(collection.texts())
    left_out = {next(iter(collection.qrels(split))) for split in collection.splits}
    lines = []
    for query_id, text in collection.queries.items():
        if query_id in left_out:
            continue
        for row, (document_id, score) in enumerate(zip(collection.document_ids, index.scores(text), strict=True)):
            if row % 3:
                lines.append(f"{query_id} Q0 {document_id} {row} {score + 0.25:.4f} words")
    path = tmp_path_factory.mktemp("lists") / "words.run"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_bm25_scores_every_document_and_zero_is_a_score(judged):
    collection = open_collection(str(judged))
    scorer = Bm25Scorer(ScorerSpec(kind="bm25"), collection)
    assert scorer.name == "bm25"
    text = next(iter(collection.queries.values()))
    rows = np.array([[3, 0, -1], [39, 5, 7]])
    found = scorer.of_lists([text, "nothingofthekind"], rows)
    whole = Bm25Index(collection.texts()).scores(text)
    assert found[0, :2] == pytest.approx(whole[[3, 0]])
    assert np.isnan(found[0, 2])
    assert found[1].tolist() == [0, 0, 0]


def test_what_bm25_says_depends_on_its_settings(judged):
    collection = open_collection(str(judged))
    said = {
        Bm25Scorer(ScorerSpec(kind="bm25", **more), collection).identity()
        for more in ({}, {"k1": 1.2}, {"b": 0.7}, {"language": "none"}, {"language": "bigrams"})
    }
    assert len(said) == 5
    with pytest.raises(InputError, match="klingon"):
        Bm25Scorer(ScorerSpec(kind="bm25", language="klingon"), collection)


def test_holes_of_a_file_are_no_zeros(judged, run_file, capsys):
    collection = open_collection(str(judged))
    scorer = FileScorer(ScorerSpec(kind="file", path=run_file), collection)
    assert scorer.name == "words"
    ids = list(collection.queries)
    known, unknown = ids[-1], next(iter(collection.qrels("test")))
    rows = np.array([[1, 0, 2, -1]] * 3)
    found = scorer.of_lists([collection.queries[known], collection.queries[unknown], "a new text"], rows)
    assert np.isnan(found[0]).tolist() == [False, True, False, True]
    assert np.isnan(found[1:]).all()
    whole = Bm25Index(collection.texts()).scores(collection.queries[known])
    assert found[0, 0] == pytest.approx(whole[1] + 0.25, abs=1e-3)
    assert "of the collection's queries have none" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["bm25", "file"])
def test_a_student_of_scores_by_row(tmp_path, judged, run_file, tiny_encoder, signals, kind, capsys):
    spec = {"kind": kind, "name": "words", "perplexity": 2} | ({"path": str(run_file)} if kind == "file" else {})
    terms = ["match:l2", {"family": "scores", "form": "kl", "teacher": "words"}]
    found = quick_run(
        tmp_path / "run",
        collection=judged,
        teacher=tiny_encoder,
        signals=signals,
        settings=[*JUDGED, "scorers=" + json.dumps([spec]), "objectives=" + json.dumps(terms), "evaluate.rerank=8"],
    )
    check_evaluation(found)
    assert "words" in found["reranking"]["systems"]
    assert read(tmp_path / "run" / "run.json")["scorers"]["words"]["temperature"] > 0
    said = capsys.readouterr().err
    assert ("which are left out" in said) == (kind == "file")


def test_a_file_that_says_nothing_of_the_training_queries(tmp_path, judged, run_file, tiny_encoder, signals):
    spec = {"kind": "file", "path": str(run_file)}
    settings = ["scorers=" + json.dumps([spec]), "objectives=" + json.dumps([{"family": "scores", "teacher": "words"}])]
    with pytest.raises(InputError, match="has no score of any candidate"):
        quick_run(
            tmp_path / "run",
            collection=judged,
            teacher=tiny_encoder,
            signals=signals,
            settings=[*settings, "queries.other_splits=false"],
        )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"kind": "file"}, "needs the `path`"),
        ({"kind": "bm25", "path": "x.run"}, "no other has one"),
        ({"kind": "bm25", "model": "x"}, "reads no `model`"),
        ({"kind": "cross-encoder"}, "needs its `model`"),
    ],
)
def test_what_a_scorer_needs(spec, says):
    with pytest.raises(ValueError, match=says):
        ScorerSpec(**spec)


def test_files_that_are_not_there_or_of_something_else(judged, tmp_path):
    collection = open_collection(str(judged))
    with pytest.raises(InputError, match="no such file"):
        FileScorer(ScorerSpec(kind="file", path=tmp_path / "none.run"), collection)
    foreign = tmp_path / "foreign.tsv"
    foreign.write_text("q\td\t1.0\n")
    with pytest.raises(InputError, match="known here"):
        FileScorer(ScorerSpec(kind="file", path=foreign), collection)


def test_scores_of_every_document_are_asked_once():
    from potstill.pipeline.list_scorers import _Held

    asked: list[str] = []

    class Counting:
        name = "counting"

        def of_all(self, queries):
            asked.extend(queries)
            return np.array([[float(len(query)), np.nan] for query in queries], dtype=np.float32)

    held = _Held(Counting(), ["a", "bb", "ccc"], 2)
    first = held(np.array([2, 0, 2]))
    assert first[:, 0].tolist() == [3.0, 1.0, 3.0]
    assert np.isnan(first[:, 1]).all()
    assert held(np.array([0, 1]))[:, 0].tolist() == [1.0, 2.0]
    assert sorted(asked) == ["a", "bb", "ccc"]
