"""What users get wrong about teaching: exit code 2, the place and the remedy, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from potstill.cli import run
from tiny import make_tiny_collection

QUICK = ("--set", "training.epochs=1", "--set", "lists=8", "--set", "rerank=20", "--max-length", "48")


@dataclass
class Desk:
    """A user's collection, base and folders."""

    folder: Path
    collection: Path
    base: Path
    signals: Path

    @property
    def out(self) -> Path:
        return self.folder / "teachers" / "mine"

    def teach(self, *more: str, kind: str = "cross-encoder", **changed: str | None) -> list[str]:
        options = {"collection": str(self.collection), "base": str(self.base), "out": str(self.out)}
        options |= {"signals": str(self.signals)} | changed
        named = [part for key, value in options.items() if value for part in (f"--{key}", value)]
        return ["teach", kind, *named, *QUICK, *more]

    def judge(self, split: str, *rows: tuple[str, str, int]) -> None:
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (self.collection / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def desk(tmp_path: Path, judged: Path, tiny_encoder: Path, signals: Path) -> Desk:
    return Desk(tmp_path, Path(shutil.copytree(judged, tmp_path / "collection")), tiny_encoder, signals)


def no_judgments(desk: Desk) -> list[str]:
    shutil.rmtree(desk.collection / "qrels")
    return desk.teach()


def nothing_but_test(desk: Desk) -> list[str]:
    (desk.collection / "qrels" / "train.tsv").unlink()
    return desk.teach("--split", "test")


def one_query(desk: Desk) -> list[str]:
    desk.judge("train", ("q0", "d0", 1))
    return desk.teach()


def all_are_test_queries(desk: Desk) -> list[str]:
    shutil.copy(desk.collection / "qrels" / "test.tsv", desk.collection / "qrels" / "train.tsv")
    return desk.teach()


def every_document_is_a_positive(desk: Desk) -> list[str]:
    shutil.rmtree(desk.collection)
    make_tiny_collection(desk.collection, documents=3, queries=12)
    desk.judge("train", *((f"q{q}", f"d{d}", 1) for q in range(0, 12, 2) for d in range(3)))
    return desk.teach()


def positives_without_text(desk: Desk) -> list[str]:
    rows = [json.loads(line) for line in (desk.collection / "corpus.jsonl").read_text().splitlines()]
    rows[0].update(title="", text=" ")
    rows[1].update(title="", text="")
    (desk.collection / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    desk.judge("train", *((f"q{q}", f"d{q // 2 % 2}", 1) for q in range(0, 40, 2)))
    return desk.teach()


def documents_missing(desk: Desk) -> list[str]:
    desk.judge("train", *((f"q{q}", f"gone{q}", 1) for q in range(0, 40, 2)))
    return desk.teach()


def no_grade_above_zero(desk: Desk) -> list[str]:
    desk.judge("train", *((f"q{q}", f"d{q}", 0) for q in range(0, 40, 2)))
    return desk.teach()


def nothing_relevant_is_found(desk: Desk) -> list[str]:
    rows = [json.loads(line) for line in (desk.collection / "queries.jsonl").read_text().splitlines()]
    for row in rows:
        row["text"] = f"law of court {row['_id']}"
    (desk.collection / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    desk.judge("train", *((f"q{q}", f"d{10 * (q % 6)}", 1) for q in range(0, 40, 2)))
    return desk.teach("--set", "rerank=2", "--set", "within_depth=false", "--miner", "bm25")


def no_positive_is_met(desk: Desk) -> list[str]:
    return [part.replace("=false", "=true") for part in nothing_relevant_is_found(desk)]


def a_folder_in_use(desk: Desk) -> list[str]:
    desk.out.mkdir(parents=True)
    (desk.out / "notes.txt").write_text("mine")
    return desk.teach()


MISTAKES: dict[str, tuple[Callable[[Desk], list[str]], str]] = {
    "no output": (lambda desk: desk.teach(out=None), "--out"),
    "no collection": (lambda desk: desk.teach(collection=None), "--collection"),
    "no base": (lambda desk: desk.teach(base=None), "--base"),
    "no such collection": (lambda desk: desk.teach(collection=str(desk.folder / "nothing")), "nothing"),
    "no judgments": (no_judgments, "no judgments"),
    "no such split": (lambda desk: desk.teach("--split", "dev"), "there are"),
    "the test split": (lambda desk: desk.teach("--split", "test"), "name another split: train"),
    "the test split alone": (nothing_but_test, "in a split of their own"),
    "no dev split to select by": (lambda desk: desk.teach("--set", "training.select=dev"), "no split dev"),
    "one query": (one_query, "too few judged queries"),
    "all are test queries": (all_are_test_queries, "40 queries of train that test has too"),
    "every document is a positive": (every_document_is_a_positive, "that was found and a negative"),
    "positives without text": (positives_without_text, "no judged pair has both"),
    "documents missing": (documents_missing, "judgments of documents that the corpus lacks"),
    "no grade above zero": (no_grade_above_zero, "no query of the split train has a relevant document"),
    "nothing relevant is found": (nothing_relevant_is_found, "--set rerank=100"),
    "no positive is met": (no_positive_is_met, "within_depth=false"),
    "no such base": (lambda desk: desk.teach(base=str(desk.folder / "nothing")), "no such model folder"),
    "a base that is a collection": (lambda desk: desk.teach(base=str(desk.collection)), "holds no model"),
    "too long": (lambda desk: desk.teach("--max-length", "512"), "positions for 64 tokens"),
    "too short": (lambda desk: desk.teach("--max-length", "4"), "max_length"),
    "no negatives": (lambda desk: desk.teach("--negatives", "0"), "negatives"),
    "no such key": (lambda desk: desk.teach("--set", "negative=3"), "did you mean `negatives`"),
    "no such training key": (lambda desk: desk.teach("--set", "training.epoch=3"), "did you mean `epochs`"),
    "parts of lists": (lambda desk: desk.teach("--set", "training.encode_at_once=4"), "models that encode texts apart"),
    "no such miner": (lambda desk: desk.teach("--miner", str(desk.folder / "nothing")), "no such model folder"),
    "nothing to resume": (lambda desk: desk.teach("--resume"), "there is no run here"),
    "a folder in use": (a_folder_in_use, "--resume"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_remedy(name: str, desk: Desk, capsys: pytest.CaptureFixture[str]):
    make, said = MISTAKES[name]
    command = make(desk)
    before = sorted(path for path in desk.folder.rglob("*"))
    assert run(command) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert "What to do:" in told.err
    assert "Traceback" not in told.err
    assert told.out == ""
    assert sorted(path for path in desk.folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["cross-encoder", "dual-pooled"])
def test_the_command_line_end_to_end(kind: str, desk: Desk, capsys: pytest.CaptureFixture[str]):
    assert run(desk.teach(kind=kind)) == 0
    told = capsys.readouterr()
    assert f"{kind} from {desk.base}" in told.out
    assert "learned from 64 judged pairs of 32 queries: 8 lists an epoch" in told.out
    assert "cut: " in told.out
    assert "nDCG@10  as found 0." in told.out
    assert f"teacher: {desk.out}/model/" in told.out
    assert "training: 8/8 lists" in told.err
    model = {path.name: path.read_bytes() for path in (desk.out / "model").iterdir()}
    assert run(["teach", kind, "--out", str(desk.out), "--resume", "--signals", str(desk.signals)]) == 0
    assert "resumed at step" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (desk.out / "model").iterdir()} == model


def test_help_is_there(capsys: pytest.CaptureFixture[str]):
    for command in (["teach"], ["teach", "cross-encoder"], ["teach", "dual-pooled"]):
        assert run([*command, "--help"]) == 0
        assert "--help" in capsys.readouterr().out
