"""Whole runs that keep relations, and runs on a smaller index."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pipeline_runs import check_evaluation, lines, quick_run, read

import potstill
from potstill.errors import InputError
from potstill.pipeline import assess
from potstill.recipe import EvaluateSpec, TeacherSpec

BANK = {"family": "relations", "form": "bank", "bank": {"perplexity": 4}}
FORMS = ("own", "disco", "crd", "pkt", "flow", "rkd-distance", "rkd-angle", "sp", "ega", "comparative", "cross-metric")


@pytest.fixture
def run_with(tmp_path, tiny_collection, tiny_encoder, signals):
    def run(objectives, *settings: str, name: str = "run", **more):
        given = ["objectives=" + json.dumps(objectives), *settings]
        found = quick_run(
            tmp_path / name, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=given, **more
        )
        return tmp_path / name, found

    return run


@pytest.mark.parametrize(
    ("bank", "rows"),
    [
        ({}, "all"),
        ({"rows": "store", "neighbours": 4, "random": 8}, "store"),
        ({"rows": "store", "neighbours": 4, "random": 8, "corrected": True}, "store"),
        ({"rows": "queue", "size": 30}, "queue"),
        ({"rows": "centroids", "size": 6}, "centroids"),
    ],
)
def test_a_bank_is_calibrated_and_reported(run_with, bank, rows, capsys):
    run, found = run_with([BANK | {"bank": {"perplexity": 4, "ratio": 2} | bank}])
    check_evaluation(found)
    record = read(run / "run.json")
    (said,) = record["relations"]
    assert said["term"] == f"relations:bank ({rows})"
    assert said["effective_neighbours"] == pytest.approx(4, rel=1e-3)
    assert said["student_temperature"] == pytest.approx(2 * said["teacher_temperature"])
    logged = [line["relations"] for line in lines(run / "metrics.jsonl") if "relations" in line]
    (last,) = logged[-1].values()
    assert last.keys() == {"kl_gap", "teacher_entropy", "effective_neighbours", "top1_agreement"}
    told = record["told"]["relations"]
    assert len(told) == 2
    assert "effective neighbours" in told[0]
    assert f"KL gap {last['kl_gap']:.4f} nats" in told[1]
    assert capsys.readouterr().err.count("teacher temperature") == 1
    assert "KL gap" in (run / "report.html").read_text(encoding="utf-8")


def test_the_family_trains_a_student_of_its_own_space(run_with):
    terms = [{"family": "relations", "form": form, "role": "both"} for form in FORMS]
    terms[0]["bank"] = {"perplexity": 3}
    run, found = run_with(terms, towers="shared", student="tiny:1x16")
    check_evaluation(found)
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert len(logged[-1]) == len(FORMS)
    assert all(np.isfinite(value) and value != 0 for value in logged[-1].values())


def test_prefixes_of_a_bank(run_with, tiny_encoder):
    terms = [
        BANK | {"prefixes": [4, 8]},
        {"family": "relations", "form": "own", "prefixes": [4]} | {"bank": {"perplexity": 3}},
    ]
    run, found = run_with(terms, "evaluate.prefixes=[4]")
    check_evaluation(found)
    logged = [line["terms"] for line in lines(run / "metrics.jsonl") if "terms" in line]
    assert all(value > 0 for terms in logged for value in terms.values())
    assert [term["prefixes"] for term in read(run / "run.json")["objectives"]] == [[4, 8], [4]]


@pytest.mark.parametrize(
    ("objectives", "settings", "says"),
    [
        ([BANK | {"bank": {"perplexity": 1e6}}], (), "out of reach"),
        ([BANK | {"role": "both"}], (), "the student makes no vectors of them"),
        ([{"family": "relations", "form": "own"}], (), "keeps the student in the teacher's space"),
        ([BANK | {"bank": {"rows": "centroids", "size": 10_000}}], (), "centroids of"),
        (["match:cosine"], ("index.width=4096",), "not smaller"),
        (["match:cosine"], ("index.width=15", "evaluate.prefixes=[16]"), "do not fit"),
    ],
)
def test_what_cannot_be_is_said(run_with, objectives, settings, says):
    with pytest.raises(InputError, match=says):
        run_with(objectives, *settings)


def test_a_sharper_student_is_warned_of(run_with):
    run, _ = run_with([BANK | {"bank": {"perplexity": 4, "ratio": 0.5}}])
    assert any("wastes the length" in line for line in read(run / "run.json")["warnings"])


@pytest.mark.parametrize(("by", "student"), [("cospress", "static"), ("pca", "layers:0"), ("pca", "tiny:1x16")])
def test_a_smaller_index_is_kept_with_the_student(
    run_with, tiny_collection, tiny_encoder, signals, tmp_path, by, student
):
    settings = ("index.width=6", f"index.by={by}", "index.updates=20", "index.batch=16", "output.packed=true")
    run, found = run_with(["match:cosine"], *settings, student=student)
    check_evaluation(found)
    vectors = np.load(run / "index" / "vectors.npy")
    ids = read(run / "index" / "vectors.ids.json")
    assert vectors.shape == (len(ids), 6)
    assert vectors.dtype == np.float16
    assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(np.ones(len(ids)), abs=2e-3)
    student = potstill.load(run)
    assert student.dimensions == 6
    texts = [document.full for document in potstill.collection.open_collection(str(tiny_collection)).documents()]
    assert student.encode_documents(texts) == pytest.approx(vectors.astype(np.float32), abs=5e-3)
    packed = potstill.load(run / "student-packed")
    assert packed.encode_documents(texts) == pytest.approx(vectors.astype(np.float32), abs=5e-3)
    assert packed.encode_queries(texts[:3]) == pytest.approx(student.encode_queries(texts[:3]), abs=1e-5)
    again = assess(
        str(tiny_collection),
        TeacherSpec(model=str(tiny_encoder)),
        str(run),
        tmp_path / "again.json",
        spec=EvaluateSpec(cost=False),
        signals=signals,
    )
    assert again["systems"] == found["systems"]
    alone = read(run / "index.json")
    assert alone["systems"]["teacher"] == found["systems"]["teacher"]  # the mark is the whole teacher
    assert "the whole teacher on the smaller index" in " ".join(read(run / "run.json")["told"]["index"])
    assert "the index holds 6 numbers a document" in (run / "report.html").read_text(encoding="utf-8")
    (run / "student" / "index_head.safetensors").unlink()
    with pytest.raises(InputError, match="head is not there"):
        potstill.load(run)


def test_a_head_moves_neighbourhoods_less_than_the_largest_directions_do():
    import torch

    from potstill.pipeline.compressing import fitted
    from potstill.recipe import IndexSpec

    torch.manual_seed(0)
    centres = torch.randn(30, 24)
    vectors = torch.nn.functional.normalize(centres.repeat(20, 1) + 0.4 * torch.randn(600, 24), dim=1)

    def overlap(head: np.ndarray) -> float:
        near = [
            (v @ v.T).fill_diagonal_(-2).topk(10).indices
            for v in (vectors, torch.nn.functional.normalize(vectors @ torch.from_numpy(head).T, dim=1))
        ]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*(n.tolist() for n in near), strict=True)]))

    kept = {
        by: overlap(
            fitted(
                IndexSpec(width=6, by=by, updates=200, batch=256, learning_rate=0.01), vectors, np.random.default_rng(0)
            )[0]
        )
        for by in ("pca", "cospress")
    }
    assert kept["cospress"] > kept["pca"]


def test_a_run_on_a_smaller_index_goes_on_where_it_was(run_with):
    settings = ("index.width=6", "index.updates=20", "index.batch=16")
    _, first = run_with(["match:cosine"], *settings)
    _, second = run_with(["match:cosine"], *settings, resume=True)
    assert second["systems"] == first["systems"]


def test_a_student_with_an_index_of_its_own_learns_the_smaller_width(run_with):
    terms = [{"family": "match", "form": "cosine", "role": "both"}]
    run, found = run_with(terms, "index.width=6", "index.updates=20", "index.batch=16", towers="shared")
    check_evaluation(found)
    assert potstill.load(run).encode_documents(["a text"]).shape == (1, 6)
    assert not (run / "index").exists()
