"""One process at a time in a run's folder; refused runs leave no trace."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from potstill.errors import InputError, PotstillError
from potstill.pipeline.runfolder import Record, claimed, machine, recorded, versions
from potstill.recipe import Recipe, load_recipe


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(None, flags={"collection": "c", "teacher": "t"})


def fail(run: Path, recipe: Recipe, error: BaseException, *, resume: bool = False, write: str = "") -> None:
    def started() -> None:
        with claimed(run, recipe, resume=resume):
            if write:
                (run / write).write_text("work")
            raise error

    with pytest.raises(type(error)):
        started()


def test_a_run_holds_its_folder_and_lets_it_go(tmp_path: Path, recipe: Recipe):
    run = tmp_path / "a" / "run"
    with claimed(run, recipe, resume=False):
        assert load_recipe(run / "recipe.yaml") == recipe
        for resume in (False, True):
            with pytest.raises(InputError, match="another process"):
                with claimed(run, recipe, resume=resume):
                    pass
        assert (run / ".lock").exists(), "who was refused must not let go what another holds"
    assert os.listdir(run) == ["recipe.yaml"]
    with claimed(run, recipe, resume=True):
        pass
    assert recorded(run)["collection"] == "c"


def test_a_refused_run_leaves_no_folder(tmp_path: Path, recipe: Recipe):
    fail(tmp_path / "a" / "b" / "run", recipe, InputError("no"))
    assert not list(tmp_path.iterdir())


def test_a_refused_run_leaves_folders_that_were_there(tmp_path: Path, recipe: Recipe):
    (tmp_path / "run").mkdir()
    fail(tmp_path / "run", recipe, InputError("no"))
    assert not list((tmp_path / "run").iterdir())


def test_work_that_was_done_is_kept(tmp_path: Path, recipe: Recipe):
    fail(tmp_path / "run", recipe, InputError("no"), write="metrics.jsonl")
    assert sorted(os.listdir(tmp_path / "run")) == ["metrics.jsonl", "recipe.yaml"]


@pytest.mark.parametrize("error", [PotstillError("the disk is full"), KeyboardInterrupt()])
def test_what_may_be_resumed_is_kept(error: BaseException, tmp_path: Path, recipe: Recipe):
    fail(tmp_path / "run", recipe, error)
    assert os.listdir(tmp_path / "run") == ["recipe.yaml"]
    with claimed(tmp_path / "run", recipe, resume=True):
        pass


def test_a_refused_resume_puts_the_recipe_back(tmp_path: Path, recipe: Recipe):
    run = tmp_path / "run"
    with claimed(run, recipe, resume=False):
        pass
    other = recipe.model_copy(update={"collection": "other"})
    fail(run, other, InputError("this run was a different one"), resume=True)
    assert load_recipe(run / "recipe.yaml") == recipe
    with claimed(run, other, resume=True):
        pass
    assert load_recipe(run / "recipe.yaml") == other


def test_what_is_refused(tmp_path: Path, recipe: Recipe):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for run, resume, words in (
        (tmp_path / "full", False, "not empty"),
        (tmp_path / "full", True, "no run to resume"),
        (tmp_path / "new", True, "no run to resume"),
        (tmp_path / "full" / "file", False, "cannot write"),
        (tmp_path / "full" / "file" / "run", False, "cannot write"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            with claimed(run, recipe, resume=resume):
                raise AssertionError("not to be reached")
        assert caught.value.fix
    assert sorted(os.listdir(tmp_path)) == ["full"]
    assert os.listdir(tmp_path / "full") == ["file"]


def test_a_lock_left_by_a_killed_process_does_not_matter(tmp_path: Path, recipe: Recipe):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").write_text("")
    with claimed(run, recipe, resume=False):
        assert (run / "recipe.yaml").read_text(encoding="utf-8") == recipe.to_yaml()


def test_a_lock_removed_under_our_hands_is_taken_anew(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    """The last holder removes the file between our opening and our locking it: that lock would protect nothing."""
    run, real, calls = tmp_path / "run", fcntl.flock, []

    def flock(handle: object, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            (run / ".lock").unlink()
        real(handle, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(run, recipe, resume=False):
        assert len(calls) == 2
        assert (run / ".lock").exists()


def test_recorded_names_what_is_wrong(tmp_path: Path):
    for name, content in (("none", None), ("list", b"- a\n"), ("broken", b"a: [\n"), ("latin", b"caf\xe9: 1\n")):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "recipe.yaml").write_bytes(content)
        with pytest.raises(InputError) as caught:
            recorded(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.fix


def test_record_times_stages_and_knows_the_machine(tmp_path: Path):
    record = Record(tmp_path, seed=3)
    with record.timed("teacher"):
        pass
    with record.timed("teacher"):
        pass
    record.write()
    assert record.data["seconds"].keys() == {"teacher", "total"}
    assert (tmp_path / "run.json").is_file()
    assert machine()["cores"] >= 1
    assert {"torch", "numpy"} <= versions().keys()
