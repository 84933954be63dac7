"""Candidates from folders and files: both formats, what is not known here, and errors that name the line."""

import gzip

import numpy as np
import pytest

from potstill.candidates import by_vectors, mine, saved_ranking
from potstill.errors import InputError

DOCUMENT_IDS = [f"d{i}" for i in range(6)]
QUERY_IDS = ["q0", "q1", "q2"]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_trec_run(tmp_path):
    path = write(
        tmp_path / "run.trec",
        "q1 Q0 d3 1 0.5 x\nq1 Q0 d2 2 2.5 x\nq1 Q0 away 3 9 x\n\nq0 Q0 d5 1 1 x\nq0 Q0 d4 2 1 x\nother Q0 d1 1 1 x\n",
    )
    rows, scores, settings = saved_ranking(path, QUERY_IDS, DOCUMENT_IDS, 10)
    assert rows.tolist() == [[5, 4], [2, 3], [-1, -1]]
    assert scores.tolist() == [[1, 1], [2.5, 0.5], [-np.inf, -np.inf]]
    assert settings == {
        "path": str(path),
        "queries_without": 1,
        "queries_not_asked_for": 1,
        "documents_not_in_the_collection": 1,
    }
    assert saved_ranking(path, QUERY_IDS, DOCUMENT_IDS, 1)[0].tolist() == [[5], [2], [-1]]


def test_scores_parted_by_tabs_with_a_header_and_ids_with_spaces(tmp_path):
    text = "query-id\tcorpus-id\tscore\nq 0\td 1\t0.5\nq 0\td0\t0.25\n"
    path = tmp_path / "scores.tsv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)
    rows, scores, _ = saved_ranking(path, ["q 0"], ["d0", "d 1"], 5)
    assert rows.tolist() == [[1, 0]]
    assert scores.tolist() == [[0.5, 0.25]]


def test_a_header_may_name_columns_in_any_order(tmp_path):
    path = tmp_path / "scores.tsv"
    path.write_text("rank\tscore\tcorpus-id\tquery-id\n1\t0.5\td1\tq0\n2\t0.25\td0\tq0\n", encoding="utf-8")
    rows, scores, _ = saved_ranking(path, ["q0"], ["d0", "d1"], 5)
    assert rows.tolist() == [[1, 0]]
    assert scores.tolist() == [[0.5, 0.25]]
    path.write_text("q0\td1\t1\t0.5\n", encoding="utf-8")
    with pytest.raises(InputError, match="4 fields") as error:
        saved_ranking(path, ["q0"], ["d0", "d1"], 5)
    assert "a header may name other columns" in error.value.fix


def test_a_folder_is_read_by_query_id(tmp_path):
    vectors = np.eye(6, dtype=np.float32) + 0.1 * np.arange(6, dtype=np.float32)[:, None]
    mine(by_vectors(vectors[:2], vectors), ["q2", "q9"], DOCUMENT_IDS, 4, source="v").save(tmp_path / "mined")
    rows, scores, settings = saved_ranking(tmp_path / "mined", QUERY_IDS, DOCUMENT_IDS, 3)
    found = mine(by_vectors(vectors[:1], vectors), ["q2"], DOCUMENT_IDS, 3, source="v")
    assert rows.tolist() == [[-1] * 3, [-1] * 3, found.rows[0].tolist()]
    np.testing.assert_array_equal(scores[2], found.scores[0])
    assert (settings["queries_without"], settings["queries_not_asked_for"]) == (2, 1)
    assert settings["made_of"][0]["source"] == "v"
    with pytest.raises(InputError, match="another collection"):
        saved_ranking(tmp_path / "mined", QUERY_IDS, DOCUMENT_IDS[::-1], 3)
    with pytest.raises(InputError, match=r"none of its queries \(2\) is known here"):
        saved_ranking(tmp_path / "mined", ["q0"], DOCUMENT_IDS, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q0 d0 1\n", r"run:1: 3 fields[\s\S]*six|Q0"),
        ("q0\td0\t1\nq0\td1\thigh\n", "run:2: the score 'high' is not a number"),
        ("q0\td0\tnan\n", "run:1: the score 'nan' is not finite"),
        ("q0\td0\t1\nq1\td0\t1\nq0\td0\t2\n", "run:3: query 'q0' has document 'd0' twice"),
        ("", "holds no queries"),
        ("0\td0\t1\n1\td0\t1\n", r"none of its queries \(2\) is known here"),
        ("q0\t0\t1\n", r"none of its documents \(1\) is known here"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        saved_ranking(write(tmp_path / "run", text), QUERY_IDS, DOCUMENT_IDS, 5)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"candidates\.sources: there is no folder[\s\S]*`teacher`, `bm25`"):
        saved_ranking(tmp_path / "away", QUERY_IDS, DOCUMENT_IDS, 5)
