"""Every kind of student and tower, end to end on a tiny teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline_runs import check_cost, check_run, lines, quick_run, read
from sentence_transformers import SentenceTransformer

import potstill
from potstill.errors import InputError
from potstill.queries import SOURCES


def test_static_run_leaves_all_that_is_promised(static_run):
    run, found = static_run
    record = check_run(run, found)
    assert {path.name for path in run.iterdir() if path.name.startswith("student-")} == {"student-packed"}
    check_cost(found["cost"], {"teacher", "student"})
    assert found["cost"]["student"]["parameters"] == record["student"]["parameters"]
    assert record["student"]["kind"] == "static"
    assert record["towers"] == "asymmetric"
    assert record["training"]["epochs"] == 2
    note = read(run / "student" / "potstill.json")
    assert note["teacher"]["model"]
    assert note["index"]
    assert note["towers"] == "asymmetric"
    assert "nDCG@10" in (run / "report.html").read_text(encoding="utf-8")
    assert "nDCG@10" in (run / "student" / "README.md").read_text(encoding="utf-8")


def test_parameters_and_bytes_count_every_stored_number(static_run):
    from safetensors.numpy import load_file

    run, found = static_run
    arrays = [array for file in (run / "student").rglob("*.safetensors") for array in load_file(file).values()]
    assert found["cost"]["student"]["parameters"] == sum(array.size for array in arrays)
    assert found["cost"]["student"]["bytes"] == sum(array.nbytes for array in arrays)


@pytest.mark.parametrize(
    ("student", "towers"),
    [
        ("static:8", "asymmetric"),
        ("layers:0", "asymmetric"),
        ("tiny:1x16", "asymmetric"),
        ("static", "shared"),
        ("layers:1", "shared"),
        ("static", "separate"),
        ("tiny:1x16", "separate"),
    ],
)
def test_kinds_and_towers(
    student: str, towers: str, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    run = tmp_path / "run"
    found = quick_run(
        run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, student=student, towers=towers
    )
    record = check_run(run, found)
    assert record["student"]["kind"] == student.partition(":")[0]
    assert (run / "student-documents").is_dir() == (towers == "separate")
    loaded = potstill.load(run)
    queries, documents = loaded.encode_queries(["copper still"]), loaded.encode_documents(["copper still"])
    assert queries.dtype == documents.dtype == np.float32
    assert queries.shape == documents.shape == (1, 32)
    own = {"shared": run / "student", "separate": run / "student-documents", "asymmetric": tiny_encoder}[towers]
    plain = SentenceTransformer(str(own), device="cpu").encode(["copper still"])
    assert np.allclose(documents, plain, atol=1e-5)


def test_any_model_as_student(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    from tiny import make_tiny_encoder

    other = make_tiny_encoder(tmp_path / "other", dim=16, layers=1, seed=5)
    found = quick_run(
        tmp_path / "run", collection=tiny_collection, teacher=tiny_encoder, signals=signals, student=str(other)
    )
    assert check_run(tmp_path / "run", found)["student"]["kind"] == "model"
    assert potstill.load(tmp_path / "run").dimensions == 32


@pytest.mark.parametrize("documents", ["batch", "sample", "mined", "all"])
def test_score_objectives(documents: str, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    scores = f"objectives=[match:l2, {{family: scores, documents: {documents}, count: 8, weight: 0.5}}]"
    run = tmp_path / "run"
    found = quick_run(run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=[scores])
    record = check_run(run, found)
    assert [spec["family"] for spec in record["objectives"]] == ["match", "scores"]
    terms = next(line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line)
    assert len(terms) == 2
    assert all(value > 0 for value in terms.values())


def test_scores_of_all_documents_need_frozen_ones(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    settings = ["objectives=[{family: scores, documents: all}]"]
    with pytest.raises(InputError, match="every document"):
        quick_run(
            tmp_path / "run",
            collection=tiny_collection,
            teacher=tiny_encoder,
            signals=signals,
            settings=settings,
            towers="shared",
        )
    assert not (tmp_path / "run").exists()


def test_matryoshka_prefixes(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    settings = ["objectives=[{family: match, form: l2, prefixes: [8, 16, 32]}]", "evaluate.prefixes=[8, 16]"]
    run = tmp_path / "run"
    found = quick_run(run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings)
    check_run(run, found)
    assert list(found["prefixes"]) == ["8", "16"]
    for row in found["prefixes"].values():
        assert set(row["retention"]) == set(found["retention"])
        assert 0 <= row["agreement"]["overlap@10"]["value"] <= 1
    assert {"student@8", "student@16"} <= set(found["systems"])


def test_packed_folder_has_both_routes(static_run, tiny_encoder: Path):
    run, _ = static_run
    packed = SentenceTransformer(str(run / "student-packed"), device="cpu")
    student = SentenceTransformer(str(run / "student"), device="cpu")
    teacher = SentenceTransformer(str(tiny_encoder), device="cpu")
    texts = ["wind and sail", "the blood of a patient"]
    assert np.allclose(packed.encode_query(texts), student.encode(texts), atol=1e-6)
    assert np.allclose(packed.encode(texts), student.encode(texts), atol=1e-6)
    assert np.allclose(packed.encode_document(texts), teacher.encode(texts), atol=1e-6)


def test_selection_by_dev_measures(tmp_path: Path, tiny_encoder: Path, signals: Path):
    from tiny import make_tiny_collection

    collection = make_tiny_collection(tmp_path / "three", splits=("train", "dev", "test"))
    run = tmp_path / "run"
    settings = ["training.select=dev", "evaluate.split=dev"]
    found = quick_run(run, collection=collection, teacher=tiny_encoder, signals=signals, settings=settings)
    record = check_run(run, found)
    assert found["split"] == "dev"
    assert "dev nDCG@10" in lines(run / "metrics.jsonl")[0]["validation"]
    # 24 queries in three splits: those of dev and of test are never trained on.
    assert record["queries"]["sources"].get("real", 0) <= 8


def test_measures_by_name(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    settings = ["evaluate.measures=[P@5, nDCG@3]"]
    found = quick_run(
        tmp_path / "run", collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings
    )
    assert list(found["systems"]["student"]) == ["P@5", "nDCG@3"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["evaluate.measures=[nonsense@10]"], "nonsense"),
        (["evaluate.prefixes=[64]"], "64"),
        (["evaluate.prefixes=[0]"], "evaluate.prefixes"),
        (["evaluate.split=dev"], "dev"),
        (["training.select=dev"], "dev"),
        (["objectives=[{family: match, prefixes: [64]}]"], "64"),
        (["objectives=[{family: match, role: document}]"], "documents"),
        (["student.parameters=1000"], "student"),
        (["student.kind=layers", "student.layers=[7]"], "layers"),
        ([f"queries.{source}=0" for source in SOURCES], "training queries"),
    ],
)
def test_what_can_be_seen_early_is_refused_before_the_teacher_works(
    settings: list[str],
    words: str,
    tmp_path: Path,
    tiny_collection: Path,
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr("potstill.pipeline.vectors.fill", never)
    with pytest.raises(InputError) as caught:
        quick_run(
            tmp_path / "deep" / "run",
            collection=tiny_collection,
            teacher=tiny_encoder,
            signals=tmp_path / "signals",
            settings=settings,
        )
    assert words in str(caught.value)
    assert caught.value.fix
    assert not (tmp_path / "deep").exists()
    assert not (tmp_path / "signals").exists()
