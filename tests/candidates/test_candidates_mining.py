"""Mining without known positives, tables on disk, merging and draws."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.candidates import (
    Bm25Index,
    Candidates,
    Provenance,
    by_chance,
    by_vectors,
    by_words,
    document_digest,
    known_positives,
    load_candidates,
    merge,
    mine,
    nearest,
    positive_rows,
    sample,
    text_groups,
)
from potstill.errors import InputError

DOCUMENT_IDS = [str(100 + i) for i in range(40)]
QUERY_IDS = [str(i) for i in range(6)]
POSITIVES = {"0": {"100", "101"}, "1": ["139"], "2": {"gone", "103"}, "unasked": {"104"}}
rng = np.random.default_rng(0)
QUERIES, DOCUMENTS = rng.standard_normal((6, 8)), rng.standard_normal((40, 8))
# The best document of query 0 is its own positive.
DOCUMENTS[0] = QUERIES[0] * 5
TEXTS = [f"word{i % 7} word{i % 3} common" for i in range(40)]


def searches():
    return {
        "vectors": by_vectors(QUERIES, DOCUMENTS),
        "bm25": by_words([TEXTS[i] for i in range(6)], Bm25Index(TEXTS)),
        "random": by_chance(40, seed=3),
    }


def table(rows, source="made", query_ids=None, documents=40, ids=tuple(DOCUMENT_IDS)):
    rows = np.array(rows, dtype=np.int64)
    return Candidates(
        tuple(query_ids or [str(i) for i in range(len(rows))]),
        rows,
        np.where(rows >= 0, -np.arange(rows.shape[1], dtype=np.float32), -np.inf).astype(np.float32),
        np.zeros(rows.shape, np.uint8),
        (Provenance(source, {}, len(rows)),),
        documents,
        document_digest(ids),
    )


class TestMining:
    @pytest.mark.parametrize("name", ["vectors", "bm25", "random"])
    @pytest.mark.parametrize("k", [1, 5, 60])
    def test_known_positives_are_never_among_the_candidates(self, name, k):
        found = mine(searches()[name], QUERY_IDS, DOCUMENT_IDS, k, source=name, positives=POSITIVES)
        assert found.rows.shape == (6, k)
        for query_id, rows in zip(QUERY_IDS, found.rows, strict=True):
            ids = [DOCUMENT_IDS[r] for r in rows if r >= 0]
            assert len(set(ids)) == len(ids)
            assert not set(ids) & set(POSITIVES.get(query_id, ()))
            assert (rows[len(ids) :] == -1).all()
        if k == 60 and name != "bm25":
            assert found.mask.sum(axis=1).tolist() == [38, 39, 39, 40, 40, 40]

    def test_without_judgments_the_positive_is_first(self):
        found = mine(by_vectors(QUERIES, DOCUMENTS), QUERY_IDS, DOCUMENT_IDS, 3, source="vectors")
        assert found.rows[0, 0] == 0
        with_them = mine(by_vectors(QUERIES, DOCUMENTS), QUERY_IDS, DOCUMENT_IDS, 3, source="v", positives=POSITIVES)
        np.testing.assert_array_equal(with_them.rows[3:], nearest(QUERIES[3:], DOCUMENTS, 3)[0])

    def test_what_has_a_positives_text_is_no_candidate_either(self):
        # 139 has the text of 100 and 120, but for the case; 100 and 101 are the positives of query 0.
        texts = [f"text {i}" for i in range(40)]
        texts[20], texts[39] = "Text  0", "TEXT 0"
        known = known_positives(QUERY_IDS, DOCUMENT_IDS, POSITIVES, text_groups(texts))
        assert [rows.tolist() for rows in known.rows] == [[0, 1], [39], [3], [], [], []]
        assert [rows.tolist() for rows in known.copies] == [[20, 39], [0, 20], [], [], [], []]
        found = mine(searches()["vectors"], QUERY_IDS, DOCUMENT_IDS, 40, source="v", positives=known)
        assert found.mask.sum(axis=1).tolist() == [36, 37, 39, 40, 40, 40]
        assert not set(found.rows[0].tolist()) & {0, 1, 20, 39}
        assert found.provenance[0].copies_kept_out == 4

    def test_provenance_counts(self):
        found = mine(
            searches()["vectors"],
            QUERY_IDS,
            DOCUMENT_IDS,
            39,
            source="v",
            settings={"teacher": "t"},
            positives=POSITIVES,
        )
        assert found.provenance == (Provenance("v", {"teacher": "t"}, 6, 4, 1, 1, 0, 38 + 5 * 39),)

    @pytest.mark.parametrize(
        ("queries", "documents", "positives"),
        [
            (QUERY_IDS, DOCUMENT_IDS, {0: {"100"}}),
            (QUERY_IDS, DOCUMENT_IDS, {"0": {100}}),
            (QUERY_IDS, list(range(40)), {"0": {"100"}}),
            (list(range(6)), DOCUMENT_IDS, {"0": {"100"}}),
        ],
    )
    def test_ids_that_are_numbers_are_refused_not_compared(self, queries, documents, positives):
        with pytest.raises(InputError, match=r"of type int[\s\S]*strings everywhere"):
            mine(searches()["vectors"], queries, documents, 3, source="v", positives=positives)

    def test_other_mistakes(self):
        with pytest.raises(InputError, match="one string"):
            positive_rows(["0"], DOCUMENT_IDS, {"0": "100"})
        with pytest.raises(InputError, match=r"none of the 2 known positives[\s\S]*by the ids of its documents"):
            mine(
                searches()["vectors"], QUERY_IDS, DOCUMENT_IDS, 3, source="v", positives={"0": ["d100"], "1": ["d139"]}
            )
        with pytest.raises(InputError, match="repeated"):
            mine(searches()["vectors"], ["0"] * 6, DOCUMENT_IDS, 3, source="v")

    def test_chance_depends_on_the_seed_and_the_place_alone(self):
        nothing = [np.array([], dtype=np.int64)] * 6
        rows, scores = by_chance(40, 3)(10, nothing)
        np.testing.assert_array_equal(by_chance(40, 3)(10, nothing[:2])[0], rows[:2])
        assert (by_chance(40, 4)(10, nothing)[0] != rows).any()
        assert (scores == 0).all()
        counts = np.bincount(by_chance(20, 0)(5, [np.array([7])] * 2000)[0].ravel(), minlength=20)
        assert counts[7] == 0
        assert counts[[i for i in range(20) if i != 7]].min() > 400


class TestTable:
    def test_saved_and_loaded(self, tmp_path):
        found = mine(
            searches()["bm25"], QUERY_IDS, DOCUMENT_IDS, 4, source="bm25", settings={"k1": 0.9}, positives=POSITIVES
        )
        for _ in range(2):  # the second time over the first
            found.save(tmp_path / "mined")
        assert {p.name for p in (tmp_path / "mined").iterdir()} == {
            "candidates.json",
            "rows.npy",
            "scores.npy",
            "source.npy",
        }
        back = load_candidates(tmp_path / "mined", DOCUMENT_IDS)
        assert back.provenance == found.provenance
        assert back.query_ids == found.query_ids
        for name in ("rows", "scores", "source"):
            np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
        assert back.positions(["3", "0", "none"]).tolist() == [3, 0, -1]

    def test_files_of_before_have_no_counts_of_what_was_dropped(self, tmp_path):
        table([[0, 1]]).save(tmp_path / "mined")
        about = json.loads((tmp_path / "mined" / "candidates.json").read_text())
        for provenance in about["provenance"]:
            for later in ("copies_kept_out", "found", "dropped"):
                del provenance[later]
        (tmp_path / "mined" / "candidates.json").write_text(json.dumps(about))
        assert load_candidates(tmp_path / "mined").provenance == table([[0, 1]]).provenance

    def test_of_another_collection_is_refused(self, tmp_path):
        table([[0, 1]]).save(tmp_path / "mined")
        for other in (DOCUMENT_IDS[::-1], DOCUMENT_IDS[:-1]):
            with pytest.raises(InputError, match="another collection"):
                load_candidates(tmp_path / "mined", other)

    @pytest.mark.parametrize("damage", ["nothing", "json", "format", "cut", "pickle", "rows"])
    def test_broken_files_are_named(self, tmp_path, damage):
        folder = tmp_path / "mined"
        table([[0, 1], [2, -1]]).save(folder)
        about = folder / "candidates.json"
        if damage == "nothing":
            (folder / "scores.npy").unlink()
        elif damage == "json":
            about.write_text("{")
        elif damage == "format":
            about.write_text(json.dumps({**json.loads(about.read_text()), "format": 99}))
        elif damage == "cut":
            (folder / "rows.npy").write_bytes((folder / "rows.npy").read_bytes()[:-9])
        elif damage == "pickle":
            np.save(folder / "rows.npy", np.array([{}, {}], dtype=object))
        else:
            np.save(folder / "rows.npy", np.array([[0, 1], [2, 40]], dtype=np.int64))
        with pytest.raises(InputError, match=r"mined[\s\S]*mine the candidates anew"):
            load_candidates(folder)

    def test_digest_tells_ids_apart(self):
        assert document_digest(["ab", "c"]) != document_digest(["a", "bc"])
        assert document_digest(["a", "b"]) != document_digest(["b", "a"])

    def test_bad_tables(self):
        good = table([[0, 1]])
        for change, message in (
            ({"rows": np.zeros((2, 2), np.int64)}, "rows must be"),
            ({"scores": np.zeros((1, 2))}, "scores must be float32"),
            ({"rows": np.full((1, 2), 40)}, "-1 to 39"),
        ):
            with pytest.raises(ValueError, match=message):
                Candidates(**{**{f: getattr(good, f) for f in good.__dataclass_fields__}, **change})
        with pytest.raises(ValueError, match="all different"):
            table([[0], [1]], query_ids=["0", "0"])


class TestMerge:
    def test_takes_turns_and_drops_repeats(self):
        a, b = table([[1, 2, 3], [4, -1, -1]], "a"), table([[2, 9], [4, 5]], "b")
        merged = merge([a, b])
        assert merged.rows.tolist() == [[1, 2, 9, 3], [4, 5, -1, -1]]
        assert merged.source.tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
        assert merged.scores.tolist() == [[0, 0, -1, -2], [0, -1, -np.inf, -np.inf]]
        assert [p.source for p in merged.provenance] == ["a", "b"]
        assert [p.dropped for p in merged.provenance] == [{"repeated": 1}, {"repeated": 1}]
        assert [p.dropped["count"] for p in merge([a, b], k=2).provenance] == [1, 1]
        assert merge([a, b], k=2).rows.tolist() == [[1, 2], [4, 5]]
        again = merge([merged, table([[7], [8]], "c")])
        assert [p.source for p in again.provenance] == ["a", "b", "c"]
        assert again.rows.tolist() == [[1, 7, 2, 9, 3], [4, 8, 5, -1, -1]]
        assert again.source.tolist() == [[0, 2, 1, 1, 0], [0, 2, 1, 0, 0]]

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 4))
    def test_is_the_union_without_repeats(self, seed, count):
        draw = np.random.default_rng(seed)
        parts = []
        for i in range(count):
            rows = np.array([draw.permutation(12)[: 4 + i] for _ in range(3)])
            rows[draw.random(rows.shape) < 0.3] = -1
            parts.append(table(rows, str(i)))
        merged = merge(parts)
        for q in range(3):
            line = merged.rows[q][merged.rows[q] >= 0].tolist()
            assert len(line) == len(set(line))
            assert set(line) == {r for part in parts for r in part.rows[q].tolist() if r >= 0}
            assert (merged.rows[q][len(line) :] == -1).all()
            for row, source in zip(line, merged.source[q], strict=False):
                assert row in parts[source].rows[q]

    def test_only_like_with_like(self):
        with pytest.raises(InputError, match="different collections"):
            merge([table([[0]]), table([[0]], ids=("a", "b"))])
        with pytest.raises(InputError, match="different queries"):
            merge([table([[0]]), table([[0]], query_ids=["other"])])
        with pytest.raises(ValueError, match="nothing to merge"):
            merge([])


class TestSample:
    POOL = table([[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, -1, -1, -1, -1, -1, -1], [-1] * 8])

    def test_draws_different_candidates_in_order(self):
        drawn = sample(self.POOL, 3, seed=0)
        assert drawn.shape == (3, 3)
        assert (np.diff(drawn[0]) > 0).all()
        assert drawn[1].tolist() == [8, 9, -1]
        assert drawn[2].tolist() == [-1, -1, -1]

    def test_seed_and_epoch_settle_the_draw(self):
        first = sample(self.POOL, 3, seed=0, epoch=1)
        np.testing.assert_array_equal(sample(self.POOL, 3, seed=0, epoch=1), first)
        assert len({tuple(sample(self.POOL, 3, seed=0, epoch=e)[0]) for e in range(20)}) > 5
        assert len({tuple(sample(self.POOL, 3, seed=s)[0]) for s in range(20)}) > 5

    def test_all_alike_likely(self):
        counts = np.zeros(8)
        for epoch in range(2000):
            counts[sample(self.POOL, 2, seed=0, epoch=epoch)[0]] += 1
        assert counts.sum() == 4000
        assert counts.min() > 430
        assert counts.max() < 570

    def test_asking_for_more_than_there_are(self):
        drawn = sample(self.POOL, 10, seed=0)
        assert drawn.shape == (3, 10)
        assert drawn[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1, -1]
        with pytest.raises(ValueError, match="count"):
            sample(self.POOL, 0, seed=0)
