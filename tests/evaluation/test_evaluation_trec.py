from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import InputError
from potstill.evaluation.trec import read_run, write_run

IDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6).filter(lambda s: s.split() == [s])
RANKED = st.dictionaries(IDS, st.floats(-1e6, 1e6), min_size=1, max_size=6).map(
    lambda scores: sorted(scores.items(), key=lambda item: -item[1])
)


@given(run=st.dictionaries(IDS, RANKED, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_run_comes_back_as_it_was(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("runs") / "run.txt"
    write_run(path, run)
    assert read_run(path) == run


def test_format(tmp_path):
    write_run(tmp_path / "run", {"q1": [("b", 2.0), ("a", 0.5)]}, tag="student")
    assert (tmp_path / "run").read_text() == "q1 Q0 b 1 2.0 student\nq1 Q0 a 2 0.5 student\n"


def test_sorted_by_score_then_by_rank_and_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "run.gz"
    lines = "q Q0 low 1 0.1 t\n\nq Q0 second 3 0.9 t\nq\tQ0\tfirst\t2\t0.9\tt\n"
    path.write_bytes(gzip.compress(lines.encode()))
    assert read_run(path) == {"q": [("first", 0.9), ("second", 0.9), ("low", 0.1)]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"q Q0 d 2 0.5\n", "5 fields"),
        (b"q Q0 d 2 0.5 tag more\n", "7 fields"),
        (b"q Q0 d 2 high tag\n", "'high'"),
        (b"q Q0 d two 0.5 tag\n", "'two'"),
        (b"q Q0 d 2 nan tag\n", "not finite"),
        (b"q Q0 d 2 inf tag\n", "not finite"),
        (b"q Q0 a 2 0.5 tag\n", "document 'a' twice"),
        (b"q Q0 \xff 2 0.5 tag\n", "not UTF-8"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / "run.txt"
    path.write_bytes(b"q Q0 a 1 0.9 tag\n" + line + b"q Q0 z 3 0.1 tag\n")
    with pytest.raises(InputError, match=message) as caught:
        read_run(path)
    assert caught.value.where == f"{path}:2"


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_run(tmp_path / "none")
    (tmp_path / "run.gz").write_bytes(b"this is not gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "run.gz")


@pytest.mark.parametrize(
    ("run", "tag"), [({"q 1": [("a", 1.0)]}, "t"), ({"q": [("a b", 1.0)]}, "t"), ({"q": [("", 1.0)]}, "t"), ({}, "a b")]
)
def test_ids_that_the_format_cannot_express_leave_no_file(tmp_path, run, tag):
    with pytest.raises(InputError, match="white space"):
        write_run(tmp_path / "run.txt", run, tag=tag)
    assert list(tmp_path.iterdir()) == []
