"""One graph says what the student says, for any number of texts and any length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_students import SPECS, TEXTS

import potstill
from potstill.errors import InputError, PotstillError
from potstill.export.exporting import export_onnx
from potstill.export.source import open_sources, student_folder
from potstill.export.static_graph import int8_rows
from potstill.export.writing import least_cosine
from potstill.students.onnx import OnnxEncoder, OnnxRanker


def export(run: Path, out: Path, precision="fp32", **options):
    return next(export_onnx(student_folder(run), [(precision, out)], **options))


@pytest.mark.parametrize("kind", SPECS)
def test_an_export_says_what_the_student_says(kind, student, tmp_path):
    found = export(student(kind), tmp_path / "out")
    assert found.checked.cosine_min > 0.9999
    original, exported = potstill.load(student(kind)), potstill.load(tmp_path / "out")
    assert isinstance(exported.queries, OnnxEncoder)
    expected = original.encode_queries(TEXTS)
    np.testing.assert_allclose(exported.encode_queries(TEXTS), expected, atol=3e-6)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(exported.encode_queries([text]), expected[row : row + 1], atol=3e-6)
    assert exported.encode_queries([]).shape == (0, original.dimensions)
    assert exported.dimensions == original.dimensions
    assert exported.queries.bytes == (tmp_path / "out" / "model.onnx").stat().st_size


@pytest.mark.parametrize("kind", SPECS)
def test_the_graph_takes_any_batch_and_any_length(kind, student, tmp_path):
    import onnxruntime

    export(student(kind), tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    assert [(i.name, i.type, len(i.shape)) for i in session.get_inputs()] == [
        ("input_ids", "tensor(int64)", 2),
        ("attention_mask", "tensor(int64)", 2),
    ]
    assert [o.name for o in session.get_outputs()] == ["vector"]
    chance = np.random.default_rng(0)
    longest = 64 if kind in ("layers", "tiny") else 256
    for count, length in ((1, 1), (1, longest), (5, 2), (2, 1), (40, 9)):
        ids = chance.integers(5, 100, (count, length))
        mask = np.ones_like(ids)
        mask[-1, max(1, length // 2) :] = 0
        vectors = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        assert vectors.shape == (count, session.get_outputs()[0].shape[1])
        assert vectors.dtype == np.float32
        short = ids[-1:, : mask[-1].sum()]  # what the mask hides changes nothing
        alone = session.run(None, {"input_ids": short, "attention_mask": np.ones_like(short)})[0]
        np.testing.assert_allclose(vectors[-1], alone[0], atol=3e-6)


@pytest.mark.parametrize("kind", ["static", "static-head"])
def test_a_text_without_tokens_has_the_zero_vector(kind, student, tmp_path):
    export(student(kind), tmp_path / "out")
    vectors = potstill.load(tmp_path / "out").encode_queries(["", "copper still"])
    assert not vectors[0].any()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["static", "static-head", "tiny"])
def test_cut_vectors_have_unit_length_again(kind, student, tmp_path):
    export(student(kind), tmp_path / "out", dimensions=12)
    whole = potstill.load(student(kind)).encode_queries(TEXTS[:3])[:, :12]
    cut = potstill.load(tmp_path / "out")
    assert cut.dimensions == 12
    np.testing.assert_allclose(
        cut.encode_queries(TEXTS[:3]), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=3e-6
    )


def test_a_student_that_does_not_normalise_gives_means(student, tmp_path):
    import shutil

    shutil.copytree(student("static"), tmp_path / "run")
    folder = tmp_path / "run" / "student"
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    export(tmp_path / "run", tmp_path / "out")
    expected = potstill.load(tmp_path / "run").encode_queries(TEXTS)
    assert np.abs(np.linalg.norm(expected[:3], axis=1) - 1).min() > 0.01
    np.testing.assert_allclose(potstill.load(tmp_path / "out").encode_queries(TEXTS), expected, atol=3e-6)
    export(tmp_path / "run", tmp_path / "cut", dimensions=12)
    np.testing.assert_allclose(potstill.load(tmp_path / "cut").encode_queries(TEXTS), expected[:, :12], atol=3e-6)


def test_separate_towers_become_two_graphs(build, tmp_path):
    run = build({"prompts": {"document": "wind "}}, towers="separate")
    export(run, tmp_path / "onnx")
    assert (tmp_path / "onnx-documents" / "model.onnx").is_file()
    original, exported = potstill.load(run), potstill.load(tmp_path / "onnx")
    np.testing.assert_allclose(exported.encode_queries(TEXTS), original.encode_queries(TEXTS), atol=3e-6)
    np.testing.assert_allclose(exported.encode_documents(TEXTS), original.encode_documents(TEXTS), atol=3e-6)
    assert np.abs(exported.encode_documents(TEXTS) - exported.encode_queries(TEXTS)).max() > 0.01


def test_shared_towers_have_both_prompts(build, tmp_path):
    run = build(SPECS["tiny"] | {"prompts": {"query": "sail: ", "document": "wind and rope: "}}, towers="shared")
    export(run, tmp_path / "onnx")
    original, exported = potstill.load(run), potstill.load(tmp_path / "onnx")
    np.testing.assert_allclose(exported.encode_queries(TEXTS), original.encode_queries(TEXTS), atol=3e-6)
    np.testing.assert_allclose(exported.encode_documents(TEXTS), original.encode_documents(TEXTS), atol=3e-6)


def test_any_model_and_its_pooling_without_prompts(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    model.prompts = {"query": "the storm: ", "document": ""}
    model[1].include_prompt = False
    model.save(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(InputError, match="differ in length"):
        export(tmp_path / "model", tmp_path / "out")
    model.prompts = {"query": "the storm: ", "document": "the wind: "}
    model.save(str(tmp_path / "model"), create_model_card=False)
    found = export(tmp_path / "model", tmp_path / "out")
    assert found.checked.cosine_min > 0.9999
    exported = potstill.load(tmp_path / "out")
    np.testing.assert_allclose(exported.encode_queries(TEXTS), model.encode_query(TEXTS), atol=3e-6)
    np.testing.assert_allclose(exported.encode_documents(TEXTS), model.encode_document(TEXTS), atol=3e-6)


def test_documents_of_an_asymmetric_export_are_the_teachers(student, tmp_path, tiny_encoder):
    export(student("static"), tmp_path / "out")
    expected = potstill.load(tiny_encoder).encode_documents(TEXTS[:3])
    np.testing.assert_allclose(potstill.load(tmp_path / "out").encode_documents(TEXTS[:3]), expected, atol=3e-6)


def test_documents_of_a_cut_export_are_cut_too(student, tmp_path, tiny_encoder):
    from potstill.export.static_int8 import export_static

    export(student("static"), tmp_path / "out", dimensions=12)
    export_static(student_folder(student("static")), tmp_path / "small", dimensions=12)
    expected = potstill.load(tiny_encoder).encode_documents(TEXTS[:3])[:, :12]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for folder in ("out", "small"):
        documents = potstill.load(tmp_path / folder).encode_documents(TEXTS[:3])
        np.testing.assert_allclose(documents, expected, atol=3e-6)


def test_a_ranker_gives_scores(ranker, tmp_path):
    found = export(ranker, tmp_path / "out")
    assert found.checked.score_difference < 1e-4
    model = OnnxRanker(tmp_path / "out")
    scores = model.scores("copper still and cask", TEXTS)
    assert scores.shape == (len(TEXTS),)
    assert np.ptp(scores) > 0.01
    source, _ = open_sources(ranker)
    np.testing.assert_allclose(scores, source.reference("copper still and cask", TEXTS), atol=1e-4)
    assert np.abs(model.scores("copper", ["sail"]) - model.scores("sail", ["copper"])).max() > 1e-4
    with pytest.raises(InputError, match="OnnxRanker"):
        potstill.load(tmp_path / "out")
    with pytest.raises(InputError, match="list of texts"):
        model.scores("copper", "sail")


def test_torch_is_not_imported(student, ranker, tmp_path):
    export(student("layers"), tmp_path / "layers")
    export(ranker, tmp_path / "ranker")
    code = (
        "import sys, potstill\n"
        "from potstill.students.onnx import OnnxRanker\n"
        f"print(potstill.load({str(tmp_path / 'layers')!r}).encode_queries(['copper still', 'sail']).shape)\n"
        f"print(OnnxRanker({str(tmp_path / 'ranker')!r}).scores('copper', ['still', 'sail']).shape)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["(2, 32)", "(2,)", "False False"]


def test_without_onnxruntime_the_extra_is_named(student, tmp_path):
    export(student("static"), tmp_path / "out")
    code = f"import sys; sys.modules['onnxruntime'] = None\nimport potstill\npotstill.load({str(tmp_path / 'out')!r})\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "potstill[onnx]"' in done.stderr


def test_the_readme_runs_without_potstill(student, tmp_path):
    export(student("tiny"), tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    code = readme.partition("```python\n")[2].partition("```")[0]
    code += "\nimport sys\nnp.save('vectors.npy', vectors)\nassert 'potstill' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "out", check=True)
    vectors = np.load(tmp_path / "out" / "vectors.npy")
    np.testing.assert_allclose(vectors, potstill.load(student("tiny")).encode_queries(["a query"]), atol=3e-6)


def test_a_wrong_graph_is_refused_and_nothing_is_left(student, tmp_path, monkeypatch):
    from potstill.export import exporting

    right = exporting.static_graph
    monkeypatch.setattr(exporting, "static_graph", lambda table, head, **more: right(table[::-1], head, **more))
    with pytest.raises(PotstillError, match="differs from the original"):
        export(student("static"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_overwritten(student, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="overwritten"):
        export(student("static"), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    export(student("static"), tmp_path / "again")
    export(student("static"), tmp_path / "again", dimensions=8)
    assert potstill.load(tmp_path / "again").dimensions == 8


def test_bad_input(student, tmp_path):
    with pytest.raises(InputError, match="32 dimensions"):
        export(student("static"), tmp_path / "out", dimensions=33)
    with pytest.raises(InputError, match="no such folder"):
        student_folder(tmp_path / "gone")
    with pytest.raises(InputError, match="no student"):
        student_folder(tmp_path)
    export(student("static"), tmp_path / "out")
    with pytest.raises(InputError, match="an export already"):
        student_folder(tmp_path / "out")
    (tmp_path / "out" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot open the export"):
        potstill.load(tmp_path / "out")


def test_int8_rows_and_least_cosine():
    table = np.array([[1.0, -2.0, 0.5], [0, 0, 0], [127, 1, -127]], dtype=np.float32)
    rows, scales = int8_rows(table)
    np.testing.assert_array_equal(rows, [[64, -127, 32], [0, 0, 0], [127, 1, -127]])
    np.testing.assert_allclose(scales, [2 / 127, 0, 1])
    one = np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32)
    assert least_cosine(one[:2], one[:2]) == 1
    assert least_cosine(one, np.array([[1, 0], [0, 0], [1, 1]], dtype=np.float32)) == 0
    assert least_cosine(one[:1], np.array([[1, 1]], dtype=np.float32)) == pytest.approx(0.5**0.5)
