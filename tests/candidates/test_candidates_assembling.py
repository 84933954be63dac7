"""A recipe's candidates: what may never be among them, in whatever combination; lists to learn from; real judgments."""

import gzip
import json
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.candidates import (
    Bm25Index,
    assemble,
    assembling,
    by_vectors,
    lists,
    load_candidates,
    mine,
    nearest,
    told,
    with_sources,
)
from potstill.errors import InputError, MissingExtra
from potstill.recipe import CandidatesSpec
from potstill.texts import normalise

DOCUMENT_IDS = [str(100 + i) for i in range(40)]
QUERY_IDS = [str(i) for i in range(6)]
POSITIVES = {"0": {"100", "101"}, "1": ["139"], "2": {"gone", "103"}}
rng = np.random.default_rng(0)
QUERIES = rng.standard_normal((6, 8)).astype(np.float32)
DOCUMENTS = rng.standard_normal((40, 8)).astype(np.float32)
TEXTS = [f"word{i % 7} word{i % 5} common, number {i}" for i in range(40)]
# Documents 20 and 21 say what the positive 0 of query 0 says; 30 and 31 say the same thing, and fit nobody.
TEXTS[20], TEXTS[21], TEXTS[31] = TEXTS[0].upper(), f" {TEXTS[0]}  ", TEXTS[30]
COPIES = {"0": {"120", "121"}}


class Stored:
    """Vectors as a store gives them; counts how many are read."""

    def __init__(self, matrix):
        self.matrix, self.read = matrix, 0

    def __len__(self):
        return len(self.matrix)

    def gather(self, rows):
        self.read += len(rows)
        return self.matrix[rows]


def assembled(spec=None, positives=POSITIVES, **changes):
    arguments = {
        "query_ids": QUERY_IDS,
        "query_texts": [f"common word{i % 7}" for i in range(6)],
        "query_vectors": QUERIES,
        "documents": DOCUMENTS,
        "document_ids": DOCUMENT_IDS,
        "document_texts": lambda: iter(TEXTS),
        "positives": positives,
        "metric": "dot",
        "seed": 3,
    }
    return assemble(CandidatesSpec(**(spec or {})), **arguments | changes)


def check(found, positives, texts=TEXTS):
    """The laws that hold for candidates of any recipe."""
    by_id = dict(zip(DOCUMENT_IDS, texts, strict=True))
    for query_id, rows in zip(found.query_ids, found.rows, strict=True):
        ids = [DOCUMENT_IDS[row] for row in rows if row >= 0]
        known = set(positives.get(query_id, ()))
        assert not known & set(ids)
        assert not {normalise(by_id[i]) for i in known if i in by_id} & {normalise(by_id[i]) for i in ids}
        assert len({normalise(by_id[i]) for i in ids}) == len(ids)
        assert (rows[len(ids) :] == -1).all()
    assert (np.isfinite(found.scores) == found.mask).all()
    for number, provenance in enumerate(found.provenance):
        left = (found.mask & (found.source == number)).sum()
        assert provenance.found - sum(provenance.dropped.values()) == left


class TestLaws:
    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        sources=st.permutations(["teacher", "bm25", "random"]).flatmap(
            lambda order: st.integers(1, 3).map(lambda n: tuple(order[:n]))
        ),
        depth=st.integers(3, 45),
        count=st.integers(1, 12),
        skip=st.integers(0, 2),
        below=st.none() | st.floats(0.3, 1.2),
        highest=st.none() | st.floats(-1, 4),
        near=st.none() | st.floats(0.3, 1),
        metric=st.sampled_from(["dot", "cosine"]),
    )
    def test_no_positive_and_no_copy_is_a_candidate_and_counts_add_up(
        self, seed, sources, depth, count, skip, below, highest, near, metric
    ):
        draw = np.random.default_rng(seed)
        positives = {
            query: {DOCUMENT_IDS[row] for row in draw.permutation(40)[: draw.integers(0, 5)]} for query in QUERY_IDS
        }
        positives["0"].add("100")
        spec = {
            "sources": sources,
            "depth": depth,
            "count": count,
            "skip": skip,
            "below_positive": below,
            "max_score": highest,
            "near_duplicates": near,
        }
        found = assembled(spec, positives, metric=metric, seed=seed)
        check(found, positives)
        assert found.rows.shape[1] <= count
        unit = metric == "cosine"
        queries, documents = (m / np.linalg.norm(m, axis=1, keepdims=True) if unit else m for m in (QUERIES, DOCUMENTS))
        scores = queries @ documents.T
        for i, rows in enumerate(found.rows):
            rows = rows[rows >= 0]
            np.testing.assert_allclose(found.scores[i, : len(rows)], scores[i, rows], atol=1e-5)
            known = [DOCUMENT_IDS.index(name) for name in positives[QUERY_IDS[i]]]
            if highest is not None:
                assert (scores[i, rows] < highest + 1e-5).all()
            if below is not None and known:
                worst = scores[i, known].min()
                assert (scores[i, rows] < worst - (1 - below) * abs(worst) + 1e-5).all()
            if near is not None:
                unit_rows = DOCUMENTS[[*known, *rows]]
                unit_rows = unit_rows / np.linalg.norm(unit_rows, axis=1, keepdims=True)
                cosines = np.tril(unit_rows @ unit_rows.T, -1)[len(known) :]
                assert (cosines < near + 1e-5).all()

    def test_the_same_again_and_in_any_form_of_the_vectors(self):
        spec = {"sources": ("teacher", "bm25", "random"), "near_duplicates": 0.9}
        first = assembled(spec)
        stored = Stored(DOCUMENTS)
        for other in (
            assembled(spec),
            assembled(spec, documents=stored),
            assembled(spec, query_vectors=iter([QUERIES[:4], QUERIES[4:]])),
        ):
            np.testing.assert_array_equal(other.rows, first.rows)
            np.testing.assert_array_equal(other.scores, first.scores)
            assert other.provenance == first.provenance
        assert stored.read > 0

    def test_judgments_of_other_queries_are_never_read(self):
        class Guarded(Mapping):
            """Judgments that may be asked for training queries alone."""

            def __init__(self, known):
                self.known = known

            def __getitem__(self, query_id):
                if query_id == "test query":
                    raise AssertionError("a judgment of a test query was read")
                return self.known[query_id]

            def __iter__(self):
                return iter(self.known)

            def __len__(self):
                return len(self.known)

        guarded = Guarded({**POSITIVES, "test query": {"105"}})
        spec = {"sources": ("teacher", "bm25", "random"), "below_positive": 0.95, "near_duplicates": 0.95}
        found = assembled(spec, guarded)
        np.testing.assert_array_equal(found.rows, assembled(spec).rows)
        assert found.provenance == assembled(spec).provenance
        assert with_sources(QUERY_IDS, np.full(6, -1), DOCUMENT_IDS, guarded) == {
            query: set(ids) for query, ids in POSITIVES.items()
        }
        with pytest.raises(AssertionError, match="was read"):  # the guard guards
            guarded["test query"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"query_ids": list(range(6))},
            {"document_ids": list(range(100, 140))},
            {"positives": {0: {"100"}}},
            {"positives": {"0": {100}}},
        ],
    )
    def test_ids_that_are_numbers_are_refused_not_compared(self, changes):
        with pytest.raises(InputError, match=r"of type int[\s\S]*strings everywhere"):
            assembled(**changes)


class TestSources:
    def test_turns_are_taken(self):
        found = assembled({"sources": ("teacher", "random"), "depth": 40, "count": 6}, {})
        by_teacher, _ = nearest(QUERIES, DOCUMENTS, 1)
        np.testing.assert_array_equal(found.rows[:, 0], by_teacher[:, 0])
        assert (found.source[:, :4] == [0, 1, 0, 1]).mean() > 0.8  # less where both found one
        assert [p.source for p in found.provenance] == ["teacher", "random"]
        assert found.provenance[0].settings["search"] == "exact"

    def test_the_first_are_skipped_but_not_of_random(self):
        best, _ = nearest(QUERIES, DOCUMENTS, 10)
        found = assembled({"skip": 3, "depth": 10, "count": 40}, {})
        assert not any(np.isin(rows, top).any() for rows, top in zip(found.rows, best[:, :3], strict=True))
        assert found.provenance[0].dropped["skipped"] == 18
        assert assembled({"sources": ("random",), "skip": 3}).provenance[0].dropped.get("skipped", 0) == 0

    def test_how_bm25_reads_is_found_out_and_told(self):
        texts = ["東京都に住む人", *(f"京都の寺 {i}" for i in range(39))]
        found = assembled(
            {"sources": ("bm25",), "depth": 3},
            {},
            query_texts=["東京の人"] * 6,
            document_texts=lambda: iter(texts),
        )
        assert found.rows[:, 0].tolist() == [0] * 6
        assert found.provenance[0].settings["analysis"] == "bigrams"
        assert "pairs of characters" in told(found)[0]
        assert assembled({"sources": ("bm25",)}).provenance[0].settings["language"] == "english"

    def test_saved_ones_lose_what_is_now_known_to_be_positive(self, tmp_path):
        mine(by_vectors(QUERIES, DOCUMENTS), QUERY_IDS, DOCUMENT_IDS, 12, source="vectors").save(tmp_path / "mined")
        run = "".join(
            f"{query}\t{document}\t{100 - i}\n" for query in QUERY_IDS for i, document in enumerate(DOCUMENT_IDS)
        )
        (tmp_path / "run.tsv").write_text(run)
        for name in ("mined", "run.tsv"):
            found = assembled({"sources": (str(tmp_path / name),), "depth": 10})
            check(found, POSITIVES)
            assert found.mask[:, :7].all()
        # Query 0 has 38 of the file's documents, less two copies.
        assert found.rows[0].tolist() == list(range(2, 12))

    def test_no_queries(self):
        found = assembled(
            {"sources": ("teacher", "bm25", "random"), "max_score": 1, "near_duplicates": 0.9},
            query_ids=[],
            query_texts=[],
            query_vectors=QUERIES[:0],
        )
        assert found.rows.shape == (0, 0)
        assert lists(found, np.empty(0), 3).shape == (0, 4)
        assert told(found)[-1].startswith("0 candidates a query; 0 of 0")

    def test_approximate_where_it_pays(self, monkeypatch):
        exact = assembled()
        found = assembled({"approximate": True})
        assert found.provenance[0].settings["search"] == "exact"
        monkeypatch.setattr(assembling, "_WORTH_AN_INDEX", 10)
        found = assembled({"approximate": True})
        check(found, POSITIVES)
        # 40 documents in 25 lists, 16 of which are looked at.
        assert found.provenance[0].settings["search"] == "approximate"
        assert 0.5 < found.provenance[0].settings["recall"] <= 1
        assert "recall" in told(found)[0]
        assert np.isin(found.rows[:, 0], exact.rows).all()
        monkeypatch.setitem(__import__("sys").modules, "faiss", None)
        with pytest.raises(MissingExtra):
            assembled({"approximate": True})

    def test_saved_and_loaded_with_provenance(self, tmp_path):
        spec = {"sources": ("teacher", "bm25"), "below_positive": 0.9, "near_duplicates": 0.9, "count": 4}
        found = assembled(spec, teacher="minilm")
        found.save(tmp_path / "mined")
        back = load_candidates(tmp_path / "mined", DOCUMENT_IDS)
        assert back.provenance == found.provenance
        np.testing.assert_array_equal(back.rows, found.rows)
        of = back.provenance[0]
        assert of.settings["scored_by"] == "minilm"
        assert of.settings["filters"] == {
            "below_positive": 0.9,
            "near_duplicates": 0.9,
            "count": 4,
            "depth": 100,
            "skip": 0,
            "judged_only": False,
            "queries_without_positive": 3,
        }
        assert list(of.dropped) == [
            "skipped",
            "repeated",
            "copies",
            "below_positive",
            "near_positive",
            "near_candidate",
            "count",
        ]
        assert (of.positives_kept_out, of.copies_kept_out, of.positives_unknown) == (4, 2, 1)


class TestBadInput:
    @pytest.mark.parametrize(
        ("spec", "positives", "message"),
        [
            ({"sources": ()}, {}, "names no source"),
            ({"sources": ("bm25", "bm25")}, {}, "names 'bm25' twice"),
            ({"sources": ("no such thing",)}, {}, r"candidates\.sources: there is no folder or file"),
            ({"skip": 5, "depth": 5}, {}, r"candidates\.skip: leaves out the first 5 of 5"),
            ({"below_positive": 0.9}, {"another": {"100"}}, r"candidates\.below_positive: compares with"),
        ],
    )
    def test_recipes_that_cannot_work(self, spec, positives, message):
        with pytest.raises(InputError, match=message):
            assembled(spec, positives)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"query_texts": ["one"]}, "query_texts has 1 entries for 6"),
            ({"query_vectors": QUERIES[:5]}, "query_vectors has 5"),
            ({"documents": DOCUMENTS[:39]}, "documents has 39 entries for 40"),
            ({"document_texts": lambda: iter(TEXTS[:-1])}, "39 texts for 40 ids"),
        ],
    )
    def test_parts_that_do_not_belong_together(self, changes, message):
        with pytest.raises(ValueError, match=message):
            assembled(**changes)


class TestPositives:
    def test_the_source_of_a_query_is_its_positive(self):
        sources = np.array([5, -1, 3, -1, 7, -1])
        known = with_sources(QUERY_IDS, sources, DOCUMENT_IDS, {"0": {"100"}, "1": ["139"], "test": {"101"}})
        assert known == {"0": {"100", "105"}, "1": {"139"}, "2": {"103"}, "4": {"107"}}
        check(assembled({"sources": ("teacher", "bm25", "random"), "count": 40}, known), known)
        with pytest.raises(InputError, match="one string"):
            with_sources(QUERY_IDS, sources, DOCUMENT_IDS, {"0": "100"})

    def test_lists_begin_with_the_positive(self):
        found = assembled({"count": 3})
        made = lists(found, np.array([0, 39, 3, -1, -1, -1]), 3)
        assert made.shape == (6, 4)
        assert made.dtype == np.int64
        assert made[:3, 0].tolist() == [0, 39, 3]
        np.testing.assert_array_equal(made[:3, 1:], found.rows[:3])
        # Without a positive: the first four, of which there are three.
        np.testing.assert_array_equal(made[3:, :3], found.rows[3:])
        assert (made[3:, 3] == -1).all()
        assert lists(found, np.full(6, -1), 2).tolist() == found.rows.tolist()
        assert lists(found, np.array([0, 39, 3, -1, -1, -1]), 0)[:3].tolist() == [[0], [39], [3]]

    def test_a_list_holds_its_positive_once(self):
        found = mine(by_vectors(QUERIES, DOCUMENTS), QUERY_IDS, DOCUMENT_IDS, 3, source="v")
        positives = found.rows[:, 1]
        made = lists(found, positives, 3)
        np.testing.assert_array_equal(made[:, :3], found.rows[:, [1, 0, 2]])
        assert (made[:, 3] == -1).all()

    def test_lists_of_bad_positives(self):
        found = assembled({"count": 3})
        for positives, count, message in (
            (np.zeros(5), 3, r"\(6,\)"),
            (np.full(6, 40), 3, "-1 to 39"),
            (np.zeros(6), -1, "count"),
        ):
            with pytest.raises(ValueError, match=message):
                lists(found, positives, count)

    def test_what_people_are_told(self):
        lines = told(assembled({"sources": ("teacher", "bm25"), "count": 3}))
        assert lines[0].startswith("teacher: 234 found, ")
        assert "read as english words" in lines[1]
        assert lines[2].startswith("4 known positives and 2 copies of them kept out; 1 known positives are not in")
        assert lines[3] == "3 candidates a query; 0 of 6 queries have fewer, 0 have none"


def test_no_judged_positive_of_scifact_is_mined(data, monkeypatch):
    """BM25 candidates of 300 training queries; the judgments as the file has them, compared as strings."""
    with gzip.open(data / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        corpus = [json.loads(line) for line in file]
    with (data / "scifact" / "queries.jsonl").open(encoding="utf-8") as file:
        texts = {query["_id"]: query["text"] for query in map(json.loads, file)}
    judged: dict[str, set[str]] = {}
    for line in (data / "scifact" / "qrels" / "train.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            judged.setdefault(query, set()).add(document)
    queries = list(judged)[:300]
    ids = [document["_id"] for document in corpus]
    draw = np.random.default_rng(0)
    indexes = []

    def kept(*texts, **settings):
        indexes.append(Bm25Index(*texts, **settings))
        return indexes[-1]

    monkeypatch.setattr("potstill.candidates.language.Bm25Index", kept)
    found = assemble(
        CandidatesSpec(sources=("bm25",), depth=20, count=15),
        query_ids=queries,
        query_texts=[texts[query] for query in queries],
        query_vectors=draw.standard_normal((300, 2)).astype(np.float32),
        documents=draw.standard_normal((len(ids), 2)).astype(np.float32),
        document_ids=ids,
        document_texts=lambda: (f"{document['title']} {document['text']}" for document in corpus),
        positives=judged,
        metric="dot",
        seed=0,
    )
    wrong = [
        (q, ids[row]) for q, rows in zip(queries, found.rows, strict=True) for row in rows if ids[row] in judged[q]
    ]
    assert wrong == []
    assert found.mask.mean() > 0.99
    assert found.provenance[0].positives_kept_out == sum(len(judged[query]) for query in queries)
    assert found.provenance[0].settings["language"] == "english"
    # Without judgments most queries would have one of theirs among the candidates.
    free, _ = indexes[0].search([texts[query] for query in queries], 15)
    assert sum(bool({ids[row] for row in rows} & judged[q]) for q, rows in zip(queries, free, strict=True)) > 200
