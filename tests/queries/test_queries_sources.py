"""What each source cuts from a document."""

from __future__ import annotations

import random

import pytest

from potstill.collection import Document
from potstill.queries import SOURCES
from potstill.queries.sources import CorpusWords, cut

WHISKY = Document(
    "d1",
    "Pot stills of Islay",
    "The copper pot still makes a heavy spirit. It is slow! Peat smoke dries the malt, and yeast ferments the mash.",
)
JAPANESE = Document("d2", "蒸留釜", "銅製の蒸留釜は重い酒を作る。泥炭の煙が麦芽を乾かす。酵母が発酵させる。")
EMPTY = Document("d3", "", "")
ALL = [WHISKY, JAPANESE, EMPTY]


def cuts(document: Document, source: str, seed: int = 0) -> list[str]:
    return list(cut(document, source, CorpusWords.of(ALL), random.Random(seed)))


def test_titles():
    assert cuts(WHISKY, "titles") == ["Pot stills of Islay"]
    assert cuts(JAPANESE, "titles") == ["蒸留釜"]
    assert cuts(Document("d", "  ", "text of some length"), "titles") == []


def test_sentences_are_of_the_text_and_long_enough():
    assert cuts(WHISKY, "sentences") == [
        "The copper pot still makes a heavy spirit.",
        "It is slow!",
        "Peat smoke dries the malt, and yeast ferments the mash.",
    ]
    assert cuts(JAPANESE, "sentences") == [
        "銅製の蒸留釜は重い酒を作る。",
        "泥炭の煙が麦芽を乾かす。",
        "酵母が発酵させる。",
    ]
    assert cuts(Document("d", "", "Too short. Yes."), "sentences") == []


def test_spans_are_stretches_of_the_document():
    pieces = WHISKY.full.split()
    for span in cuts(WHISKY, "spans"):
        parts = span.split()
        assert 2 <= len(parts) <= 15
        assert any(pieces[i : i + len(parts)] == parts for i in range(len(pieces)))
    dense = "".join(JAPANESE.full.split())
    for span in cuts(JAPANESE, "spans"):
        assert 4 <= len(span) <= 30
        assert span in dense
    assert cuts(Document("d", "", "two words"), "spans") == []


def test_phrases_come_once_each():
    found = cuts(WHISKY, "phrases")
    assert {"Pot stills", "Islay", "Peat smoke dries", "malt", "heavy spirit"} <= set(found)
    assert len(found) == len(set(found))
    assert cuts(Document("d", "malt", "malt. malt, malt"), "phrases") == ["malt malt", "malt"]
    assert {"蒸留釜", "泥炭", "発酵"} <= set(cuts(JAPANESE, "phrases"))


def test_keywords_are_words_of_the_document_without_stop_words():
    for draw in cuts(WHISKY, "keywords"):
        parts = draw.split()
        assert 1 <= len(parts) <= 6
        assert len(parts) == len(set(parts))
        assert set(parts) <= {w.strip(".,!") for w in WHISKY.full.split()}
        assert not {w.casefold() for w in parts} & {"the", "of", "a", "it", "is", "and"}
    assert cuts(JAPANESE, "keywords")
    assert cuts(Document("d", "", "the of and it is"), "keywords") == []


def test_keywords_prefer_rare_words():
    documents = [Document(str(i), "", "common words everywhere" + (" rare" if i == 0 else "")) for i in range(12)]
    corpus = CorpusWords.of(documents)
    assert corpus.weight("rare") > corpus.weight("common")
    assert corpus.weight("RARE") == corpus.weight("rare")
    drawn = [
        w for seed in range(200) for d in cut(documents[0], "keywords", corpus, random.Random(seed)) for w in d.split()
    ]
    assert drawn.count("rare") > 1.5 * drawn.count("common")


@pytest.mark.parametrize("source", SOURCES)
def test_empty_documents_give_nothing(source: str):
    assert cuts(EMPTY, source) == []


@pytest.mark.parametrize("source", SOURCES)
def test_the_seed_decides(source: str):
    assert cuts(WHISKY, source, 3) == cuts(WHISKY, source, 3)
    if source in ("spans", "keywords"):
        assert cuts(WHISKY, source, 3) != cuts(WHISKY, source, 4)
