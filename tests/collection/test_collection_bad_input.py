"""Each broken collection ends in exit code 2 with a message that names the place and the remedy."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.collection import open_collection
from potstill.errors import InputError

Break = Callable[[Path], None]


def replace(name: str, old: str, new: str) -> Break:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def write(name: str, content: str | bytes) -> Break:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return apply


def append(name: str, text: str) -> Break:
    def apply(folder: Path) -> None:
        with (folder / name).open("a") as handle:
            handle.write(text)

    return apply


def remove(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def rename(old: str, new: str) -> Break:
    def apply(folder: Path) -> None:
        (folder / old).rename(folder / new)

    return apply


def latin(folder: Path) -> None:
    text = (folder / "corpus.jsonl").read_text().replace("Casks", "Fût")
    (folder / "corpus.jsonl").write_bytes(text.encode("latin-1"))


def utf16(folder: Path) -> None:
    text = (folder / "corpus.jsonl").read_text()
    (folder / "corpus.jsonl").write_bytes(text.encode("utf-16"))


def truncated(folder: Path) -> None:
    body = b"".join(b'{"_id": "%d", "text": "%s"}\n' % (i, os.urandom(40).hex().encode()) for i in range(2000))
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(body, mtime=0)[:-40_000])
    (folder / "corpus.jsonl").unlink()


def both(*breaks: Break) -> Break:
    def apply(folder: Path) -> None:
        for one in breaks:
            one(folder)

    return apply


# name -> what breaks it, and pieces that the message must hold: the place, the trouble, the remedy
CORPUS: dict[str, tuple[Break, tuple[str, ...]]] = {
    "malformed JSON": (
        append("corpus.jsonl", '{"_id": "d4", "text": "cut'),
        ("corpus.jsonl:4", "malformed JSON", "column"),
    ),
    "JSON that is no object": (append("corpus.jsonl", '["d4"]\n'), ("corpus.jsonl:4", "not an object")),
    "JSON nested without end": (append("corpus.jsonl", "[" * 200_000), ("corpus.jsonl:4", "malformed JSON")),
    "no id": (append("corpus.jsonl", '{"key": "d4", "text": "x"}'), ("corpus.jsonl:4", "no id", "`key`", "`_id`")),
    "id is a number": (append("corpus.jsonl", '{"_id": 4, "text": "x"}'), ("corpus.jsonl:4", "a number", "quotes")),
    "id is true": (append("corpus.jsonl", '{"_id": true, "text": "x"}'), ("corpus.jsonl:4", "true or false")),
    "id is empty": (append("corpus.jsonl", '{"_id": "", "text": "x"}'), ("corpus.jsonl:4", "`_id` is empty")),
    "no text": (append("corpus.jsonl", '{"_id": "d4", "title": "x"}'), ("corpus.jsonl:4", "no text", "`contents`")),
    "text is null": (append("corpus.jsonl", '{"_id": "d4", "text": null}'), ("corpus.jsonl:4", "d4 is null", '""')),
    "title is a list": (
        append("corpus.jsonl", '{"_id": "d4", "text": "x", "title": ["x"]}'),
        ("corpus.jsonl:4", "title", "a list"),
    ),
    "repeated id, other text": (
        append("corpus.jsonl", '{"_id": "d2", "text": "x"}'),
        ("corpus.jsonl:4", "corpus.jsonl:2", "'d2'", "own id"),
    ),
    "repeated id, equal text": (
        append("corpus.jsonl", '\n{"_id": "d3", "title": "Casks", "text": ""}'),
        ("corpus.jsonl:5", "corpus.jsonl:3", "'d3'"),
    ),
    "Latin-1": (latin, ("corpus.jsonl:3", "not UTF-8", "0xFB", "iconv -f")),
    "UTF-16": (utf16, ("corpus.jsonl:1", "UTF-16", "iconv -f UTF-16")),
    "truncated gzip": (truncated, ("corpus.jsonl.gz:", "broken gzip", "gzip -t")),
    "gzip that is none": (rename("corpus.jsonl", "corpus.jsonl.gz"), ("corpus.jsonl.gz:1", "broken gzip")),
    "empty corpus": (write("corpus.jsonl", "\n"), ("spirits", "no documents")),
    "no corpus": (rename("corpus.jsonl", "docs.jsonl"), ("spirits", "no corpus", "docs.jsonl", "corpus")),
    "two corpora": (write("corpus.tsv", "d1\tx\n"), ("spirits", "corpus.jsonl, corpus.tsv", "keep one")),
    "a corpus folder without files": (
        both(remove("corpus.jsonl"), lambda folder: (folder / "corpus").mkdir()),
        ("spirits/corpus", "empty"),
    ),
    "TSV with a tab in a text": (
        both(remove("corpus.jsonl"), write("corpus.tsv", "d1\tone\nd2\ttwo\tthree\n")),
        ("corpus.tsv:2", "3 columns instead of 2", "tab"),
    ),
    "TSV whose columns have no names": (
        both(remove("corpus.jsonl"), write("corpus.tsv", "d1\tone\ttwo\n")),
        ("corpus.tsv:1", "3 columns", "_id\\ttitle\\ttext"),
    ),
    "TSV that names a column twice": (
        both(remove("corpus.jsonl"), write("corpus.tsv", "id\ttext\ttext\n")),
        ("corpus.tsv:1", "twice"),
    ),
    "TSV without a text column": (
        both(remove("corpus.jsonl"), write("corpus.tsv", "id\tabstract\nd1\tx\n")),
        ("corpus.tsv:2", "no text", "`abstract`"),
    ),
    "Parquet that is none": (rename("corpus.jsonl", "corpus.parquet"), ("corpus.parquet", "broken Parquet")),
    "unreadable": (
        both(remove("corpus.jsonl"), lambda folder: (folder / "corpus.jsonl").symlink_to(folder / "nowhere")),
        ("spirits", "no corpus"),
    ),
    "repeated query": (
        append("queries.jsonl", '{"_id": "q1", "text": "batch distillation"}'),
        ("queries.jsonl:3", "queries.jsonl:1", "query id 'q1'"),
    ),
    "malformed query": (append("queries.jsonl", "q3\tx"), ("queries.jsonl:3", "malformed JSON")),
    "query without text": (append("queries.jsonl", '{"_id": "q3"}'), ("queries.jsonl:3", "no text")),
}

QRELS: dict[str, tuple[Break, tuple[str, ...]]] = {
    "no queries": (remove("queries.jsonl"), ("judgments (test)", "queries.jsonl", "remove")),
    "no header": (
        replace("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", ""),
        ("test.tsv:1", "no header", "query-id\\tcorpus-id\\tscore"),
    ),
    "too few columns": (append("qrels/test.tsv", "q1\td3\n"), ("test.tsv:5", "2 columns instead of 3", "tabs")),
    "spaces for tabs": (append("qrels/test.tsv", "q1 d3 1 extra\n"), ("test.tsv:5", "4 columns instead of 3")),
    "grade is a word": (append("qrels/test.tsv", "q1\td3\thigh\n"), ("test.tsv:5", "'high'", "whole number")),
    "grade is a fraction": (append("qrels/test.tsv", "q1\td3\t0.5\n"), ("test.tsv:5", "'0.5'", "whole number")),
    "grade has an underscore": (append("qrels/test.tsv", "q1\td3\t1_0\n"), ("test.tsv:5", "'1_0'")),
    "no grade column": (
        write("qrels/test.tsv", "query-id\tcorpus-id\tweight\nq1\td1\t1\n"),
        ("test.tsv:2", "no grade", "`weight`", "`score`"),
    ),
    "empty id": (append("qrels/test.tsv", "\td3\t1\n"), ("test.tsv:5", "empty")),
    "contradiction": (append("qrels/test.tsv", "q1\td2\t1\n"), ("test.tsv:5", "test.tsv:3", "q1", "d2", "keep one")),
    "wrong encoding": (
        write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\xfb\td1\t1\n".encode("latin-1")),
        ("test.tsv:2", "not UTF-8"),
    ),
    "nothing relevant": (
        write("qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0\n"),
        ("dev.tsv", "split dev", "1 judgments read", "above 0"),
    ),
    "only missing documents": (
        write("qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq1\tD1\t1\n"),
        ("dev.tsv", "split dev", "the corpus lacks", "D1"),
    ),
    "only unknown queries": (
        write("queries.jsonl", '{"_id": "Q1", "text": "x"}\n'),
        ("test.tsv", "split test", "queries lack", "q1"),
    ),
    "header alone": (write("qrels/dev.tsv", "query-id\tcorpus-id\tscore\n"), ("dev.tsv", "0 judgments read")),
    "two files for one split": (write("qrels/test.txt", "q1 0 d1 1\n"), ("test.txt", "two files for the split test")),
    "outside the folder": (rename("qrels/test.tsv", "qrels.tsv"), ("qrels.tsv", "mv qrels.tsv qrels/test.tsv")),
    "TREC with three columns": (
        both(remove("qrels/test.tsv"), write("qrels/test.qrels", "q1 0 d1 1\nq1 d2 0\n")),
        ("test.qrels:2", "3 columns instead of 4"),
    ),
}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [*CORPUS.values(), *QRELS.values()],
    ids=[*(f"corpus: {name}" for name in CORPUS), *(f"judgments: {name}" for name in QRELS)],
)
def test_the_message_names_place_and_remedy(beir: Path, damage: Break, expected: tuple[str, ...]) -> None:
    open_collection(beir)  # right before it is broken
    damage(beir)
    before = sorted(path for path in beir.rglob("*"))
    with pytest.raises(InputError) as caught:
        open_collection(beir)
    assert caught.value.exit_code == 2
    assert caught.value.where
    assert caught.value.fix
    for piece in expected:
        assert piece in str(caught.value)
    assert sorted(path for path in beir.rglob("*")) == before, "nothing was written"


def test_a_split_that_does_not_exist_lists_those_that_do(beir: Path) -> None:
    write("qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")(beir)
    with pytest.raises(InputError, match="no split train: there are dev, test"):
        open_collection(beir).qrels("train")
    with pytest.raises(InputError, match="there are dev, test"):
        open_collection(beir).candidates("train")


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder") as caught:
        open_collection(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "corpus.csv").write_text("id,text\n")
    with pytest.raises(InputError, match=r"\.jsonl"):
        open_collection(tmp_path / "corpus.csv")


def test_a_file_that_the_system_withholds(beir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def withhold(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", withhold)
    with pytest.raises(InputError, match="Permission denied") as caught:
        open_collection(beir)
    assert "queries.jsonl" in str(caught.value)
