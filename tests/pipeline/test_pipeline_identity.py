"""A run is resumed only as itself: whatever would change the result is seen by its contents, not by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from loopback_service import running
from pipeline_runs import lines, quick_run
from sentence_transformers import SentenceTransformer

from potstill.candidates import assemble
from potstill.errors import InputError
from potstill.pipeline import assess
from potstill.pipeline.vectors import Vectors
from potstill.recipe import CandidatesSpec, EvaluateSpec, TeacherSpec
from potstill.training.data import ArrayVectors
from tiny import make_tiny_collection, make_tiny_encoder


def test_another_model_in_the_teachers_folder(tmp_path: Path, tiny_collection: Path, signals: Path):
    teacher, run = make_tiny_encoder(tmp_path / "teacher"), tmp_path / "run"
    quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals)
    shutil.rmtree(teacher)
    make_tiny_encoder(teacher, seed=7)
    with pytest.raises(InputError, match="different one: teacher was"):
        quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals, resume=True)


def test_other_lines_in_the_file_of_queries(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    file, run = tmp_path / "queries.txt", tmp_path / "run"
    settings = [f"queries.files=[{file}]"]
    file.write_text("\n".join(f"barley still {number}" for number in range(40)))
    quick_run(run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings)
    file.write_text("\n".join(f"sail wind {number}" for number in range(40)))
    with pytest.raises(InputError, match="training queries was"):
        quick_run(
            run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings, resume=True
        )


def test_a_split_that_was_trained_on_is_not_evaluated_afterwards(tmp_path: Path, tiny_encoder: Path, signals: Path):
    """The queries of `dev` were training queries; a resume that evaluates on them would flatter the student."""
    collection = make_tiny_collection(tmp_path / "three", splits=("train", "dev", "test"))
    run, capped = tmp_path / "run", "queries.cap=40"  # so that the number of training queries stays the same
    quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals, settings=[capped])
    other = [capped, "evaluate.split=dev"]
    with pytest.raises(InputError, match="training queries was"):
        quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals, settings=other, resume=True)
    again = [capped, "evaluate.measures=[P@5]"]  # what is measured may change
    found = quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals, settings=again, resume=True)
    assert list(found["systems"]["student"]) == ["P@5"]


@pytest.mark.parametrize(("metric", "nearest"), [("dot", [0, 1]), ("cosine", [1, 2])])
def test_documents_are_mined_as_the_teacher_compares(metric: str, nearest: list[int]):
    documents = np.array([[10.0, 10.0], [2.0, 0.0], [1.0, 0.1], [0.0, 9.0]], dtype=np.float32)
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    mined = assemble(
        CandidatesSpec(count=2),
        query_ids=["asked"],
        query_texts=["asked"],
        query_vectors=queries,
        documents=Vectors(ArrayVectors(documents), np.arange(4)),
        document_ids=list("abcd"),
        document_texts=lambda: iter(["first", "second", "third", "fourth"]),
        positives={},
        metric=metric,  # type: ignore[arg-type]
        seed=0,
    )
    assert mined.rows.tolist() == [nearest]


def test_dev_measures_over_a_corpus_that_is_not_held(
    tmp_path: Path, tiny_encoder: Path, signals: Path, monkeypatch: pytest.MonkeyPatch
):
    collection = make_tiny_collection(tmp_path / "three", splits=("train", "dev", "test"))
    settings = ["training.select=dev", "evaluate.split=dev"]
    found = []
    for most in (20_000, 5):
        monkeypatch.setattr("potstill.pipeline.fitting._VALIDATION_DOCUMENTS", most)
        run = tmp_path / str(most)
        quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals, settings=settings)
        found.append([line["validation"] for line in lines(run / "metrics.jsonl") if "validation" in line])
    assert found[0] == found[1]


def test_documents_that_the_student_cuts_are_told(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path, capsys: pytest.CaptureFixture[str]
):
    quick_run(
        tmp_path / "run",
        collection=tiny_collection,
        teacher=tiny_encoder,
        signals=signals,
        settings=["student.max_length=4"],
        towers="shared",
    )
    assert "documents are cut at the student's maximum length" in capsys.readouterr().err


def test_evaluating_on_queries_that_were_trained_on_is_told(
    tmp_path: Path, tiny_encoder: Path, signals: Path, capsys: pytest.CaptureFixture[str]
):
    collection = make_tiny_collection(tmp_path / "three", splits=("train", "dev", "test"))
    run = tmp_path / "run"
    quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals)
    spec = TeacherSpec(model=str(tiny_encoder))
    for split, told in (("test", False), ("dev", True)):
        capsys.readouterr()
        measured = EvaluateSpec(split=split, cost=False)
        assess(str(collection), spec, str(run), tmp_path / f"{split}.json", spec=measured, signals=signals)
        assert ("was trained on" in capsys.readouterr().err) is told


def test_keys_in_an_address_stay_in_the_users_own_recipe(tmp_path: Path, tiny_collection: Path):
    run = tmp_path / "run"
    with running() as service:
        url = service.url.replace("://", "://user:geheim1@") + "/v1?key=geheim2"
        quick_run(
            run,
            collection=tiny_collection,
            teacher={"url": url, "model": "any"},
            signals=tmp_path / "signals",
            settings=["student.vocabulary_size=100"],
        )
    files = [path for path in [*run.rglob("*"), *(tmp_path / "signals").rglob("*")] if path.is_file()]
    assert [path.name for path in files if b"geheim" in path.read_bytes()] == ["recipe.yaml"]


def test_a_student_for_a_cosine_index_says_cosine(tmp_path: Path, tiny_collection: Path, signals: Path):
    """Also where the teacher's vectors, and so its own, are not of length 1: an inner product would rank otherwise."""
    teacher = make_tiny_encoder(tmp_path / "teacher", normalize=False, similarity="cosine")
    run = tmp_path / "run"
    quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals)
    assert SentenceTransformer(str(run / "student"), device="cpu").similarity_fn_name == "cosine"
