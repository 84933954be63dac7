"""Smaller weights: how much smaller, and how near the original."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from export_students import SPECS, TEXTS

import potstill
from potstill.errors import InputError
from potstill.export.exporting import export_onnx
from potstill.export.source import student_folder
from potstill.export.static_int8 import export_static
from potstill.export.writing import least_cosine
from potstill.students.encoder import Int8StaticEncoder
from tiny import words


@pytest.mark.parametrize("kind", SPECS)
def test_smaller_graphs_stay_near(kind, student, tmp_path):
    folder = student_folder(student(kind))
    outs = [("fp32", tmp_path / "fp32"), ("fp16", tmp_path / "fp16"), ("int8", tmp_path / "int8")]
    found = {each.precision: each for each in export_onnx(folder, outs)}
    assert [each.folder for each in found.values()] == [out for _, out in outs]
    expected = potstill.load(folder).encode_queries(TEXTS)
    for precision, least in (("fp16", 0.99999), ("int8", 0.99)):
        model = potstill.load(tmp_path / precision)
        vectors = model.encode_queries(TEXTS)
        assert vectors.dtype == np.float32
        assert least_cosine(vectors, expected) >= least
        assert not np.array_equal(vectors, expected)
        assert model.note["onnx"]["precision"] == precision
    assert found["int8"].bytes < found["fp16"].bytes < found["fp32"].bytes


def test_a_rankers_graph_gets_smaller_too(ranker, tmp_path):
    from potstill.students.onnx import OnnxRanker

    outs = [(name, tmp_path / name) for name in ("fp32", "fp16", "int8")]
    sizes = [each.bytes for each in export_onnx(student_folder(ranker), outs)]
    assert sizes == sorted(sizes, reverse=True)
    scores = [OnnxRanker(out).scores("copper still", TEXTS) for _, out in outs]
    np.testing.assert_allclose(scores[1], scores[0], atol=0.02)
    assert np.corrcoef(scores[2], scores[0])[0, 1] > 0.5  # untrained, and its scores were blown up: the worst case


@pytest.mark.parametrize("kind", ["static", "static-head"])
@pytest.mark.parametrize("dimensions", [None, 12])
def test_a_static_student_in_int8_for_numpy(kind, dimensions, student, tmp_path):
    folder = student_folder(student(kind))
    found = export_static(folder, tmp_path / "out", dimensions=dimensions)
    original, small = potstill.load(folder), potstill.load(tmp_path / "out")
    assert isinstance(small.queries, Int8StaticEncoder)
    assert small.queries.table.dtype == np.int8
    expected = original.encode_queries(TEXTS)[:, :dimensions]
    vectors = small.encode_queries(TEXTS)
    assert vectors.dtype == np.float32
    assert 0.999 < least_cosine(vectors, expected) < 1
    np.testing.assert_allclose(np.linalg.norm(vectors[:4], axis=1), 1, atol=1e-6)
    assert not vectors[-1].any()
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(small.encode_queries([text])[0], vectors[row], atol=1e-6)
    rows, width = small.queries.table.shape
    assert rows * width + 4 * rows < found.bytes < rows * width + 4 * rows + 500
    assert small.queries.bytes == small.note["bytes"] < original.queries.bytes


def test_int8_rows_say_what_they_stand_for(student, tmp_path):
    export_static(student_folder(student("static")), tmp_path / "out")
    whole, small = potstill.load(student("static")).queries, potstill.load(tmp_path / "out").queries
    np.testing.assert_allclose(
        small.table * small.scales[:, None], whole.table, atol=float(small.scales.max()) / 2 + 1e-7
    )


def test_means_are_means_in_int8_too(student, tmp_path):
    import json
    import shutil

    shutil.copytree(student("static"), tmp_path / "run")
    folder = tmp_path / "run" / "student"
    (folder / "modules.json").write_text(json.dumps(json.loads((folder / "modules.json").read_text())[:1]))
    export_static(folder, tmp_path / "out")
    expected = potstill.load(folder).encode_queries(TEXTS)
    np.testing.assert_allclose(potstill.load(tmp_path / "out").encode_queries(TEXTS), expected, atol=0.01)


def test_shared_prompts_are_kept_in_int8(build, tmp_path):
    query, document = words()[0] + " ", words()[1] + " "
    run = build({"prompts": {"query": query, "document": document}}, towers="shared")
    export_static(student_folder(run), tmp_path / "out")
    original, small = potstill.load(run), potstill.load(tmp_path / "out")
    assert least_cosine(original.encode_queries(TEXTS), small.encode_queries(TEXTS)) > 0.999
    assert least_cosine(original.encode_documents(TEXTS), small.encode_documents(TEXTS)) > 0.999
    assert least_cosine(small.encode_documents(TEXTS), small.encode_queries(TEXTS)) < 0.99


def test_int8_needs_no_torch(student, tmp_path):
    export_static(student_folder(student("static")), tmp_path / "out")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnxruntime'] = None\n"
        "import potstill\n"
        f"print(potstill.load({str(tmp_path / 'out')!r}).encode_queries(['copper']).shape)\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "(1, 32)\n"
    )


def test_bad_input(student, tmp_path):
    with pytest.raises(InputError, match="not static"):
        export_static(student_folder(student("tiny")), tmp_path / "out")
    export_static(student_folder(student("static")), tmp_path / "out")
    with pytest.raises(InputError, match="int8 already"):
        export_static(student_folder(tmp_path / "out"), tmp_path / "again")
