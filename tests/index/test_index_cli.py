"""Build, search and check from the command line, on a tiny collection and a tiny teacher, mistakes included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from potstill.cli import run
from potstill.evaluation import read_run
from potstill.index import open_index

pytest.importorskip("faiss", reason="faiss-cpu is not installed")
pytest.importorskip("lancedb", reason="lancedb is not installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A collection, two teachers and the indexes of the first: (folder)."""
    from tiny import make_tiny_collection, make_tiny_encoder

    home = tmp_path_factory.mktemp("index-cli")
    make_tiny_collection(home / "docs", documents=300, queries=40)
    make_tiny_encoder(home / "teacher")
    make_tiny_encoder(home / "other", seed=5)
    make_tiny_encoder(home / "raw", normalize=False, similarity="dot")
    make_tiny_encoder(home / "narrow", dim=16)
    # The teacher with other weights of little account: a student of the same space, near it and not the same.
    nearly_the_teacher(home / "teacher", home / "student")
    for kind in ("exact", "faiss-hnsw"):
        made = run([*build(home, kind), "--out", str(home / kind), *(["--set", "ef_search=4"] * ("hnsw" in kind))])
        assert made == 0
    return home


def nearly_the_teacher(teacher: Path, student: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(teacher, student)
    file = next(student.rglob("model.safetensors"))
    weights, chance = load_file(file), np.random.default_rng(0)
    for name, values in weights.items():
        if name.endswith("word_embeddings.weight"):
            weights[name] = (values + 0.03 * chance.normal(size=values.shape)).astype(np.float32)
    save_file(weights, file, metadata={"format": "pt"})


def build(home, kind, teacher="teacher"):
    where = ["--collection", str(home / "docs"), "--teacher", str(home / teacher), "--signals", str(home / "signals")]
    return ["index", "build", *where, "--kind", kind]


def check(home, index, *more, teacher="teacher", collection="docs"):
    where = ["--index", str(index), "--teacher", str(home / teacher), "--signals", str(home / "signals")]
    return run(["index", "check", *where, *(["--collection", str(home / collection)] if collection else []), *more])


def test_a_built_index_says_what_it_is(home):
    about = json.loads((home / "faiss-hnsw" / "index.json").read_text())
    assert (about["kind"], about["metric"], about["count"], about["dimensions"]) == ("faiss-hnsw", "cosine", 300, 32)
    assert about["settings"] == {"m": 32, "ef_construction": 200, "ef_search": 4, "threads": 1}
    assert about["teacher"]["digest"] in {path.name.rpartition(".")[2] for path in (home / "signals").iterdir()}
    assert list(open_index(home / "faiss-hnsw").ids) == [f"d{number}" for number in range(300)]


def test_check_of_a_student_end_to_end(home, capsys):
    out = home / "check.json"
    assert check(home, home / "faiss-hnsw", "--student", str(home / "student"), "--out", str(out)) == 0
    told, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "verdict  compatible" in told
    assert "extra effort: the student reaches" in told
    assert found["compatible"]
    assert found["probe"]["sampled"] == 64
    assert found["probe"]["cosine_least"] > 0.999
    student = found["student"]
    assert student["queries"] == 20
    assert 0.3 < student["overlap"]["value"] < 1
    assert [rung["effort"] for rung in student["rungs"]] == [1, 2, 4, 8, 16, 32, 64]
    recalls = [rung["student"]["value"] for rung in student["rungs"]]
    assert recalls[0] < recalls[-1] == 1.0
    assert student["extra"]["default"] == 4
    measures = student["measures"]["nDCG@10"]
    assert {*measures} == {f"{who}, {how}" for who in ("teacher", "student") for how in ("exact", "index")} | {
        "student, extra effort"
    }


def test_the_teacher_as_its_own_student_loses_nothing(home, tmp_path):
    assert check(home, home / "exact", "--student", str(home / "teacher"), "--out", str(tmp_path / "c.json")) == 0
    student = json.loads((tmp_path / "c.json").read_text())["student"]
    assert student["overlap"]["value"] > 0.99
    measures = student["measures"]["nDCG@10"]
    assert measures["student, exact"] == pytest.approx(measures["teacher, exact"], abs=0.02)


def test_check_finds_another_model(home, capsys, tmp_path):
    assert check(home, home / "exact", "--out", str(tmp_path / "c.json"), teacher="other") == 1
    assert "these vectors are of another model: mean cosine" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["compatible"] is False


def test_check_finds_a_student_of_another_space(home, capsys):
    assert check(home, home / "exact", "--student", str(home / "other")) == 1
    assert "INCOMPATIBLE: the student is of another space" in capsys.readouterr().out


def test_check_finds_other_widths(home, capsys):
    assert check(home, home / "exact", teacher="narrow") == 1
    assert "the index holds vectors of 32 numbers, the teacher gives 16" in capsys.readouterr().out
    assert check(home, home / "exact", "--student", str(home / "narrow")) == 1
    assert "the student gives 16 numbers a query, the index holds 32" in capsys.readouterr().out


def as_files(home, folder, *, vectors=None, ids=None):
    """The exact index as .npy and ids."""
    index = open_index(home / "exact")
    np.save(folder / "v.npy", np.concatenate(list(index.vectors())) if vectors is None else vectors)
    (folder / "ids.txt").write_text("\n".join(ids or index.ids) + "\n")
    return folder / "v.npy"


def test_check_finds_shuffled_ids(home, tmp_path, capsys):
    ids = list(open_index(home / "exact").ids)
    assert check(home, as_files(home, tmp_path, ids=[*ids[1:], ids[0]])) == 1
    assert "the ids are not in the order of the vectors" in capsys.readouterr().out


def test_check_finds_ids_that_the_collection_lacks(home, tmp_path, capsys):
    ids = list(open_index(home / "exact").ids)
    assert check(home, as_files(home, tmp_path, ids=[*ids[:-2], "x1", "x2"])) == 1
    told = capsys.readouterr().out
    assert "ids of the index that the collection lacks: 2 of 300 ('x1', 'x2')" in told
    assert "2 of 300 documents are not in the index" in told


def test_check_finds_lengths_that_are_gone(home, tmp_path, capsys):
    assert run([*build(home, "exact", "raw"), "--out", str(tmp_path / "raw")]) == 0
    assert check(home, tmp_path / "raw", teacher="raw") == 0
    vectors = np.concatenate(list(open_index(tmp_path / "raw").vectors()))
    path = as_files(home, tmp_path, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    capsys.readouterr()
    assert check(home, path, "--metric", "dot", teacher="raw") == 1
    assert "stored vectors are normalised, the teacher's are not" in capsys.readouterr().out


def test_check_without_a_collection_proves_little_and_says_so(home, tmp_path, capsys):
    (tmp_path / "q.txt").write_text("barley mash and yeast\n\nplanet orbit\n")
    more = ["--student", str(home / "student"), "--queries", str(tmp_path / "q.txt")]
    assert check(home, home / "exact", *more, collection=None) == 0
    told = capsys.readouterr().out
    assert "give --collection to prove" in told
    assert "nothing speaks against it" in told
    assert "2 queries" in told


def test_vectors_of_any_index_are_built_anew(home, tmp_path, capsys):
    built = ["index", "build", "--vectors", str(home / "exact"), "--kind", "faiss-flat", "--out", str(tmp_path / "f")]
    assert run(built) == 0
    assert check(home, tmp_path / "f" / "index.faiss", "--ids", str(as_files(home, tmp_path).parent / "ids.txt")) == 0
    assert check(home, tmp_path / "f") == 0


def test_search_prints_and_writes_rankings(home, tmp_path, capsys):
    student = ["--index", str(home / "exact"), "--student", str(home / "student")]
    more = ["--query", "barley mash", "-k", "3", "--collection", str(home / "docs")]
    assert run(["index", "search", *student, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "query 1: barley mash"
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "2", "3"]
    assert len(lines[1].split("\t")) == 4
    (tmp_path / "q.jsonl").write_text('{"_id": "a", "text": "barley mash"}\n{"id": 7, "text": "planet orbit"}\n')
    written = ["--queries", str(tmp_path / "q.jsonl"), "--run", str(tmp_path / "run.trec"), "-k", "5"]
    assert run(["index", "search", *student, *written]) == 0
    found = read_run(tmp_path / "run.trec")
    assert {query: len(ranked) for query, ranked in found.items()} == {"a": 5, "7": 5}
    assert found["a"][0][0] == lines[1].split("\t")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "--kind", "exact", "--out", "X"], "from a teacher or from vectors"),
        (["build", "--kind", "exact", "--out", "X", "--teacher", "T"], "there are no documents to encode"),
        (["build", "--kind", "hnsw", "--out", "X", "--vectors", "I"], "there is no kind of index 'hnsw'"),
        (["build", "--kind", "exact", "--out", "X", "--vectors", "I", "--set", "m=3"], "exact has no setting 'm'"),
        (["build", "--kind", "exact", "--out", "X", "--vectors", "I", "--metric", "dto"], "there is no metric 'dto'"),
        (["build", "--kind", "exact", "--out", "C", "--vectors", "I"], "this is there already, and no index"),
        (["build", "--kind", "exact", "--out", "X", "--vectors", "I", "--metric", "dot"], "compares by cosine, not"),
        (["search", "--index", "I", "--student", "T"], "there is nothing to search for"),
        (["search", "--index", "I", "--student", "T", "--query", "a", "--effort", "3"], "and has no effort"),
        (["search", "--index", "I", "--student", "N", "--query", "a"], "have 16 numbers, those of the index 32"),
        (["search", "--index", "C", "--student", "T", "--query", "a"], "there is no index here"),
        (["check", "--index", "I", "--teacher", "T", "--student", "T"], "there are no queries to compare"),
        (["check", "--index", "I", "--teacher", "T", "--ids", "C"], "this index has ids of its own"),
        (["check", "--index", "I", "--teacher", "T", "--set", "m=1"], "is no key below teacher"),
        (["check", "--index", "I", "--teacher", "T", "--out", "C"], "this is no place for a file"),
        (["check", "--index", "I", "--teacher", "T", "--collection", "C", "--student", "T", "--split", "dev"], "dev"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(home, tmp_path, capsys, arguments, said):
    names = {"X": tmp_path / "x", "T": home / "teacher", "I": home / "exact", "C": home / "docs", "N": home / "narrow"}
    assert run(["index", *(str(names.get(word, word)) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "What to do:" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.jsonl", '{"_id": "a"}\n', "q.jsonl:1"),
        ("q.tsv", "a\tone\na\ttwo\n", "query 'a' comes twice"),
        ("q.txt", "\n\n", "the file holds no queries"),
    ],
)
def test_queries_that_cannot_be_read(home, tmp_path, capsys, name, text, said):
    (tmp_path / name).write_text(text)
    arguments = ["--index", str(home / "exact"), "--student", str(home / "student"), "--queries", str(tmp_path / name)]
    assert run(["index", "search", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_rankings_are_tables_on_a_terminal(home, capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    student = ["--index", str(home / "exact"), "--student", str(home / "student")]
    assert run(["index", "search", *student, "--query", "barley [bold]mash", "-k", "2"]) == 0
    told = capsys.readouterr().out
    assert "barley [bold]mash" in told
    assert "score" in told


def test_a_lossy_file_is_compared_loosely(home, tmp_path, capsys):
    made = ["index", "build", "--vectors", str(home / "exact"), "--kind", "faiss-ivfpq", "--set", "m_pq=8"]
    assert run([*made, "--out", str(tmp_path / "pq")]) == 0
    ids = ["--ids", str(as_files(home, tmp_path).parent / "ids.txt")]
    capsys.readouterr()
    assert check(home, tmp_path / "pq" / "index.faiss", *ids) == 0
    assert "compared loosely" in capsys.readouterr().out
    assert check(home, tmp_path / "pq" / "index.faiss", *ids, teacher="other") == 1
    # What is kept beside the quantised vectors is exact, and so is its comparison.
    assert check(home, tmp_path / "pq") == 0
    assert "compared loosely" not in capsys.readouterr().out.rpartition("index    ")[2]
    file = tmp_path / "pq" / "index.faiss"
    assert run(["index", "build", "--vectors", str(file), *ids, "--kind", "exact", "--out", str(tmp_path / "x")]) == 0
    assert "gives back approximations" in capsys.readouterr().err
    assert json.loads((tmp_path / "x" / "index.json").read_text())["vectors"]["lossy"] is True


def test_a_student_with_an_index_head_fits_its_own_index(home, tmp_path, capsys):
    from potstill.pipeline import distill
    from potstill.recipe import load_recipe

    settings = ["index.width=8", "index.updates=20", "index.batch=16", "queries.cap=80", "training.epochs=1"]
    flags = {"collection": str(home / "docs"), "teacher": str(home / "teacher"), "student": "static"}
    recipe = load_recipe(None, flags=flags, settings=[*settings, "evaluate.cost=false", "evaluate.measures=[R@100]"])
    distill(recipe, tmp_path / "run", signals=home / "signals")
    student = ["--student", str(tmp_path / "run")]
    capsys.readouterr()
    assert check(home, tmp_path / "run" / "index" / "vectors.npy", *student) == 0
    assert "through the student's head: 8 numbers" in capsys.readouterr().out
    assert check(home, home / "exact", *student) == 1
    assert "the index holds vectors of 32 numbers, the teacher gives 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--set", "nlist=0"], "no whole number"), (["--set", "m_pq=5"], "m_pq=5 does not divide")],
)
def test_wrong_settings_are_told_before_anything_is_encoded(home, tmp_path, capsys, more, said):
    arguments = build(home, "faiss-ivfpq", "other")
    arguments[arguments.index("--signals") + 1] = str(tmp_path / "signals")
    assert run([*arguments, "--out", str(tmp_path / "i"), *more]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
