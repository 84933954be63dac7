"""What must be true of a run whatever the student: identities with the teacher, reuse of signals, plain loading."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline_runs import check_evaluation, lines, quick_run, read

import potstill
from potstill.collection import open_collection
from potstill.pipeline.assess import Assessment, assess
from potstill.pipeline.vectors import Vectors, document_vectors, query_vectors
from potstill.recipe import EvaluateSpec, TeacherSpec
from potstill.signals import FillReport
from potstill.teachers import open_teacher
from potstill.texts import normalise


class Parrot:
    """A student that says what the teacher said."""

    def __init__(self, answers: dict[str, np.ndarray]) -> None:
        self.answers = answers

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.answers[text] for text in texts])


@pytest.fixture(scope="module")
def cached(tiny_collection: Path, tiny_encoder: Path, signals: Path, static_run) -> tuple[Any, Any, Vectors, Vectors]:
    """Collection, teacher, and its vectors of documents and test queries as the store holds them."""
    collection = open_collection(tiny_collection)
    teacher = open_teacher(TeacherSpec(model=str(tiny_encoder)))
    ids = list(collection.qrels("test"))
    queries = query_vectors(teacher, [collection.queries[i] for i in ids], signals, "queries", ids)
    return collection, teacher, document_vectors(teacher, collection, signals), queries


def test_the_teachers_own_queries_reproduce_its_measures_exactly(cached, static_run, signals: Path, tmp_path: Path):
    collection, teacher, documents, queries = cached
    texts = [collection.queries[i] for i in collection.qrels("test")]
    parrot: Any = Parrot(dict(zip(texts, queries.all(), strict=True)))
    spec = EvaluateSpec(cost=False)
    found = Assessment(spec, collection, teacher, documents, signals).of(
        parrot, own_documents=False, split="test", held_out=None, file=tmp_path / "parrot.json"
    )
    assert found["systems"]["student"] == found["systems"]["teacher"] == static_run[1]["systems"]["teacher"]
    for kept in found["retention"].values():
        assert (kept["value"], kept["low"], kept["high"], kept["p"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["agreement"]["overlap@10"]["value"] == 1.0
    assert found["guarantee"]["error"]["value"] == 0.0
    assert found["guarantee"]["top"]["certified"]["value"] == found["guarantee"]["rest"]["kept"]["value"] == 1.0
    for row in lines(tmp_path / "parrot.per_query.jsonl"):
        assert row["student_top"] == row["teacher_top"]


def test_teachers_ndcg_by_hand(cached, static_run):
    collection, _, documents, queries = cached
    scores = queries.all().astype(np.float64) @ documents.all().astype(np.float64).T
    ids = list(collection.document_ids)
    values = []
    for row, grades in zip(scores, collection.qrels("test").values(), strict=True):
        ranked = [ids[i] for i in np.argsort(-row, kind="stable")[:10]]
        gain = sum(grades.get(name, 0) / math.log2(place + 2) for place, name in enumerate(ranked))
        best = sum(g / math.log2(place + 2) for place, g in enumerate(sorted(grades.values(), reverse=True)[:10]))
        values.append(gain / best)
    assert static_run[1]["systems"]["teacher"]["nDCG@10"] == pytest.approx(np.mean(values), abs=1e-9)


def test_no_evaluated_query_was_trained_on(static_run, tiny_collection: Path):
    run, _ = static_run
    collection = open_collection(tiny_collection)
    test = {normalise(collection.queries[i]) for i in collection.qrels("test")}
    shown = [text for texts in read(run / "run.json")["queries"]["examples"].values() for text in texts]
    assert shown
    assert not test & {normalise(text) for text in shown}


def test_second_run_encodes_nothing_and_ends_in_the_same_bytes(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    module = import_module("potstill.pipeline.vectors")
    reports: list[FillReport] = []
    fill = module.fill
    monkeypatch.setattr(module, "fill", lambda *a, **k: reports.append(fill(*a, **k)) or reports[-1])
    common: dict[str, Any] = {
        "collection": tiny_collection,
        "teacher": tiny_encoder,
        "signals": tmp_path / "signals",
    }
    first = quick_run(tmp_path / "first", **common)
    assert sum(report.encoded for report in reports) > 30 + 80
    reports.clear()
    second = quick_run(tmp_path / "second", **common)
    assert len(reports) == 4
    assert [report.encoded for report in reports] == [0, 0, 0, 0]
    assert second == first
    assert weights(tmp_path / "first") == weights(tmp_path / "second")


def weights(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "student").rglob("*.safetensors"))}


_PLAIN = """
import json, sys
sys.modules["potstill"] = None  # importing it fails from now on
from sentence_transformers import SentenceTransformer
texts = json.loads(sys.argv[1])
print(json.dumps([SentenceTransformer(path, device="cpu").encode(texts).tolist() for path in sys.argv[2:]]))
"""


def test_students_load_where_potstill_is_unknown(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path, static_run
):
    runs = [static_run[0]]
    for student in ("static:8", "layers:0", "tiny:1x16"):
        runs.append(tmp_path / student.replace(":", "-"))
        quick_run(runs[-1], collection=tiny_collection, teacher=tiny_encoder, signals=signals, student=student)
    texts = ["Copper still, slow and great!", "wind", "the blood of a patient 17", "zzz the qqq storm"]
    folders = [str(run / "student") for run in runs]
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN, json.dumps(texts), *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for run, plain in zip(runs, json.loads(done.stdout.splitlines()[-1]), strict=True):
        ours = potstill.load(run).encode_queries(texts)
        theirs = np.array(plain, dtype=np.float32)
        cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosines.min() > 0.9999, run.name
        assert np.allclose(ours, theirs, atol=1e-5), run.name


def test_evaluate_finds_what_the_run_found(
    static_run, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    run, found = static_run
    out = tmp_path / "again.json"
    teacher, spec = TeacherSpec(model=str(tiny_encoder)), EvaluateSpec(cost=False)
    again = assess(str(tiny_collection), teacher, str(run), out, spec=spec, signals=signals)
    check_evaluation(again)
    assert {key: value for key, value in again.items() if key != "cost"} == {
        key: value for key, value in found.items() if key != "cost"
    }
    assert read(out) == again
    assert (tmp_path / "again.per_query.jsonl").read_text() == (run / "per_query.jsonl").read_text()
    train = assess(
        str(tiny_collection),
        teacher,
        str(run / "student"),
        out,
        spec=EvaluateSpec(split="train", cost=False, measures=("P@3",)),
        signals=signals,
    )
    assert train["split"] == "train"
    assert list(train["retention"]) == ["P@3"]


def test_evaluating_the_teacher_as_its_own_student(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    spec = EvaluateSpec(cost=False)
    found = assess(
        str(tiny_collection),
        TeacherSpec(model=str(tiny_encoder)),
        str(tiny_encoder),
        tmp_path / "self.json",
        spec=spec,
        signals=signals,
    )
    # It encodes its documents anew in float32, the store keeps float16: near ties may fall the other way.
    assert found["agreement"]["overlap@10"]["value"] > 0.98
    assert found["retention"]["nDCG@10"]["value"] == pytest.approx(1.0, abs=0.02)
