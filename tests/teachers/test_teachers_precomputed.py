"""Vectors on disk as a teacher: an index of documents, vectors of queries, with and without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from potstill.errors import InputError
from potstill.recipe import TeacherSpec
from potstill.teachers import PrecomputedIndex, open_teacher

IDS = [f"d{i}" for i in range(20)]


def unit_vectors(rows: int = 20, dimensions: int = 32, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(folder: Path, kind: str, vectors: np.ndarray, ids: list[str] = IDS) -> Path:
    """Write vectors in one of the formats, with their ids where that format is used to have them."""
    path = folder / f"index.{kind}"
    if kind == "npy":
        np.save(path, vectors)
        (folder / "index.npy.ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    elif kind == "safetensors":
        save_file({"vectors": vectors, "other": np.zeros(3)}, path)
        (folder / "index.ids.json").write_text(json.dumps(ids))
    else:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        column = arrow.array(list(vectors), type=arrow.list_(arrow.from_numpy_dtype(vectors.dtype)))
        parquet.write_table(arrow.table({"id": ids, "vector": column}), path, row_group_size=7)
    return path


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_every_format_gives_the_same(tmp_path: Path, kind: str, dtype: Any) -> None:
    vectors = unit_vectors().astype(dtype)
    index = PrecomputedIndex(write(tmp_path, kind, vectors))
    assert (len(index), index.dimensions, index.unit, index.zeros) == (20, 32, True, 0)
    assert list(index.ids) == IDS
    rows = index.rows_for(["d3", "nobody", "d0", "d3"])
    assert rows.dtype == np.int64
    assert rows.tolist() == [3, -1, 0, 3]
    gathered = index.gather(np.array([3, 0, 3]))
    assert gathered.dtype == np.float32
    np.testing.assert_array_equal(gathered, vectors[[3, 0, 3]].astype(np.float32))
    parts = list(index.chunks(6))
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    np.testing.assert_array_equal(np.concatenate(parts), vectors.astype(np.float32))


def test_matrices_are_mapped_not_read(tmp_path: Path) -> None:
    for kind in ("npy", "safetensors"):
        assert isinstance(PrecomputedIndex(write(tmp_path, kind, unit_vectors()))._rows, np.memmap)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(
        st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), min_size=1).filter(str.strip),
        min_size=1,
        max_size=12,
        unique=True,
    )
)
def test_any_ids_survive(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    folder = tmp_path_factory.mktemp("ids")
    vectors = unit_vectors(len(ids))
    for kind in ("npy", "safetensors", "parquet"):
        index = PrecomputedIndex(write(folder, kind, vectors, ids))
        assert list(index.ids) == ids
        assert index.rows_for(ids[::-1]).tolist() == list(range(len(ids)))[::-1]


def test_where_ids_are_looked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(2))
    for name in ("ids.json", "v.ids.json", "v.npy.ids.json", "ids.txt", "v.ids.txt", "v.npy.ids.txt"):
        file = tmp_path / name  # each goes before the ones that are there already, txt before json
        file.write_text(json.dumps([name, 7]) if name.endswith("json") else f"{name}\r\n7")
        assert list(PrecomputedIndex(tmp_path / "v.npy").ids) == [name, "7"]
    given_ids = tmp_path / "mine.txt"
    given_ids.write_text("a\nb\n")
    assert list(PrecomputedIndex(tmp_path / "v.npy", given_ids).ids) == ["a", "b"]


def test_documents_without_a_vector_are_counted_and_shown(tmp_path: Path) -> None:
    index = PrecomputedIndex(write(tmp_path, "npy", unit_vectors()))
    assert index.require(["d1", "d0"]).tolist() == [1, 0]
    wanted = ["d0", *(f"x{i}" for i in range(9))]
    with pytest.raises(InputError, match=r"9 of 10 documents have no vector: 'x0', 'x1', 'x2', 'x3', 'x4', \.\.\."):
        index.require(wanted)


def test_an_index_alone_encodes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "npy", unit_vectors())
    teacher = open_teacher(TeacherSpec(index=path))
    assert (teacher.name, teacher.dimensions, teacher.metric) == ("index.npy", 32, "dot")
    assert (teacher.can_encode_queries, teacher.can_encode_documents, teacher.recomputable) == (False, False, False)
    assert (teacher.tokenizer, teacher.encoder("query"), teacher.parameters, teacher.bytes) == (None,) * 4
    assert teacher.max_length("query") is None
    assert len(teacher.index) == 20
    assert teacher.fingerprint("document").kind == "imported"
    for role in ("query", "document"):
        with pytest.raises(InputError):
            teacher.encode(["a"], role)
    with pytest.raises(InputError, match="no index or no model"):
        teacher.index_agreement({"d0": "a"})


def test_an_index_with_the_model_that_made_it(tiny_encoder: Path, tmp_path: Path) -> None:
    model = open_teacher(TeacherSpec(model=str(tiny_encoder), device="cpu"))
    texts = {f"d{i}": f"barley and wind {'moon ' * i}" for i in range(20)}
    path = write(tmp_path, "npy", model.encode(list(texts.values()), "document").astype(np.float16))
    teacher = open_teacher(TeacherSpec(model=str(tiny_encoder), index=path, device="cpu"))
    assert (teacher.can_encode_queries, teacher.can_encode_documents, teacher.recomputable) == (True, False, True)
    assert (teacher.name, teacher.metric, teacher.parameters) == (model.name, model.metric, model.parameters)
    np.testing.assert_array_equal(teacher.encode(["moon"], "query"), model.encode(["moon"], "query"))
    assert teacher.fingerprint("query") == model.fingerprint("query")
    assert teacher.fingerprint("document") != model.fingerprint("document")
    with pytest.raises(InputError, match="looked up by id"):
        teacher.encode(["moon"], "document")
    assert teacher.index_agreement(texts).min() > 0.9999
    ids = list(texts)
    mistaken = dict(zip(ids, [*list(texts.values())[1:], texts["d0"]], strict=True))
    assert teacher.index_agreement(mistaken).mean() < 0.9999


def test_query_vectors_beside_the_index(tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", unit_vectors(3, seed=1))
    (tmp_path / "q.ids.txt").write_text("q0\nq1\nq2\n")
    spec = TeacherSpec(index=write(tmp_path, "parquet", unit_vectors()), query_vectors=tmp_path / "q.npy")
    teacher = open_teacher(spec)
    assert (teacher.can_encode_queries, teacher.query_vectors.rows_for(["q2"]).tolist()) == (False, [2])
    assert teacher.fingerprint("query") != teacher.fingerprint("document")


def test_the_identity_is_that_of_vectors_and_ids(tmp_path: Path) -> None:
    def digest(folder: str, vectors: np.ndarray, ids: list[str] = IDS) -> str:
        (tmp_path / folder).mkdir()
        spec = TeacherSpec(index=write(tmp_path / folder, "npy", vectors, ids))
        return open_teacher(spec).fingerprint("document").digest()

    changed = unit_vectors()
    changed[7] = -changed[7]
    digests = [digest("a", unit_vectors()), digest("b", changed), digest("c", unit_vectors(), IDS[::-1])]
    assert len(set(digests)) == 3
    assert digest("d", unit_vectors()) == digests[0]


def test_lengths_that_differ_need_a_named_metric(tmp_path: Path) -> None:
    path = write(tmp_path, "npy", 3 * unit_vectors())
    with pytest.raises(InputError, match=r"set teacher\.metric"):
        open_teacher(TeacherSpec(index=path))
    assert open_teacher(TeacherSpec(index=path, metric="cosine")).metric == "cosine"


def test_vectors_of_zeros_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = unit_vectors()
    vectors[[2, 5]] = 0
    assert PrecomputedIndex(write(tmp_path, "npy", vectors)).zeros == 2
    assert "2 of 20 vectors are all zero" in capsys.readouterr().err
