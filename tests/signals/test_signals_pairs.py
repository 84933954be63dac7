"""Tables of pairs: how they are named, listed, verified and cleared, and how messages show a pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals_fakes import MARK, FakeSource, flip
from typer.testing import CliRunner

from potstill.cli import app
from potstill.errors import InputError, PotstillError
from potstill.signals import SignalStore, fill, gc, listing, pair_text, split_pair, verify

SCORES = replace(
    MARK,
    model="lab/judge",
    role="pair",
    dimensions=1,
    normalize=None,
    pooling=None,
    extra=(("signal", "scores"), ("label", "1")),
)
VECTORS = replace(SCORES, dimensions=8, extra=(("signal", "pair_vectors"),))
TEXTS = [pair_text(f"query {i}", f"document {j}") for i in range(4) for j in range(5)]


@pytest.fixture
def pairs(tmp_path) -> SignalStore:
    """Scores in float32 and pair vectors in float16 of 20 pairs."""
    store = SignalStore(tmp_path / "signals", "float32")
    fill(store.vectors(SCORES), FakeSource(SCORES), TEXTS, "pair", tokens_per_batch=110, shard_rows=8)
    fill(SignalStore(store.root).vectors(VECTORS), FakeSource(VECTORS), TEXTS, "pair")
    return store


@given(st.text(), st.text())
def test_a_pair_can_be_read_back(query: str, document: str):
    assert split_pair(pair_text(query, document)) == (query, document)


@given(st.text(alphabet="1:a"), st.text(alphabet="1:a"), st.text(alphabet="1:a"), st.text(alphabet="1:a"))
def test_two_pairs_share_no_text(a: str, b: str, c: str, d: str):
    assert (pair_text(a, b) == pair_text(c, d)) == ((a, b) == (c, d))


def test_listing(pairs: SignalStore):
    entries = {entry.signal: entry for entry in listing(pairs.root)}
    scores, vectors = entries["scores"], entries["pair_vectors"]
    assert (scores.role, scores.label, scores.rows, scores.dimensions, scores.dtype) == ("pair", "1", 20, 1, "float32")
    assert (vectors.role, vectors.label, vectors.rows, vectors.dimensions) == ("pair", None, 20, 8)
    assert str(scores).startswith(
        "lab/judge (scores of pairs, label 1, at most 64 tokens, revision abc): 20 x 1 float32"
    )
    assert str(vectors).startswith("lab/judge (pair_vectors of pairs, at most 64 tokens, revision abc): 20 x 8 float16")


def test_verify_finds_a_broken_score_and_fill_mends_it(pairs: SignalStore):
    assert verify(pairs.root) == []
    table = pairs.vectors(SCORES)
    flip(sorted(table.folder.glob("*.vectors.npy"))[0], -1)
    (problem,) = verify(pairs.root)
    assert problem.path.parent == table.folder
    assert problem.recomputable
    report = fill(pairs.vectors(SCORES), FakeSource(SCORES), TEXTS, "pair")
    assert (report.encoded, report.dropped) == (10, 1)
    assert verify(pairs.root) == []


def test_gc(pairs: SignalStore):
    table = pairs.vectors(SCORES)
    flip(sorted(table.folder.glob("*.vectors.npy"))[0], -1)
    assert gc(pairs.root) > 0
    assert sorted(entry.rows for entry in listing(pairs.root)) == [10, 20]
    assert gc(pairs.root, model="lab/j*") > 0
    assert listing(pairs.root) == []


def test_the_command_line_shows_and_clears_them(pairs: SignalStore):
    run = CliRunner().invoke
    shown = run(app, ["signals", "ls", "--signals", str(pairs.root)])
    assert shown.exit_code == 0
    assert "scores of pairs, label 1" in shown.output
    assert "pair_vectors of pairs" in shown.output
    assert run(app, ["signals", "verify", "--signals", str(pairs.root)]).exit_code == 0
    assert run(app, ["signals", "gc", "--signals", str(pairs.root), "--model", "lab/judge"]).exit_code == 0
    assert listing(pairs.root) == []


class Broken(FakeSource):
    def encode(self, texts, role):
        vectors = super().encode(texts, role)
        vectors[[split_pair(text)[0] == "query 2" for text in texts]] = np.nan
        return vectors


def test_a_bad_score_names_query_and_document(tmp_path):
    table = SignalStore(tmp_path, "float32").vectors(SCORES)
    with pytest.raises(InputError) as told:
        fill(table, Broken(SCORES), TEXTS, "pair")
    said = str(told.value)
    assert "lab/judge gave a score that is not finite for the query 'query 2' with the document 'document 0'" in said
    assert "(5 such pairs)" in said
    assert "7:query" not in said


def test_a_missing_score_names_query_and_document(pairs: SignalStore):
    long = pair_text("who?", "x" * 200)
    with pytest.raises(PotstillError) as told:
        pairs.vectors(SCORES).vectors([TEXTS[0], long])
    said = f"1 of 2 pairs have no score here; the first is the query 'who?' with the document '{'x' * 79}…'"
    assert said in str(told.value)
    assert told.value.fix == "fill the table with these pairs first"


def test_progress_counts_pairs(tmp_path, capsys):
    fill(SignalStore(tmp_path, "float32").vectors(SCORES), FakeSource(SCORES), TEXTS, "pair")
    assert "scores of pairs: 20/20 pairs" in capsys.readouterr().err
