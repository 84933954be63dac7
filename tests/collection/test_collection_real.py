"""The real collections, against the figures of those who made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.collection import open_collection

# documents, queries, split -> (judged queries, rows)
COUNTS = {
    "adi": (82, 35, {"test": (35, 170)}),
    "cacm": (3_204, 64, {"test": (52, 796)}),
    "cranfield": (1_400, 225, {"test": (225, 1_837)}),
    "vaswani": (11_429, 93, {"test": (93, 2_083)}),
    "scifact": (5_183, 1_109, {"train": (809, 919), "test": (300, 339)}),
    "nfcorpus": (3_633, 3_237, {"train": (2_590, 110_575), "dev": (324, 11_385), "test": (323, 12_334)}),
    "trec-dl": (27_274, 97, {"dev": (43, 3_983), "test": (54, 5_141)}),
    "wikiqa": (29_258, 3_047, {"train": (2_118, 20_360), "dev": (296, 2_733), "test": (633, 6_165)}),
    "jaquad-ja": (11_144, 35_687, {"train": (31_748, 31_748), "test": (3_939, 3_939)}),
    "t2rank100-zh": (1_987, 100, {"train": (100, 1_999)}),
}

FINDINGS = {
    "cacm": {"shared_texts": 191, "unjudged_queries": 12},
    "cranfield": {"empty_documents": 2},
    "vaswani": {"shared_texts": 16},
    "scifact": {"replacement_characters": 6},
    "nfcorpus": {"shared_texts": 40},
    "trec-dl": {"shared_texts": 5},
    # 3,047 questions, of which 873 + 126 + 243 have a right answer
    "wikiqa": {"shared_texts": 2_068, "no_relevant_document": 3_047 - 873 - 126 - 243},
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_official_ones(data: Path, name: str) -> None:
    documents, queries, splits = COUNTS[name]
    collection = open_collection(data / name)
    assert collection.document_count == documents
    assert len(collection.queries) == queries
    assert {
        s: (len(collection.qrels(s)), sum(map(len, collection.qrels(s).values()))) for s in collection.splits
    } == splits
    found = {finding.kind: collection.notes.count(finding.kind) for finding in collection.notes.findings}
    assert found == FINDINGS.get(name, {})
    assert sum(len(document.full) for document in collection.documents()) == collection.characters


def test_titles_without_texts_are_documents(data: Path) -> None:
    bare = [document for document in open_collection(data / "cacm").documents() if not document.text]
    assert len(bare) == 1_617
    assert all(document.full == document.title.strip() for document in bare)


def test_a_reranking_set_gives_its_candidates(data: Path) -> None:
    candidates = open_collection(data / "wikiqa").candidates("test")
    lines = (data / "wikiqa" / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    assert candidates["Q0"] == [line.split("\t")[1] for line in lines if line.startswith("Q0\t")]
    assert "Q0-D0-0" in candidates["Q0"], "judged 0, and a candidate all the same"
    assert sum(map(len, candidates.values())) == 6_165
