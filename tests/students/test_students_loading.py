"""`potstill.load`, light encoders, packed folders, notes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import potstill
from potstill.errors import InputError
from potstill.recipe import StudentSpec
from potstill.students import build_tower, load_encoder, read_note, save_packed, stored

TEXTS = ["copper still", "the heart and the blood", ""]


@pytest.fixture(scope="module")
def run(tmp_path_factory, teacher, texts, tiny_encoder) -> Path:
    """A run's folder with a static student in it."""
    folder = tmp_path_factory.mktemp("run")
    tower = build_tower(StudentSpec(phrases=5, rank=8), teacher, texts, 0)
    tower.save(folder / "student", {"teacher": str(tiny_encoder), "index": "my index", "towers": "asymmetric"})
    return folder


def test_a_run_and_its_student_are_the_same(run, teacher):
    student = potstill.load(run)
    assert student.encode_queries(TEXTS).shape == (3, teacher.dimensions)
    assert student.encode_queries(TEXTS).dtype == np.float32
    np.testing.assert_array_equal(
        student.encode_queries(TEXTS), potstill.load(str(run / "student")).encode_queries(TEXTS)
    )
    assert student.dimensions == teacher.dimensions
    assert student.queries.parameters == student.note["parameters"] == stored(run / "student").parameters


def test_documents_of_an_asymmetric_student_are_the_teachers(run, teacher):
    documents = ["a long document about the sea and the storm", "short", "whisky"]
    vectors = potstill.load(run).encode_documents(documents)
    np.testing.assert_allclose(vectors, teacher.encode(documents, "document"), atol=2e-6)


def test_teacher_is_opened_only_for_documents(run, tmp_path):
    shutil.copytree(run / "student", tmp_path / "student")
    note = {**(read_note(tmp_path / "student") or {}), "teacher": "/gone/teacher"}
    (tmp_path / "student" / "potstill.json").write_text(json.dumps(note))
    student = potstill.load(tmp_path / "student")
    student.encode_queries(TEXTS)
    with pytest.raises(InputError, match="/gone/teacher") as caught:
        student.encode_documents(TEXTS)
    assert "queries only" in str(caught.value)
    assert caught.value.fix


def test_a_mistyped_path_is_told_without_torch_too(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # importing it fails
    with pytest.raises(InputError, match="there is no such folder") as caught:
        potstill.load(tmp_path / "runs" / "mien")
    assert "potstill[train]" in str(caught.value.fix)


def test_note_without_a_teacher(run, tmp_path):
    shutil.copytree(run / "student", tmp_path / "student")
    (tmp_path / "student" / "potstill.json").write_text(json.dumps({"towers": "asymmetric"}))
    with pytest.raises(InputError, match="names no teacher"):
        potstill.load(tmp_path / "student").encode_documents(TEXTS)


def test_teacher_may_be_a_whole_specification(run, tmp_path, tiny_encoder):
    shutil.copytree(run / "student", tmp_path / "student")
    note = {"towers": "asymmetric", "teacher": {"model": str(tiny_encoder), "normalize": False}}
    (tmp_path / "student" / "potstill.json").write_text(json.dumps(note))
    vectors = potstill.load(tmp_path / "student").encode_documents(TEXTS)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() > 0.01


def test_shared_and_separate_towers(run, tmp_path, teacher, texts):
    tower = build_tower(StudentSpec(phrases=0, prompts={"document": "wind "}), teacher, texts, 0)
    tower.save(tmp_path / "shared" / "student", {"towers": "shared"})
    shared = potstill.load(tmp_path / "shared")
    np.testing.assert_allclose(
        shared.encode_documents(TEXTS), shared.encode_queries(["wind " + text for text in TEXTS]), atol=1e-6
    )
    tower.save(tmp_path / "apart" / "student", {"towers": "separate"})
    with pytest.raises(InputError, match="student-documents"):
        potstill.load(tmp_path / "apart").encode_documents(TEXTS)
    other = build_tower(StudentSpec(phrases=0, prompts={"document": "tide "}), teacher, texts, 0, role="document")
    other.save(tmp_path / "apart" / "student-documents", {"towers": "separate"})
    apart = potstill.load(tmp_path / "apart")
    np.testing.assert_allclose(
        apart.encode_documents(TEXTS), apart.encode_queries(["tide " + text for text in TEXTS]), atol=1e-6
    )


def test_any_model_is_a_student_for_both(tiny_encoder, teacher):
    student = potstill.load(tiny_encoder)
    np.testing.assert_allclose(student.encode_queries(TEXTS), teacher.encode(TEXTS, "query"), atol=2e-6)
    np.testing.assert_allclose(student.encode_documents(TEXTS), teacher.encode(TEXTS, "document"), atol=2e-6)
    assert student.encode_queries([]).shape == (0, teacher.dimensions)


def test_packed_folder_has_both_routes(run, tmp_path, tiny_encoder, teacher):
    from sentence_transformers import SentenceTransformer

    save_packed(run / "student", tiny_encoder, tmp_path / "student-packed")
    model = SentenceTransformer(str(tmp_path / "student-packed"), device="cpu")
    mine = potstill.load(run).encode_queries(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), mine, atol=2e-6)
    np.testing.assert_allclose(model.encode_query(TEXTS), mine, atol=2e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), teacher.encode(TEXTS, "document"), atol=2e-6)
    packed = potstill.load(tmp_path / "student-packed")
    np.testing.assert_allclose(packed.encode_queries(TEXTS), mine, atol=2e-6)
    np.testing.assert_allclose(packed.encode_documents(TEXTS), teacher.encode(TEXTS, "document"), atol=2e-6)


def test_packed_prompts_go_to_their_routes(tmp_path, teacher, texts, tiny_encoder):
    from sentence_transformers import SentenceTransformer

    tower = build_tower(StudentSpec(phrases=0, prompts={"query": "wind "}), teacher, texts, 0)
    tower.save(tmp_path / "student", {})
    save_packed(tmp_path / "student", tiny_encoder, tmp_path / "packed")
    model = SentenceTransformer(str(tmp_path / "packed"), device="cpu")
    mine = load_encoder(tmp_path / "student").encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), mine, atol=2e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), teacher.encode(TEXTS, "document"), atol=2e-6)


def test_files_of_a_student(run):
    names = {file.name for file in (run / "student").rglob("*") if file.is_file()}
    assert {"potstill.json", "README.md", "modules.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pkl", ".pt")) for name in names)
    note = read_note(run / "student") or {}
    assert {"teacher", "index", "towers", "kind", "dimensions", "parameters", "bytes", "version"} <= set(note)
    readme = (run / "student" / "README.md").read_text()
    assert "my index" in readme
    assert note["teacher"] in readme


def test_static_student_needs_no_torch(run, without):
    code = f"""
import json, numpy as np, potstill
student = potstill.load({str(run)!r})
print(json.dumps(student.encode_queries({TEXTS!r}).tolist()))
assert "sentence_transformers" not in sys.modules and sys.modules["torch"] is None
"""
    there = np.array(json.loads(without("torch", code)), dtype=np.float32)
    np.testing.assert_allclose(there, potstill.load(run).encode_queries(TEXTS), atol=1e-6)


def test_saved_student_needs_no_potstill(run, without):
    code = f"""
import json
from sentence_transformers import SentenceTransformer
model = SentenceTransformer({str(run / "student")!r}, device="cpu")
print(json.dumps(model.encode({TEXTS!r}).tolist()))
"""
    there = np.array(json.loads(without("potstill", code).splitlines()[-1]), dtype=np.float32)
    here = potstill.load(run).encode_queries(TEXTS)
    assert (there[:2] * here[:2]).sum(1) == pytest.approx(1.0, abs=1e-6)
    assert not there[2].any()


def test_importing_potstill_is_light(without):
    code = """
import potstill, potstill.students
heavy = {"numpy", "tokenizers", "torch", "transformers", "pydantic"} & set(sys.modules)
assert not heavy - {"torch"}, heavy
print(potstill.load.__name__)
"""
    assert without("torch", code).strip() == "load"


def test_one_string_is_not_a_list(run, tiny_encoder):
    for path in (run, tiny_encoder):
        for text in ("a", "copper still"):
            with pytest.raises(InputError, match="list of texts"):
                potstill.load(path).encode_queries(text)


def test_odd_texts(run):
    encoder = load_encoder(run / "student")
    broken = encoder.encode(["copper \ud83d", "copper \ud83d still"])
    np.testing.assert_allclose(broken, encoder.encode(["copper ?", "copper ? still"]), atol=1e-6)
    np.testing.assert_allclose(encoder.encode(["copper \ud83d"]), broken[:1], atol=1e-6)
    for texts in ([None], ["copper", 3]):
        with pytest.raises(InputError, match="must be a string"):
            encoder.encode(texts)


def test_batches_and_single_texts_agree(run):
    encoder = load_encoder(run / "student")
    many = [f"the {word} of {other}" for word in ("heart", "storm", "moon") for other in ("copper", "cask", "")] * 300
    batch = encoder.encode(many)
    assert batch.shape == (2700, encoder.dimensions)
    np.testing.assert_allclose(batch[:9], np.concatenate([encoder.encode([text]) for text in many[:9]]), atol=1e-6)
    np.testing.assert_array_equal(batch[:9], batch[-9:])
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@pytest.mark.parametrize("name", ["empty", "missing/deep/folder", "broken", "bad note"])
def test_what_cannot_be_loaded_is_told(name, tmp_path, run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "modules.json").write_text("{")
    shutil.copytree(run / "student", tmp_path / "bad note")
    (tmp_path / "bad note" / "potstill.json").write_text("[1]")
    with pytest.raises(InputError) as caught:
        potstill.load(tmp_path / name)
    assert caught.value.where
    assert caught.value.fix


def test_a_dense_with_bias_is_left_to_sentence_transformers(tmp_path, run):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    model = SentenceTransformer(str(run / "student"), device="cpu")
    odd = SentenceTransformer(modules=[model[0], Dense(8, 4)], device="cpu")
    odd.save(str(tmp_path / "odd"), create_model_card=False)
    encoder = load_encoder(tmp_path / "odd")
    assert type(encoder).__name__ == "SentenceEncoder"
    np.testing.assert_allclose(encoder.encode(TEXTS), odd.encode(TEXTS), atol=1e-6)
