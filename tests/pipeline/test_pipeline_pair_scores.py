"""A scorer's word on every candidate: in the candidates' places, from the store, with holes where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from potstill.collection import Collection, open_collection
from potstill.errors import InputError
from potstill.pipeline.pair_scores import candidate_texts, pair_scores, pair_vectors
from potstill.recipe import ScorerSpec
from potstill.signals import Fingerprint, SignalStore, listing, pair_text, split_pair
from potstill.teachers import PairSignal, Scorer, open_scorer
from potstill.teachers.scorer import no_such_signal
from potstill.texts import digest
from tiny import make_tiny_cross_encoder

WIDTH = 3


class Fake:
    """A scorer whose word on a pair is a function of its text; it counts what it reads."""

    def __init__(self, signals: Sequence[PairSignal] = ("scores", "pair_vectors")) -> None:
        self.name, self.kind = "fake", "dual-pooled"
        self.signals: frozenset[PairSignal] = frozenset(signals)
        self.dimensions: int | None = WIDTH
        self.parameters: int | None = None
        self.bytes: int | None = None
        self.read: list[str] = []

    def source(self, signal: PairSignal = "scores") -> _Source:
        if signal not in self.signals:
            raise no_such_signal(self, signal)
        return _Source(self, signal)


class _Source:
    recomputable = True

    def __init__(self, owner: Fake, signal: PairSignal) -> None:
        self.owner, self.width, self.signal = owner, 1 if signal == "scores" else 2 * WIDTH, signal

    def fingerprint(self, role: str) -> Fingerprint:
        extra = (("signal", self.signal),)
        return Fingerprint("fake", "lab/fake", "1", "pair", "", None, 9, None, "float32", self.width, extra)

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        self.owner.read += texts
        return np.stack([word(text, self.width) for text in texts])

    def lengths(self, texts: Sequence[str], role: str) -> np.ndarray:
        return np.array([len(text) for text in texts])

    def truncated(self, texts: Sequence[str], role: str) -> int:
        return sum(split_pair(text)[0].startswith("long") for text in texts)


def word(text: str, width: int) -> np.ndarray:
    seed = int.from_bytes(digest(text), "big")
    return (np.random.default_rng(seed).integers(-500, 500, width) / 256).astype(np.float32)


QUERIES = ["bread", "long sails", "bread", "the moon"]
DOCUMENTS = {0: "crust", 3: "wind and sail", 7: "a comet"}
ROWS = np.array([[0, 3, -1], [3, -1, 7], [0, 7, 3], [-1, -1, -1]])


@pytest.fixture
def collection(tiny_collection: Path) -> Collection:
    return open_collection(tiny_collection)


def test_scores_are_in_their_candidates_places(tmp_path: Path):
    fake = Fake()
    found = pair_scores(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    assert found.scores.dtype == np.float32
    assert found.scores.shape == ROWS.shape
    for place, row in np.ndenumerate(ROWS):
        score = found.scores[place]
        if row < 0:
            assert np.isnan(score)
        else:
            assert score == word(pair_text(QUERIES[place[0]], DOCUMENTS[row]), 1)[0]
    assert (found.mask == (ROWS >= 0)).all()
    assert (found.pairs, found.truncated) == (7, 2)
    assert len(fake.read) == len(set(fake.read)) == 5  # "bread" is asked twice, about two documents in common


def test_the_second_time_nothing_is_read(tmp_path: Path):
    first = pair_scores(Fake(), QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    fake = Fake()
    again = pair_scores(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    assert fake.read == []
    np.testing.assert_array_equal(again.scores, first.scores)
    assert (again.pairs, again.truncated) == (first.pairs, first.truncated)
    more = np.array([[3, 0, 7]])
    pair_scores(fake, ["bread"], DOCUMENTS, more, tmp_path, "fake")
    assert fake.read == []
    pair_scores(fake, ["a new one"], DOCUMENTS, more, tmp_path, "fake")
    assert len(fake.read) == 3


def test_pair_vectors_are_both_sides_of_each_candidate(tmp_path: Path):
    fake = Fake()
    found = pair_vectors(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    assert found.shape == (4, 3, WIDTH)
    assert (found.pairs, found.truncated) == (7, 2)
    assert (found.mask == (ROWS >= 0)).all()
    lists = np.array([2, 0, 3, 2])
    queries, documents = found.gather(lists)
    assert queries.shape == documents.shape == (4, 3, WIDTH)
    assert queries.dtype == documents.dtype == np.float32
    for place, row in np.ndenumerate(ROWS[lists]):
        both = np.concatenate([queries[place], documents[place]])
        if row < 0:
            assert np.isnan(both).all()
        else:
            expected = word(pair_text(QUERIES[lists[place[0]]], DOCUMENTS[row]), 2 * WIDTH)
            np.testing.assert_allclose(both, expected, rtol=1e-3)  # float16 on disk
    assert len(fake.read) == 5
    assert pair_vectors(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake").pairs == 7
    assert len(fake.read) == 5


def test_two_signals_of_one_scorer_are_two_tables(tmp_path: Path):
    fake = Fake()
    pair_scores(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    pair_vectors(fake, QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    entries = {entry.signal: entry for entry in listing(tmp_path)}
    assert {signal: (e.dtype, e.dimensions, e.rows) for signal, e in entries.items()} == {
        "scores": ("float32", 1, 5),
        "pair_vectors": ("float16", 2 * WIDTH, 5),
    }


def test_no_candidates_at_all(tmp_path: Path):
    fake = Fake()
    for rows in (np.full((2, 3), -1), np.empty((2, 0), dtype=np.int64)):
        found = pair_scores(fake, ["a", "b"], {}, rows, tmp_path, "fake")
        assert np.isnan(found.scores).all()
        assert (found.scores.shape, found.pairs) == (rows.shape, 0)
        assert pair_vectors(fake, ["a", "b"], {}, rows, tmp_path, "fake").gather(np.array([0]))[0].shape[0] == 1
    assert fake.read == []
    assert list(tmp_path.iterdir()) == []


def test_texts_by_position_will_do(tmp_path: Path):
    texts = [f"document {i}" for i in range(8)]
    found = pair_scores(Fake(), QUERIES, texts, ROWS, tmp_path, "fake")
    assert found.scores[0, 1] == word(pair_text("bread", "document 3"), 1)[0]


def test_only_documents_that_occur_are_held(collection: Collection):
    texts = {row: document.full for row, document in enumerate(collection.documents())}
    rows = np.array([[4, -1, 29], [4, 0, -1]])
    assert candidate_texts(collection, rows) == {row: texts[row] for row in (0, 4, 29)}
    assert candidate_texts(collection, np.full((2, 2), -1)) == {}
    with pytest.raises(InputError, match="candidate row 30 is no document: the collection has 30") as told:
        candidate_texts(collection, np.array([[1, 30]]))
    assert told.value.fix == "mine the candidates anew"


def test_a_cross_encoder_on_a_collection(collection: Collection, tmp_path: Path):
    """As the library's own predictions, pair by pair."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    model = make_tiny_cross_encoder(tmp_path / "reader")
    scorer: Scorer = open_scorer(ScorerSpec(kind="cross-encoder", model=str(model), device="cpu"))
    queries = list(collection.queries.values())[:6]
    rows = np.random.default_rng(0).integers(-1, collection.document_count, (6, 5))
    texts = candidate_texts(collection, rows)
    found = pair_scores(scorer, queries, texts, rows, tmp_path / "signals", "reader: pairs")
    held = rows >= 0
    pairs = [(queries[i], texts[rows[i, j]]) for i, j in np.argwhere(held)]
    expected = CrossEncoder(str(model), device="cpu").predict(pairs, activation_fn=Identity())
    np.testing.assert_allclose(found.scores[held], expected, atol=1e-5)
    assert np.isnan(found.scores[~held]).all()
    assert (~held).sum() > 0
    assert found.truncated == scorer.source().truncated([pair_text(*pair) for pair in pairs], "pair")


BAD = [
    (QUERIES[:3], DOCUMENTS, ROWS, "one list for each of the 3 queries, not int64 (4, 3)"),
    (QUERIES, DOCUMENTS, ROWS[:, 0], "not int64 (4,)"),
    (QUERIES, DOCUMENTS, ROWS.astype(np.float32), "not float32 (4, 3)"),
    (QUERIES, {0: "crust"}, ROWS, "2 candidates are rows without a text; the first is 3"),
    (QUERIES, ["a", "b", "c", "d"], ROWS, "1 candidates are rows without a text; the first is 7"),
]


@pytest.mark.parametrize(("queries", "documents", "rows", "said"), BAD, ids=[case[3][:30] for case in BAD])
def test_candidates_that_do_not_fit(queries, documents, rows, said: str, tmp_path: Path):
    fake = Fake()
    with pytest.raises(InputError) as told:
        pair_scores(fake, queries, documents, rows, tmp_path, "fake")
    assert said in str(told.value)
    assert "mine the candidates" in str(told.value.fix)
    assert fake.read == []


def test_more_or_fewer_scores_than_pairs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = _Source.encode
    monkeypatch.setattr(_Source, "encode", lambda self, texts, role: real(self, texts, role)[:-1])
    with pytest.raises(InputError, match=r"gave float32 \(4, 1\) where a float array \(5, 1\) was due") as told:
        pair_scores(Fake(), QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    assert "one score for each of the pairs" in str(told.value.fix)


def test_scores_that_vanish_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("potstill.pipeline.pair_scores.fill", lambda *args, **more: None)
    with pytest.raises(InputError, match="fake gave 0 scores for 7 candidates") as told:
        pair_scores(Fake(), QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    assert "signals verify" in str(told.value.fix)


def test_a_scorer_without_vectors_says_so(tmp_path: Path):
    with pytest.raises(InputError, match="gives scores, not pair_vectors"):
        pair_vectors(Fake(["scores"]), QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")


def test_the_store_keeps_scores_whole(tmp_path: Path):
    """float16 would round a score of 11.3 by up to 0.004."""
    pair_scores(Fake(), QUERIES, DOCUMENTS, ROWS, tmp_path, "fake")
    table = SignalStore(tmp_path, "float32").vectors(Fake().source().fingerprint("pair"))
    text = pair_text("bread", "crust")
    assert table.vectors([text])[0, 0] == word(text, 1)[0]
    assert table.dtype == np.float32
