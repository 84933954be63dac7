"""Every kind of index gives back what was put in, and finds what is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import InputError, MissingExtra
from potstill.index import KINDS, build_index, exact_ranking, open_index, recall, settled
from potstill.index.files import read_ids, write_ids
from potstill.index.index import held_rows, unit

pytest.importorskip("faiss", reason="faiss-cpu is not installed")
pytest.importorskip("lancedb", reason="lancedb is not installed")


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_exact_search_is_brute_force(built, vectors, asked, best, metric):
    index = open_index(built("exact", metric))
    assert (index.search(asked, 10).rows == best(asked, vectors, metric, 10)).all()


def test_scores_of_distances_are_negative_squares(built, vectors, asked):
    found = open_index(built("exact", "l2")).search(asked, 3)
    away = np.square(asked[0].astype(np.float64) - vectors[found.rows[0, 0]]).sum()
    assert found.scores[0, 0] == pytest.approx(-away, rel=1e-5)


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_vectors_come_back(built, vectors, ids, kind, metric):
    index = open_index(built(kind, metric))
    assert list(index.ids) == ids
    assert (index.kind, index.metric, index.dimensions, len(index)) == (kind, metric, 16, 600)
    assert not index.lossy
    wanted = unit(vectors) if metric == "cosine" else vectors
    assert np.array_equal(np.concatenate(list(index.vectors())), wanted)
    assert np.array_equal(index.vectors().gather(np.array([5, 2])), wanted[[5, 2]])


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("kind", ["faiss-flat", "lancedb"])
def test_exhaustive_kinds_agree_with_exact_search(built, asked, kind, metric):
    index = open_index(built(kind, metric))
    truth, found = open_index(built("exact", metric)).search(asked, 10), index.search(asked, 10)
    assert np.array_equal(found.rows, truth.rows)
    assert np.allclose(found.scores, truth.scores, rtol=1e-4, atol=1e-4)
    assert (index.effort_name, index.effort) == ("none", None)


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_a_graph_finds_almost_all_and_more_with_more_effort(built, asked, metric):
    index = open_index(built("faiss-hnsw", metric, m=4, ef_construction=8))
    truth = exact_ranking(index, asked, 10)
    little, much = (recall(index.search(asked, 10, effort), truth, 10).mean() for effort in (1, 600))
    assert little < much
    assert much > (0.8 if metric == "dot" else 0.95)  # lengths that differ make hubs, which hide others
    assert index.effort_name == "efSearch"
    assert index.effort == 64


def test_all_lists_find_more_than_one(built, asked):
    index = open_index(built("faiss-ivfpq", nlist=12, m_pq=16, nprobe=3))
    truth = exact_ranking(index, asked, 10)
    one, all_lists = (recall(index.search(asked, 10, effort), truth, 10).mean() for effort in (1, 12))
    assert (index.effort_name, index.effort, index.most) == ("nprobe", 3, 12)
    assert one < all_lists
    assert all_lists > 0.8


def test_lists_of_lancedb_are_searched_with_effort(built, asked):
    index = open_index(built("lancedb", "dot", index="ivf-flat", nlist=2, nprobe=1))
    truth = exact_ranking(index, asked, 10)
    one, both = (recall(index.search(asked, 10, effort), truth, 10).mean() for effort in (1, 2))
    assert (index.effort_name, index.effort, index.most) == ("nprobe", 1, 2)
    assert one < both
    assert both == 1.0


def test_equal_inputs_build_equal_indexes(tmp_path, vectors, ids):
    for kind in ("exact", "faiss-flat", "faiss-hnsw", "faiss-ivfpq"):
        made = [build_index(tmp_path / f"{kind}{n}", ids, held_rows(vectors), kind=kind) for n in (1, 2)]
        assert made[0]["digest"] == made[1]["digest"], kind


def test_fewer_documents_than_asked_for(built, asked):
    for kind in KINDS:
        found = open_index(built(kind)).search(asked[:2], 700)
        assert found.rows.shape == (2, 700)
        assert (found.rows[:, -1] == -1).all()
        assert np.isneginf(found.scores[:, -1]).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), unique=True, max_size=20))
def test_any_ids_survive_their_file(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "ids.jsonl"
    write_ids(path, ids)
    assert read_ids(path) == ids


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(1, 12))
def test_of_equal_documents_the_first_comes_first(tmp_path_factory, kinds, k):
    vectors = np.eye(4, dtype=np.float32)[kinds]
    query = np.array([[4.0, 3.0, 2.0, 1.0]], dtype=np.float32)
    out = tmp_path_factory.mktemp("ties") / "index"
    build_index(out, [str(row) for row in range(len(kinds))], held_rows(vectors), metric="dot")
    expected = sorted(range(len(kinds)), key=lambda row: (kinds[row], row))[:k]
    assert [row for row in open_index(out).search(query, k).rows[0].tolist() if row >= 0] == expected


def test_zero_vectors_are_kept_counted_and_told(tmp_path, capsys):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2] = 0
    made = build_index(tmp_path / "i", list("abcd"), held_rows(vectors))
    assert made["zero_vectors"] == 1
    assert "1 of 4 vectors are all zero" in capsys.readouterr().err
    assert open_index(tmp_path / "i").search(vectors[:1], 4).rows[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v, i: (v, [*i[:-1], i[0]]), "given twice, in rows 0 and 599"),
        (lambda v, i: (v, i[:-1]), "599 ids for 600 vectors"),
        (lambda v, i: (np.where(np.arange(600)[:, None] == 9, np.nan, v), i), "id 'd2' has numbers that are not"),
        (lambda v, i: (np.where(np.arange(600)[:, None] == 9, np.inf, v), i), "not finite"),
        (lambda v, i: (v[:0], []), "there are no vectors"),
    ],
)
def test_what_cannot_be_indexed(tmp_path, vectors, ids, spoil, said):
    wrong, names = spoil(vectors, ids)
    with pytest.raises(InputError, match=said):
        build_index(tmp_path / "i", names, held_rows(wrong.astype(np.float32)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_index_is_left_alone(tmp_path, vectors, ids):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no index"):
        build_index(tmp_path, ids, held_rows(vectors))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_index_replaces_an_older_one(tmp_path, vectors, ids):
    for kind in ("exact", "faiss-flat"):
        build_index(tmp_path / "i", ids, held_rows(vectors), kind=kind)
    assert open_index(tmp_path / "i").kind == "faiss-flat"
    assert not (tmp_path / "i" / "vectors.npy").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_noticed(tmp_path, vectors, ids, kind):
    build_index(tmp_path / "i", ids, held_rows(vectors), kind=kind)
    names = (tmp_path / "i" / "ids.jsonl").read_text().splitlines()
    names[0], names[1] = names[1], names[0]
    (tmp_path / "i" / "ids.jsonl").write_text("\n".join(names) + "\n")
    with pytest.raises(InputError, match="not those that were built"):
        open_index(tmp_path / "i")


def test_malformed_records(tmp_path, vectors, ids):
    build_index(tmp_path / "i", ids, held_rows(vectors))
    about = json.loads((tmp_path / "i" / "index.json").read_text())
    (tmp_path / "i" / "index.json").write_text(json.dumps({**about, "format": 9}))
    with pytest.raises(InputError, match="of format 9"):
        open_index(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text("{")
    with pytest.raises(InputError, match="no index of Potstill's"):
        open_index(tmp_path / "i")
    with pytest.raises(InputError, match="no such file or folder"):
        open_index(tmp_path / "nowhere")


def test_queries_of_another_width(built):
    for kind in KINDS:
        with pytest.raises(InputError, match="queries' vectors have 3 numbers, those of the index 16"):
            open_index(built(kind)).search(np.ones((1, 3), dtype=np.float32), 1)
    with pytest.raises(InputError, match="query 0 holds numbers that are not finite"):
        open_index(built("exact")).search(np.full((1, 16), np.nan, dtype=np.float32), 1)


@pytest.mark.parametrize(
    ("kind", "given_", "said"),
    [
        ("exact", ["m=3"], "exact has no setting 'm'"),
        ("hnsw", [], "no kind of index 'hnsw'"),
        ("faiss-hnsw", ["m"], "is no setting"),
        ("faiss-hnsw", ["m=0"], "no whole number from 1"),
        ("faiss-ivfpq", ["m_pq=5"], "m_pq=5 does not divide the vectors' 16 numbers"),
        ("faiss-ivfpq", ["nlist=601"], "601 lists for 600 vectors"),
        ("faiss-ivfpq", ["bits=12"], "at most 8 bits"),
        ("lancedb", ["index=hnsw"], "index=hnsw is unknown"),
        ("lancedb", ["nlist=4"], "a table without an index has no lists"),
    ],
)
def test_settings_that_cannot_be(kind, given_, said):
    with pytest.raises(InputError, match=said):
        settled(kind, given_, 600, 16)


def test_settings_that_suit():
    assert settled("faiss-ivfpq", ["nlist="], 5183, 384)["nlist"] == 132
    assert settled("faiss-ivfpq", [], 5183, 384)["m_pq"] == 48
    assert settled("faiss-hnsw", {"m": "8"}, 10, 4)["m"] == 8
    with pytest.raises(InputError, match="trained on 256 vectors or more, and there are 255"):
        settled("faiss-ivfpq", [], 255, 16)


@pytest.mark.parametrize(("kind", "module"), [("faiss-flat", "faiss"), ("lancedb", "lancedb")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, vectors, ids, kind, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtra, match=rf"potstill\[{module}\]"):
        build_index(tmp_path / "i", ids, held_rows(vectors), kind=kind)
