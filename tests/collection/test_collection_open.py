"""What a collection says of itself, from every form of file."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.collection import Document, open_collection
from potstill.errors import InputError

DOCUMENTS = [
    Document("d1", "Stills", "A pot still makes whisky in batches."),
    Document("d2", "", "A column still runs without a pause."),
    Document("d3", "Casks", ""),
]
QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(text)


def test_beir_folder(beir: Path) -> None:
    collection = open_collection(beir)
    assert collection.name == "spirits"
    assert collection.source == str(beir)
    assert list(collection.documents()) == DOCUMENTS
    assert list(collection.documents()) == DOCUMENTS, "the corpus can be streamed again"
    assert list(collection.document_ids) == ["d1", "d2", "d3"]
    assert collection.document_count == 3
    assert collection.characters == sum(len(document.full) for document in DOCUMENTS)
    assert list(collection.queries.items()) == [("q1", "batch distillation"), ("q2", "ageing in oak")]
    assert collection.splits == ("test",)
    assert collection.qrels("test") == QRELS
    assert collection.candidates("test") == {"q1": ["d1", "d2"], "q2": ["d3"]}
    assert collection.notes.findings == []
    assert collection.notes.lines() == ["3 documents, 2 queries, judgments: test 3"]
    assert "spirits" in repr(collection)


def test_title_and_text_are_joined_by_one_space_and_stripped() -> None:
    assert [document.full for document in DOCUMENTS] == [
        "Stills A pot still makes whisky in batches.",
        "A column still runs without a pause.",
        "Casks",
    ]


def compressed(folder: Path) -> None:
    for path in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        with gzip.open(f"{path}.gz", "wb") as handle:
            handle.write(path.read_bytes())
        path.unlink()


def tab_separated(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()
    rows = [f"{d.text}\t{d.id}\t{d.title}\n" for d in DOCUMENTS]
    (folder / "corpus.tsv").write_text("text\tid\ttitle\n" + "".join(rows))
    (folder / "queries.jsonl").unlink()
    (folder / "queries.tsv").write_text("q1\tbatch distillation\nq2\tageing in oak\n")


def parquet(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"_id": d.id, "title": d.title, "contents": d.text, "url": "unused"} for d in DOCUMENTS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "corpus.parquet", row_group_size=2)
    queries = [{"query_id": "q1", "query": "batch distillation"}, {"query_id": "q2", "query": "ageing in oak"}]
    parquet.write_table(pyarrow.Table.from_pylist(queries), folder / "queries.parquet")
    rows = [{"query-id": q, "corpus-id": d, "score": float(s)} for q, ds in QRELS.items() for d, s in ds.items()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "qrels" / "test.parquet")
    (folder / "corpus.jsonl").unlink()
    (folder / "queries.jsonl").unlink()
    (folder / "qrels" / "test.tsv").unlink()


def sharded(folder: Path) -> None:
    lines = (folder / "corpus.jsonl").read_text().splitlines(keepends=True)
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus").mkdir()
    (folder / "corpus" / "part-0.jsonl").write_text("".join(lines[:2]))
    (folder / "corpus" / "part-1.jsonl").write_text("".join(lines[2:]))


def trec(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels" / "test.qrels").write_text("q1 0 d1 2\nq1  0\td2 0\nq2 0 d3 1\n".replace("\t", " "))


def windows(folder: Path) -> None:
    for path in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")


FORMS = [compressed, tab_separated, parquet, sharded, trec, windows]


@pytest.mark.parametrize("rewrite", FORMS, ids=lambda f: f.__name__)
def test_every_form_gives_the_same_collection(beir: Path, rewrite: object) -> None:
    before = open_collection(beir)
    rewrite(beir)
    after = open_collection(beir)
    assert list(after.documents()) == DOCUMENTS
    assert after.queries == before.queries
    assert after.qrels("test") == QRELS
    assert after.notes.lines() == before.notes.lines()
    assert after.fingerprint() == before.fingerprint()


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.tsv", "corpus.parquet"])
def test_a_file_alone_is_a_corpus(beir: Path, name: str) -> None:
    if name.endswith("tsv"):
        tab_separated(beir)
    if name.endswith("parquet"):
        parquet(beir)
    collection = open_collection(beir / name)
    assert collection.name == "spirits"
    assert list(collection.documents()) == DOCUMENTS
    assert collection.queries == {}
    assert collection.splits == ()


def test_a_corpus_alone_in_a_folder_is_legal(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}')
    collection = open_collection(tmp_path)
    assert collection.document_count == 1
    assert collection.notes.lines() == ["1 document, 0 queries, judgments: none"]
    with pytest.raises(InputError, match="no split test: the collection has no judgments at all"):
        collection.qrels("test")
    with pytest.raises(InputError, match="no judgments"):
        open_collection(tmp_path, corpus_only_ok=False)


def test_queries_without_judgments_are_legal(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").unlink()
    collection = open_collection(beir)
    assert len(collection.queries) == 2
    assert collection.splits == ()
    assert collection.notes.findings == []


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\x0cfour"
    (tmp_path / "corpus.tsv").write_text(f"d1\t{text}\n", encoding="utf-8")
    assert [document.text for document in open_collection(tmp_path).documents()] == [text]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(TEXTS.filter(str.strip), st.tuples(TEXTS, TEXTS), min_size=1), st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: dict, ascii_only: bool) -> None:
    file = tmp_path_factory.mktemp("any") / "corpus.jsonl"
    documents = [Document(name, title, text) for name, (title, text) in rows.items()]
    lines = [json.dumps({"_id": d.id, "title": d.title, "text": d.text}, ensure_ascii=ascii_only) for d in documents]
    file.write_bytes("\n".join(lines).encode())
    collection = open_collection(file)
    assert list(collection.documents()) == documents
    assert list(collection.document_ids) == list(rows)
    assert collection.characters == sum(len(d.full) for d in documents)
    full = [d.full for d in documents if d.full]
    assert collection.notes.count("shared_texts") == len(full) - len(set(full))
    assert collection.notes.count("empty_documents") == len(documents) - len(full)


def test_lone_surrogates_become_the_replacement_character(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "a", "text": "\\ud83d\\ude00 whole"}\n{"_id": "b", "text": "cut \\ud83d off"}\n'
    )
    collection = open_collection(tmp_path)
    assert [document.text for document in collection.documents()] == ["\U0001f600 whole", "cut \ufffd off"]
    assert collection.notes.count("replacement_characters") == 1


def test_odd_things_are_kept_and_counted(beir: Path) -> None:
    append(beir / "corpus.jsonl", '{"_id": "d4", "title": " ", "text": "\\n"}\n{"_id": "d5", "text": ""}\n')
    append(
        beir / "corpus.jsonl", '{"_id": "d6", "title": null, "text": "Casks"}\n{"_id": "d7", "text": "caf\\ufffd"}\n'
    )
    append(beir / "queries.jsonl", '{"_id": "q3", "text": " "}\n{"_id": "q4", "text": "unjudged"}\n')
    append(beir / "qrels" / "test.tsv", "q1\td99\t1\nq9\td1\t1\nq1\td1\t2\nq3\td1\t0\n")
    (beir / "qrels" / "README.md").write_text("hello")
    collection = open_collection(beir)
    counts = {(f.kind, f.split): (f.count, f.examples) for f in collection.notes.findings}
    assert counts == {
        ("unread_files", None): (1, ["README.md"]),
        ("empty_queries", None): (1, ["q3"]),
        ("empty_documents", None): (2, ["d4", "d5"]),
        ("replacement_characters", None): (1, ["d7"]),
        ("shared_texts", None): (1, ["d6"]),
        ("missing_documents", "test"): (1, ["d99"]),
        ("unknown_queries", "test"): (1, ["q9"]),
        ("repeated_judgments", "test"): (1, ["q1 d1"]),
        ("no_relevant_document", "test"): (1, ["q3"]),
        ("unjudged_queries", None): (1, ["q4"]),
    }
    assert collection.document_count == 7
    assert collection.qrels("test") == {**QRELS, "q3": {"d1": 0}}
    assert collection.notes.judgments == {"test": 4}
    assert any("d99" in line and "dropped" in line and "test" in line for line in collection.notes.lines())
    assert json.loads(json.dumps(collection.notes.as_dict()))["findings"][0]["count"] == 1


def test_only_the_first_examples_are_kept(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("".join(f'{{"_id": "{i}", "text": "same"}}\n' for i in range(20)))
    (finding,) = open_collection(tmp_path).notes.findings
    assert (finding.count, finding.examples) == (19, ["1", "2", "3", "4", "5"])
    assert finding.line().endswith("19 (1, 2, 3, 4, 5, ...)")


def test_the_fingerprint_follows_every_part(beir: Path) -> None:
    seen = {open_collection(beir).fingerprint()}
    for path, old, new in [
        ("corpus.jsonl", "batches", "batch"),
        ("corpus.jsonl", '"Stills", "text": "A pot', '"Stills A", "text": "pot'),
        ("corpus.jsonl", "d2", "D2"),
        ("queries.jsonl", "oak", "ash"),
        ("qrels/test.tsv", "q2\td3\t1", "q2\td3\t2"),
    ]:
        file = beir / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        if old == "d2":
            (beir / "qrels" / "test.tsv").write_text((beir / "qrels" / "test.tsv").read_text().replace("d2", "D2"))
        seen.add(open_collection(beir).fingerprint())
    assert len(seen) == 6


def test_a_corpus_that_changes_underway_is_noticed(beir: Path) -> None:
    collection = open_collection(beir)
    lines = (beir / "corpus.jsonl").read_text().splitlines(keepends=True)
    for changed in ([lines[1], lines[0], lines[2]], lines[:2], [*lines, '{"_id": "d4", "text": ""}']):
        (beir / "corpus.jsonl").write_text("".join(changed))
        with pytest.raises(InputError, match="changed since"):
            list(collection.documents())


def test_home_is_expanded(beir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(beir.parent))
    assert open_collection("~/spirits").document_count == 3


def test_importing_is_light() -> None:
    code = (
        "import sys, potstill.collection; print(sorted({'pyarrow', 'datasets', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_texts_of_all_documents_or_of_some_in_the_collections_order(beir: Path) -> None:
    collection = open_collection(beir)
    whole = [document.full for document in collection.documents()]
    assert list(collection.texts()) == whole
    last = len(whole) - 1
    assert list(collection.texts([last, 0])) == [whole[0], whole[last]]
    assert list(collection.texts([])) == []
