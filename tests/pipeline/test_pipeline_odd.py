"""Collections that are legal and odd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline_runs import check_evaluation, quick_run, read

from potstill.queries import SOURCES
from tiny import make_tiny_collection


def rewrite(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("towers", ["asymmetric", "shared"])
def test_few_documents_empty_ones_twins_and_an_empty_query(
    towers: str, tmp_path: Path, tiny_encoder: Path, signals: Path
):
    folder = make_tiny_collection(tmp_path / "odd", documents=6)
    documents, queries = rows_of(folder / "corpus.jsonl"), rows_of(folder / "queries.jsonl")
    documents += [{"_id": "void", "title": "", "text": ""}, documents[0] | {"_id": "twin"}]
    queries[1]["text"] = "  "  # of the test split
    rewrite(folder / "corpus.jsonl", documents)
    rewrite(folder / "queries.jsonl", queries)
    found = quick_run(
        tmp_path / "run",
        collection=folder,
        teacher=tiny_encoder,
        signals=signals,
        towers=towers,
        settings=["evaluate.cost=true"],
    )
    check_evaluation(found)
    assert found["documents"] == 8
    notes = " ".join(read(tmp_path / "run" / "run.json")["collection"]["notes"])
    assert "void" in notes
    assert "twin" in notes


@pytest.mark.parametrize("source", SOURCES)
def test_one_source_of_queries_is_enough(source: str, tmp_path: Path, tiny_encoder: Path, signals: Path):
    folder = make_tiny_collection(tmp_path / "c", documents=40, splits=())
    others = [f"queries.{name}=0" for name in SOURCES if name != source]
    found = quick_run(
        tmp_path / "run",
        collection=folder,
        teacher=tiny_encoder,
        signals=signals,
        settings=[*others, f"queries.{source}=1"],
    )
    check_evaluation(found, judged=False)
    assert set(read(tmp_path / "run" / "run.json")["queries"]["sources"]) == {source}


def test_words_that_no_vocabulary_has(
    tmp_path: Path, tiny_encoder: Path, signals: Path, capsys: pytest.CaptureFixture[str]
):
    """A Japanese collection and a teacher that knows no Japanese: its tokenizer is left aside, and that is told."""
    folder = make_tiny_collection(tmp_path / "c", documents=30, splits=())
    characters = "蒸留器泥炭麦芽酵母樽熟成香島港銅釜水山川海"
    documents = [
        {"_id": str(i), "text": "。".join(characters[(i + j) % 17 :][:6] + characters[j:][:3] for j in range(6)) + "。"}
        for i in range(30)
    ]
    rewrite(folder / "corpus.jsonl", documents)
    found = quick_run(
        tmp_path / "run",
        collection=folder,
        teacher=tiny_encoder,
        signals=signals,
        settings=["student.vocabulary_size=200"],
    )
    check_evaluation(found, judged=False)
    assert "the teacher's vocabulary does not know" in capsys.readouterr().err
