"""Vectors that exist are read from files of vectors, of faiss, and from tables of LanceDB."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.index import build_index, exact_ranking, open_index
from potstill.index.index import held_rows, unit

faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed")
arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

NAMES = [f"d{number}" for number in range(600)]


def write_faiss(path, native, names=NAMES):
    faiss.write_index(native, str(path))
    if names:
        path.with_name(f"{path.stem}.ids.txt").write_text("\n".join(names) + "\n")
    return path


def rows_of(vectors):
    column = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), vectors.shape[1])
    return {"id": arrow.array(NAMES), "vector": column}


def lance_table(folder, columns, name="docs"):
    return lancedb.connect(str(folder)).create_table(name, data=arrow.table(columns))


def all_of(index):
    return np.concatenate(list(index.vectors()))


@pytest.mark.parametrize("form", ["npy", "safetensors", "parquet"])
def test_files_of_vectors(tmp_path, vectors, asked, best, form):
    path = tmp_path / f"v.{form}"
    if form == "npy":
        np.save(path, vectors)
    elif form == "safetensors":
        from safetensors.numpy import save_file

        save_file({"vectors": vectors}, path)
    else:
        import pyarrow.parquet as parquet

        lists = arrow.array(vectors.tolist(), arrow.list_(arrow.float32()))
        parquet.write_table(arrow.table({"id": NAMES, "vector": lists}), path)
    if form != "parquet":
        (tmp_path / "v.ids.json").write_text(json.dumps(NAMES))
    with pytest.raises(InputError, match="nothing says how these vectors are compared"):
        open_index(path)
    for index in (open_index(path, metric="dot"), open_index(path, fallback="dot")):
        assert list(index.ids) == NAMES
        assert np.array_equal(all_of(index), vectors)
        assert (index.search(asked, 5).rows == best(asked, vectors, "dot", 5)).all()


def test_unit_vectors_need_no_metric(tmp_path, vectors):
    np.save(tmp_path / "v.npy", unit(vectors))
    (tmp_path / "ids.txt").write_text("\n".join(NAMES) + "\n")
    assert open_index(tmp_path / "v.npy").metric == "dot"


@pytest.mark.parametrize("kind", ["IP", "L2", "HNSW", "IVF"])
def test_faiss_gives_whole_vectors_back(tmp_path, vectors, asked, kind):
    native = {
        "IP": lambda: faiss.IndexFlatIP(16),
        "L2": lambda: faiss.IndexFlatL2(16),
        "HNSW": lambda: faiss.IndexHNSWFlat(16, 16, faiss.METRIC_L2),
        "IVF": lambda: faiss.index_factory(16, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT),
    }[kind]()
    if kind == "IVF":
        native.train(vectors)
    native.add(vectors)
    index = open_index(write_faiss(tmp_path / "mine.index", native))
    assert np.array_equal(all_of(index), vectors)
    assert not index.lossy
    assert index.metric == ("dot" if kind in ("IP", "IVF") else "l2")
    assert index.effort_name == {"HNSW": "efSearch", "IVF": "nprobe"}.get(kind, "none")
    exact = exact_ranking(index, asked, 5)
    assert (index.search(asked, 5, 600 if kind == "HNSW" else 4).rows == exact.rows).mean() > 0.98


def test_quantised_vectors_are_called_lossy(tmp_path, vectors, capsys):
    native = faiss.index_factory(16, "OPQ4,IVF4,PQ4x4", faiss.METRIC_INNER_PRODUCT)
    native.train(vectors)
    native.add(vectors)
    index = open_index(write_faiss(tmp_path / "mine.faiss", native))
    assert index.lossy
    assert (index.effort_name, index.effort, index.most) == ("nprobe", 1, 4)
    given_back = all_of(index)
    assert not np.array_equal(given_back, vectors)
    assert np.einsum("nd,nd->n", unit(given_back), unit(vectors)).mean() > 0.7


def test_a_map_of_ids_is_read(tmp_path, vectors, asked):
    native = faiss.IndexIDMap(faiss.IndexFlatIP(16))
    native.add_with_ids(vectors, np.arange(600) * 7 + 3)
    index = open_index(write_faiss(tmp_path / "mapped.faiss", native, names=None))
    assert list(index.ids)[:3] == ["3", "10", "17"]
    assert np.array_equal(index.search(asked, 5).rows, exact_ranking(index, asked, 5).rows)


def test_faiss_files_that_cannot_be(tmp_path, vectors):
    native = faiss.IndexFlatIP(16)
    native.add(vectors)
    path = write_faiss(tmp_path / "a.faiss", native, names=None)
    with pytest.raises(InputError, match="has no ids"):
        open_index(path)
    write_faiss(path, native, names=NAMES[:-1])
    with pytest.raises(InputError, match="599 ids for 600 vectors"):
        open_index(path)
    write_faiss(path, native, names=[*NAMES[:-1], "d0"])
    with pytest.raises(InputError, match="id 'd0' is given twice"):
        open_index(path)
    write_faiss(path, native)
    with pytest.raises(InputError, match="compares by dot, not by l2"):
        open_index(path, metric="l2")
    path.write_bytes(b"nothing of faiss's")
    with pytest.raises(InputError, match="faiss cannot read this file"):
        open_index(path)


def test_tables_of_lancedb(tmp_path, vectors, asked, best):
    lance_table(tmp_path / "db", {**rows_of(vectors), "text": arrow.array(["words"] * 600)})
    for path in (tmp_path / "db" / "docs.lance", tmp_path / "db" / "docs"):
        index = open_index(path, metric="l2")
        assert list(index.ids) == NAMES
        assert np.array_equal(all_of(index), vectors)
        assert (index.search(asked, 5).rows == best(asked, vectors, "l2", 5)).all()
    with pytest.raises(InputError, match="nothing says how"):
        open_index(tmp_path / "db" / "docs")


def test_the_metric_of_a_table_is_its_indexs(tmp_path, vectors):
    table = lance_table(tmp_path / "db", rows_of(vectors))
    from lancedb.index import IvfFlat

    table.create_index("vector", config=IvfFlat(distance_type="dot", num_partitions=2))
    index = open_index(tmp_path / "db" / "docs.lance")
    assert (index.metric, index.effort_name, index.effort) == ("dot", "nprobe", 20)
    with pytest.raises(InputError, match="compares by dot, not by cosine"):
        open_index(tmp_path / "db" / "docs.lance", metric="cosine")


def test_columns_are_found_or_asked_for(tmp_path, vectors):
    columns = rows_of(vectors)
    lance_table(tmp_path / "db", {"key": columns["id"], "embedding": columns["vector"]}, "found")
    assert list(open_index(tmp_path / "db" / "found", metric="dot").ids) == NAMES
    lance_table(tmp_path / "db", {"id": columns["id"], "a": columns["vector"], "b": columns["vector"]}, "two")
    with pytest.raises(InputError, match="2 columns hold vectors of floats: a, b"):
        open_index(tmp_path / "db" / "two", metric="dot")
    words = {"one": columns["id"], "other": columns["id"], "vector": columns["vector"]}
    lance_table(tmp_path / "db", words, "names")
    with pytest.raises(InputError, match="no column is known to hold ids"):
        open_index(tmp_path / "db" / "names", metric="dot")
    lance_table(tmp_path / "db", {"id": arrow.array(["x"] * 600), "vector": columns["vector"]}, "same")
    with pytest.raises(InputError, match="id 'x' is given twice"):
        open_index(tmp_path / "db" / "same", metric="dot")
    with pytest.raises(InputError, match="LanceDB cannot open this table"):
        open_index(tmp_path / "db" / "none.lance", metric="dot")


@pytest.mark.parametrize("kind", ["exact", "faiss-hnsw", "lancedb"])
def test_one_index_becomes_another(tmp_path, built, vectors, ids, kind):
    source = open_index(built("faiss-flat", "dot"))
    build_index(tmp_path / "i", source.ids, source.vectors(), kind=kind, metric="dot")
    made = open_index(tmp_path / "i")
    assert list(made.ids) == ids
    assert np.array_equal(all_of(made), vectors)
    assert np.array_equal(all_of(made), held_rows(vectors).gather(np.arange(600)))


def test_an_index_that_gives_nothing_back_is_told(tmp_path, vectors):
    native = faiss.IndexIDMap(faiss.index_factory(16, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT))
    native.train(vectors)
    native.add_with_ids(vectors, np.arange(600))
    assert np.array_equal(all_of(open_index(write_faiss(tmp_path / "a.faiss", native, names=None))), vectors)
    inner = faiss.index_factory(16, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    inner.train(vectors)
    inner.add_with_ids(vectors, np.arange(600) * 2)  # numbers that are no rows
    with pytest.raises(InputError, match="faiss cannot give the vectors of a IndexIVFFlat back"):
        open_index(write_faiss(tmp_path / "b.faiss", inner))
    coded = faiss.IndexLSH(16, 32)
    coded.add(vectors)
    index = open_index(write_faiss(tmp_path / "c.faiss", coded))
    assert index.lossy


def test_an_index_is_opened_and_searched_without_torch(built):
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['sentence_transformers'] = None\n"
        "import numpy as np; from potstill.index import open_index\n"
        f"print(open_index({str(built('faiss-hnsw'))!r}).search(np.ones((1, 16), dtype=np.float32), 1).rows[0, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    query = np.ones((1, 16), dtype=np.float32)
    assert int(done.stdout) == open_index(built("faiss-hnsw")).search(query, 1).rows[0, 0]
