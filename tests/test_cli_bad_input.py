"""The table of what users get wrong: each ends in exit code 2, names the place and the remedy, and leaves nothing."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from potstill.cli import run
from potstill.signals import Fingerprint, SignalStore, import_vectors
from potstill.signals.shard import forget_checks
from tiny import make_tiny_encoder


@dataclass
class Desk:
    """What a user has: a whole collection, a whole teacher, an empty store, and a name for the run."""

    folder: Path
    collection: Path
    teacher: Path

    @property
    def out(self) -> Path:
        return self.folder / "runs" / "mine"

    @property
    def signals(self) -> Path:
        return self.folder / "signals"

    def distill(self, *more: str, **changed: str | None) -> list[str]:
        options: dict[str, str | None] = {
            "collection": str(self.collection),
            "teacher": str(self.teacher),
            "out": str(self.out),
            "signals": str(self.signals),
        }
        named = [part for key, value in (options | changed).items() if value for part in (f"--{key}", value)]
        return ["distill", *named, "--set", "queries.cap=60", "--set", "training.epochs=1", *more]

    def recipe(self, content: str | bytes) -> list[str]:
        path = self.folder / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["distill", str(path), "--out", str(self.out), "--signals", str(self.signals)]

    def rewrite(self, name: str, change: Callable[[list[str]], list[str]]) -> None:
        path = self.collection / name
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


@pytest.fixture
def desk(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path) -> Desk:
    return Desk(tmp_path, Path(shutil.copytree(tiny_collection, tmp_path / "collection")), tiny_encoder)


Case = Callable[[Desk], list[str]]
CASES: list[tuple[str, str, Case]] = []


def case(place: str) -> Callable[[Case], Case]:
    """Put a case on the table; `place` must be named in the message."""

    def added(make: Case) -> Case:
        CASES.append((make.__name__, place, make))
        return make

    return added


# Collections


@case("nowhere")
def collection_is_not_there(desk: Desk) -> list[str]:
    return desk.distill(collection=str(desk.folder / "nowhere"))


@case("collection")
def collection_without_corpus(desk: Desk) -> list[str]:
    (desk.collection / "corpus.jsonl").unlink()
    return desk.distill()


@case("corpus.jsonl:3")
def collection_with_malformed_json(desk: Desk) -> list[str]:
    desk.rewrite("corpus.jsonl", lambda rows: [*rows[:2], rows[2][:-5], *rows[3:]])
    return desk.distill()


@case("corpus.jsonl:31")
def collection_with_a_repeated_id(desk: Desk) -> list[str]:
    desk.rewrite("corpus.jsonl", lambda rows: [*rows, rows[4]])
    return desk.distill()


@case("corpus.jsonl:2")
def collection_not_utf8(desk: Desk) -> list[str]:
    path = desk.collection / "corpus.jsonl"
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b'\n{"_id": "latin", "text": "caf\xe9"}\n' + rest)
    return desk.distill()


@case("corpus")
def collection_that_is_empty(desk: Desk) -> list[str]:
    (desk.collection / "corpus.jsonl").write_text("")
    return desk.distill()


@case("corpus.jsonl:1")
def collection_without_texts(desk: Desk) -> list[str]:
    (desk.collection / "corpus.jsonl").write_text('{"_id": "a", "words": "none"}\n')
    return desk.distill()


@case("corpus.jsonl.gz")
def collection_with_half_a_gzip(desk: Desk) -> list[str]:
    path = desk.collection / "corpus.jsonl"
    whole = gzip.compress(path.read_bytes())
    (desk.collection / "corpus.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    path.unlink()
    return desk.distill()


@case("several")
def collection_with_two_corpora(desk: Desk) -> list[str]:
    (desk.collection / "corpus.tsv").write_text("_id\ttext\na\tb\n")
    return desk.distill()


@case("queries.jsonl:1")
def collection_with_numbers_as_ids(desk: Desk) -> list[str]:
    (desk.collection / "queries.jsonl").write_text('{"_id": 1, "text": "one"}\n')
    return desk.distill()


@case("corpus.jsonl")
def collection_too_small_to_train_on(desk: Desk) -> list[str]:
    shutil.rmtree(desk.collection / "qrels")
    (desk.collection / "queries.jsonl").unlink()
    (desk.collection / "corpus.jsonl").write_text('{"_id": "a", "text": "wind"}\n')
    return desk.distill(collection=str(desk.collection / "corpus.jsonl"))


# Judgments


@case("queries.jsonl")
def judgments_without_queries(desk: Desk) -> list[str]:
    (desk.collection / "queries.jsonl").unlink()
    return desk.distill()


@case("there is no split dev")
def judgments_of_no_such_split(desk: Desk) -> list[str]:
    return desk.distill("--set", "evaluate.split=dev")


@case("there is no split test")
def judgments_without_a_test_split(desk: Desk) -> list[str]:
    (desk.collection / "qrels" / "test.tsv").unlink()
    return desk.distill()


@case("test.tsv:2")
def judgments_with_a_word_as_grade(desk: Desk) -> list[str]:
    desk.rewrite("qrels/test.tsv", lambda rows: [rows[0], rows[1].rpartition("\t")[0] + "\tgood", *rows[2:]])
    return desk.distill()


@case("test.tsv:26")
def judgments_that_contradict(desk: Desk) -> list[str]:
    desk.rewrite("qrels/test.tsv", lambda rows: [*rows, rows[1].rpartition("\t")[0] + "\t0"])
    return desk.distill()


@case("test.tsv")
def judgments_of_documents_that_are_not_there(desk: Desk) -> list[str]:
    desk.rewrite("qrels/test.tsv", lambda rows: [rows[0], *(row.replace("\td", "\tgone") for row in rows[1:])])
    return desk.distill()


@case("test.tsv:2")
def judgments_with_a_column_too_few(desk: Desk) -> list[str]:
    desk.rewrite("qrels/test.tsv", lambda rows: [rows[0], rows[1].rpartition("\t")[0], *rows[2:]])
    return desk.distill()


@case("test.tsv:1")
def judgments_without_a_header(desk: Desk) -> list[str]:
    desk.rewrite("qrels/test.tsv", lambda rows: rows[1:])
    return desk.distill()


@case("there is no split dev")
def judgments_to_select_by_that_are_not_there(desk: Desk) -> list[str]:
    return desk.distill("--set", "training.select=dev")


@case("no judgments at all")
def judgments_needed_to_evaluate(desk: Desk) -> list[str]:
    shutil.rmtree(desk.collection / "qrels")
    common = ["--collection", str(desk.collection), "--teacher", str(desk.teacher), "--student", str(desk.teacher)]
    return ["evaluate", *common, "--out", str(desk.folder / "mine.json"), "--signals", str(desk.signals)]


# Recipes and options


@case("nowhere.yaml")
def recipe_is_not_there(desk: Desk) -> list[str]:
    return ["distill", str(desk.folder / "nowhere.yaml"), "--out", str(desk.out)]


@case("mine.yaml:2")
def recipe_that_is_not_yaml(desk: Desk) -> list[str]:
    return desk.recipe("collection: c\nteacher: [t\n")


@case("mine.yaml:4")
def recipe_with_an_unknown_key(desk: Desk) -> list[str]:
    return desk.recipe("collection: c\nteacher: t\ntraining:\n  epoch: 3\n")


@case("mine.yaml:3")
def recipe_with_a_wrong_value(desk: Desk) -> list[str]:
    return desk.recipe("collection: c\nteacher: t\ntowers: leaning\n")


@case("mine.yaml:3")
def recipe_with_a_key_twice(desk: Desk) -> list[str]:
    return desk.recipe("collection: c\nteacher: t\ncollection: d\n")


@case("mine.yaml:1")
def recipe_that_is_a_list(desk: Desk) -> list[str]:
    return desk.recipe("- collection\n- teacher\n")


@case("mine.yaml")
def recipe_not_utf8(desk: Desk) -> list[str]:
    return desk.recipe(b"collection: caf\xe9\n")


@case("`teacher` is missing")
def recipe_without_a_teacher(desk: Desk) -> list[str]:
    return desk.recipe("collection: c\n")


@case("--set training.epochs=none")
def recipe_setting_with_a_wrong_value(desk: Desk) -> list[str]:
    return desk.distill("--set", "training.epochs=none")


@case("--set training")
def recipe_setting_without_a_value(desk: Desk) -> list[str]:
    return desk.distill("--set", "training")


@case("--student")
def recipe_with_an_unreadable_student(desk: Desk) -> list[str]:
    return desk.distill(student="tiny:largexwide")


@case("nDCG@ten")
def recipe_with_an_unknown_measure(desk: Desk) -> list[str]:
    return desk.distill("--set", "evaluate.measures=[nDCG@ten]")


@case("evaluate.prefixes")
def recipe_with_prefixes_that_are_too_wide(desk: Desk) -> list[str]:
    return desk.distill("--set", "evaluate.prefixes=[8, 900]")


@case("queries.txt")
def recipe_with_a_missing_file_of_queries(desk: Desk) -> list[str]:
    return desk.distill("--set", f"queries.files=[{desk.folder / 'queries.txt'}]")


@case("--out")
def option_out_is_missing(desk: Desk) -> list[str]:
    return desk.distill(out=None)


@case("--colection")
def option_that_does_not_exist(desk: Desk) -> list[str]:
    return desk.distill("--colection", "c")


@case("distil")
def command_that_does_not_exist(desk: Desk) -> list[str]:
    return ["distil"]


@case("mine")
def nothing_to_resume(desk: Desk) -> list[str]:
    return desk.distill("--resume")


@case("a-file")
def output_below_a_file(desk: Desk) -> list[str]:
    (desk.folder / "a-file").write_text("")
    return desk.distill(out=str(desk.folder / "a-file" / "run"))


@case("a-file")
def output_is_a_file(desk: Desk) -> list[str]:
    (desk.folder / "a-file").write_text("")
    return desk.distill(out=str(desk.folder / "a-file"))


@case("no-folder")
def output_of_evaluate_in_no_folder(desk: Desk) -> list[str]:
    common = ["--collection", str(desk.collection), "--teacher", str(desk.teacher), "--student", str(desk.teacher)]
    return ["evaluate", *common, "--out", str(desk.folder / "no-folder" / "x.json"), "--signals", str(desk.signals)]


# Teachers


@case("no-model")
def teacher_is_not_there(desk: Desk) -> list[str]:
    return desk.distill(teacher=str(desk.folder / "no-model"))


@case("empty")
def teacher_folder_is_empty(desk: Desk) -> list[str]:
    (desk.folder / "empty").mkdir()
    return desk.distill(teacher=str(desk.folder / "empty"))


def own_teacher(desk: Desk) -> Path:
    return Path(shutil.copytree(desk.teacher, desk.folder / "own"))


@case("own")
def teacher_with_half_its_weights(desk: Desk) -> list[str]:
    path = own_teacher(desk)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    return desk.distill(teacher=str(path))


@case("own")
def teacher_without_a_tokenizer(desk: Desk) -> list[str]:
    path = own_teacher(desk)
    for file in [*path.glob("tokenizer*"), *path.glob("vocab*"), *path.glob("special*")]:
        file.unlink()
    return desk.distill(teacher=str(path))


@case("own")
def teacher_with_a_broken_config(desk: Desk) -> list[str]:
    path = own_teacher(desk)
    (path / "config.json").write_text("{")
    return desk.distill(teacher=str(path))


@case("127.0.0.1:9")
def teacher_service_that_nobody_runs(desk: Desk) -> list[str]:
    settings = ["--set", "teacher.url=http://127.0.0.1:9/v1", "--set", "teacher.retries=0"]
    return desk.distill(*settings, teacher="any")


def index(desk: Desk, *, rows: int = 30, ids: int = 30, width: int = 32, bad: float | None = None) -> list[str]:
    vectors = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if bad is not None:
        vectors[3, 1] = bad
    np.save(desk.folder / "index.npy", vectors)
    (desk.folder / "index.ids.txt").write_text("".join(f"d{i}\n" for i in range(ids)))
    return desk.distill("--set", f"teacher.index={desk.folder / 'index.npy'}")


@case("index")
def teacher_index_with_ids_too_few(desk: Desk) -> list[str]:
    return index(desk, ids=29)


@case("'d29'")
def teacher_index_without_a_document(desk: Desk) -> list[str]:
    return index(desk, rows=29, ids=29)


@case("row 3")
def teacher_index_that_is_not_finite(desk: Desk) -> list[str]:
    return index(desk, bad=float("nan"))


@case("index.npy")
def teacher_index_of_another_width(desk: Desk) -> list[str]:
    return index(desk, width=16)


@case("index.npy")
def teacher_index_that_is_no_array(desk: Desk) -> list[str]:
    command = index(desk)
    (desk.folder / "index.npy").write_bytes(b"\x93NUMPY and nothing else")
    return command


@case("dimensions")
def teacher_of_another_width_than_the_student(desk: Desk) -> list[str]:
    other = make_tiny_encoder(desk.folder / "narrow", dim=16)
    assert run(desk.distill("--set", "evaluate.cost=false", out=str(desk.folder / "theirs"))) == 0
    common = ["--collection", str(desk.collection), "--teacher", str(other), "--student", str(desk.folder / "theirs")]
    return ["evaluate", *common, "--out", str(desk.folder / "mine.json"), "--signals", str(desk.folder / "more")]


# Stores


@case("a-file")
def store_is_a_file(desk: Desk) -> list[str]:
    (desk.folder / "a-file").write_text("")
    return desk.distill(signals=str(desk.folder / "a-file"))


@case("a-file")
def store_below_a_file(desk: Desk) -> list[str]:
    (desk.folder / "a-file").write_text("")
    return desk.distill(signals=str(desk.folder / "a-file" / "signals"))


@case("nowhere")
def store_to_verify_is_not_there(desk: Desk) -> list[str]:
    return ["signals", "verify", "--signals", str(desk.folder / "nowhere")]


@case("nowhere")
def store_to_list_is_not_there(desk: Desk) -> list[str]:
    return ["signals", "ls", "--signals", str(desk.folder / "nowhere")]


def filled(desk: Desk) -> tuple[Path, list[str]]:
    """A table of imported vectors, and the command that checks it."""
    mark = Fingerprint("imported", "index.npy", "v1", "document", "", None, None, True, "float32", 4)
    table = SignalStore(desk.signals).vectors(mark)
    import_vectors(table, ["a", "b", "c"], np.eye(4, dtype=np.float32)[:3])
    forget_checks()
    return table.folder, ["signals", "verify", "--signals", str(desk.signals)]


@case("imported-")
def store_with_a_flipped_bit(desk: Desk) -> list[str]:
    folder, command = filled(desk)
    (shard,) = folder.glob("*.vectors.npy")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    return command


@case("imported-")
def store_with_half_a_shard(desk: Desk) -> list[str]:
    folder, command = filled(desk)
    (shard,) = folder.glob("*.vectors.npy")
    shard.write_bytes(shard.read_bytes()[:-8])
    return command


@case("imported-")
def store_without_a_shards_keys(desk: Desk) -> list[str]:
    folder, command = filled(desk)
    (keys,) = folder.glob("*.keys.npy")
    keys.unlink()
    return command


@case("table.json")
def store_with_a_damaged_table(desk: Desk) -> list[str]:
    folder, command = filled(desk)
    (folder / "table.json").write_text("{")
    return command


@case("imported-")
def store_with_a_manifest_that_is_not_one(desk: Desk) -> list[str]:
    folder, command = filled(desk)
    (manifest,) = (path for path in folder.glob("imported-*.json"))
    manifest.write_text(json.dumps({"rows": "many"}))
    return command


@pytest.mark.parametrize(("name", "place", "make"), CASES, ids=[name for name, _, _ in CASES])
def test_bad_input(
    name: str,
    place: str,
    make: Case,
    desk: Desk,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("POTSTILL_DEBUG", raising=False)
    monkeypatch.setenv("POTSTILL_HOME", str(desk.folder / "home"))
    command = make(desk)
    before = set(desk.folder.rglob("*"))
    capfd.readouterr()
    code = run(command)
    said = capfd.readouterr()
    assert code == 2, said.err
    told = said.err[said.err.index("potstill: ") :]
    assert place in told + said.out
    assert "What to do: " in told
    assert "Traceback" not in said.err
    assert "defect" not in told
    left = set(desk.folder.rglob("*")) - before
    assert not left, f"left behind: {sorted(map(str, left))}"


def test_the_table_is_long_enough():
    kinds = ("collection", "judgments", "recipe", "teacher", "store")
    for kind in kinds:
        assert sum(name.startswith(kind) for name, _, _ in CASES) >= 5, kind


def test_a_run_is_not_overwritten(desk: Desk, capfd: pytest.CaptureFixture[str]):
    desk.out.mkdir(parents=True)
    (desk.out / "thesis.txt").write_text("mine")
    assert run(desk.distill()) == 2
    assert "not empty" in capfd.readouterr().err
    assert [path.name for path in desk.out.iterdir()] == ["thesis.txt"]


def test_what_exists_stays_as_it_was(desk: Desk, capfd: pytest.CaptureFixture[str]):
    desk.out.mkdir(parents=True)
    assert run(desk.distill("--set", "evaluate.split=dev")) == 2
    assert not list(desk.out.iterdir())
    assert desk.out.is_dir()


def test_a_defect_is_called_one(desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("POTSTILL_DEBUG", raising=False)

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("potstill.api.load_recipe", broken)
    assert run(desk.distill()) == 1
    assert "defect of Potstill" in capfd.readouterr().err
    monkeypatch.setenv("POTSTILL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(desk.distill())
