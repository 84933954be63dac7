"""`potstill export`: what it writes, what it measures, what it says when the input is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import potstill
from potstill.cli import run as cli
from potstill.errors import InputError
from potstill.pipeline.exporting import export
from potstill.report import write_report

COLUMNS = {"bytes", "cosine_min", "query_ms_p50", "query_ms_p99", "queries_per_s", "nDCG@10", "retention"}


@pytest.fixture(scope="module")
def signals(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("signals") / "store"


@pytest.fixture
def run(student, tmp_path) -> Path:
    """A copy of the static student's run, to write into."""
    shutil.copytree(student("static"), tmp_path / "run")
    return tmp_path / "run"


def test_every_target_is_measured_beside_the_original(run, tiny_collection, tiny_encoder, signals, tmp_path):
    precisions = ("fp32", "fp16", "int8")
    options = {"formats": ("onnx", "static"), "precisions": precisions, "signals": signals}
    (run / "run.json").write_text("{}", encoding="utf-8")
    write_report(run)
    rows = export(run, collection=str(tiny_collection), **options)
    assert [(row["target"], row["precision"]) for row in rows] == [
        ("student", "fp32"),
        *(("onnx", precision) for precision in precisions),
        ("static", "int8"),
    ]
    assert json.loads((run / "deployment.json").read_text()) == rows
    page = (run / "report.html").read_text(encoding="utf-8")  # made anew
    assert 'id="deployment"' in page
    assert "onnx int8" in page
    for row in rows:
        assert row.keys() >= COLUMNS
        assert 0 < row["query_ms_p50"] <= row["query_ms_p99"]
        assert row["queries_per_s"] > 0
        assert row["retention_low"] <= row["retention"] <= row["retention_high"]
        if row["target"] != "student":
            assert row["bytes"] == (run / row["file"]).stat().st_size
    assert rows[1]["nDCG@10"] == pytest.approx(rows[0]["nDCG@10"], abs=1e-9)
    assert rows[3]["nDCG@10"] == pytest.approx(rows[0]["nDCG@10"], abs=0.05)
    assert rows[3]["bytes"] < rows[2]["bytes"] < rows[1]["bytes"]

    from potstill.pipeline import assess
    from potstill.recipe import EvaluateSpec, TeacherSpec

    spec = EvaluateSpec(split="test", measures=("nDCG@10",), cost=False)
    teacher = TeacherSpec(model=str(tiny_encoder))
    for row, folder in zip(rows, ("student", "export/onnx-fp32"), strict=False):
        found = assess(
            str(tiny_collection), teacher, str(run / folder), tmp_path / "found.json", spec=spec, signals=signals
        )
        assert row["nDCG@10"] == found["systems"]["student"]["nDCG@10"]
        assert row["retention"] == found["retention"]["nDCG@10"]["value"]


def test_cut_students_search_the_cut_index(run, tiny_collection, tiny_encoder, signals):
    cut, whole = (
        export(run, collection=str(tiny_collection), dimensions=width, signals=signals)[1] for width in (16, 32)
    )
    assert potstill.load(run / "export" / "onnx-fp32").dimensions == 32
    assert cut["bytes"] < whole["bytes"]
    assert cut["nDCG@10"] != whole["nDCG@10"]
    assert cut["cosine_min"] > 0.9999


def test_without_a_collection_it_is_only_checked(run):
    rows = export(run, precisions=("int8",))
    assert [set(row) for row in rows] == [{"target", "precision", "file", "bytes", "cosine_min"}]
    assert not (run / "deployment.json").exists()
    assert potstill.load(run / "export" / "onnx-int8").encode_queries(["copper"]).shape == (1, 32)


@pytest.mark.heavy
def test_a_ranker_is_checked_on_the_collection(ranker, tiny_collection, tmp_path):
    (row,) = export(ranker, collection=str(tiny_collection), out=tmp_path / "out")
    assert 0 <= row["score_difference"] < 1e-3


def test_the_command(run, tiny_collection, signals, capfd):
    options = ["--collection", str(tiny_collection), "--signals", str(signals)]
    assert cli(["export", str(run), "--precision", "fp32", "int8", *options]) == 0
    lines = capfd.readouterr().out.strip().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["target", "weights"],
        ["student", "fp32"],
        ["onnx", "fp32"],
        ["onnx", "int8"],
    ]
    assert "nDCG@10" in lines[0]
    assert (run / "deployment.json").is_file()
    assert cli(["export", str(run), "--format", "static"]) == 0
    assert (run / "export" / "static-int8" / "potstill.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precision", "int4"], "fp32, fp16, int8"),
        (["--format", "tflite"], "onnx, static"),
        (["--format", "static", "--precision", "fp16"], "--format onnx"),
        (["--dimensions", "99"], "32 dimensions"),
        (["--precision", "fp32", "int8", "--out", "x"], "one folder"),
        (["--collection", "gone"], "gone"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(arguments, told, run, capfd):
    assert cli(["export", str(run), *arguments]) == 2
    said = capfd.readouterr().err
    assert told in said
    assert "What to do" in said
    assert not (run / "export").exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        export(tmp_path / "gone")


def test_a_model_id_needs_an_output_folder():
    with pytest.raises(InputError, match="add --out"):
        export("owner/model")


def test_the_command_line_loads_nothing_heavy():
    code = "import sys, potstill.cli; print({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_queries_documents_and_an_empty_text_are_compared(tiny_collection):
    from potstill.collection import open_collection
    from potstill.pipeline.exporting import _samples

    texts = _samples(open_collection(str(tiny_collection)), "test")
    assert len(texts) == 12 + 30 + 1
    assert "" in texts
