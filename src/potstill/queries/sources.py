"""Label-free training queries cut from documents: titles, sentences, spans, phrases, keyword draws, whole documents."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..collection import Document
from .words import frequent_words, phrases, sentences, unspaced, words

SOURCES = ("titles", "sentences", "spans", "phrases", "keywords", "documents")
GENERATED, MIXED = "generated", "mixed"  # written by a model; joined from halves of two queries

# Lengths are drawn from these: search queries are short, and a static student must know single words well.
_SPAN_WORDS = (2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12, 15)
_KEYWORDS = (1, 2, 2, 3, 3, 4, 5, 6)
_SPANS_PER_DOCUMENT = 12
_DRAWS_PER_DOCUMENT = 8
_CHARACTERS_PER_WORD = 2  # where words have no spaces between them


@dataclass(frozen=True)
class CorpusWords:
    """What keyword draws and phrases need to know of a corpus: document frequencies and stop words."""

    documents: int
    frequency: Counter[str]
    stop: frozenset[str]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> CorpusWords:
        """Count the words of a sample of documents."""
        distinct = [list({word.casefold() for word in words(document.full)}) for document in documents]
        frequency: Counter[str] = Counter()
        for found in distinct:
            frequency.update(found)
        return cls(len(documents), frequency, frequent_words(distinct, len(documents)))

    def weight(self, word: str) -> float:
        """Inverse document frequency, log(1 + N/df)."""
        return math.log(1.0 + self.documents / max(1, self.frequency[word.casefold()]))


def cut(document: Document, source: str, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    """Queries of one source from one document; `rng` decides the random ones.

    Args:
        document: the document; an empty one yields nothing.
        source: one of `SOURCES`.
        corpus: counts from `CorpusWords.of`.
        rng: private to this document and source, so that the result does not depend on the order of documents.
    """
    yield from _CUTTERS[source](document, corpus, rng)


def _titles(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    if document.title.strip():
        yield document.title.strip()


def _sentences(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    for sentence in sentences(document.text):
        if len(sentence) >= 8 and (unspaced(sentence) or len(sentence.split()) >= 3):
            yield sentence


def _spans(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    text = document.full
    dense = unspaced(text)
    pieces = list("".join(text.split())) if dense else text.split()
    if len(pieces) < 3:
        return
    for _ in range(_SPANS_PER_DOCUMENT):
        length = rng.choice(_SPAN_WORDS) * (_CHARACTERS_PER_WORD if dense else 1)
        start = rng.randrange(max(1, len(pieces) - length + 1))
        yield ("" if dense else " ").join(pieces[start : start + length])


def _phrases(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    yield from dict.fromkeys(phrases(document.full, corpus.stop))


def _keywords(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    candidates = [word for word in dict.fromkeys(words(document.full)) if word.casefold() not in corpus.stop]
    if not candidates:
        return
    weights = [corpus.weight(word) for word in candidates]
    for _ in range(_DRAWS_PER_DOCUMENT):
        drawn = list(dict.fromkeys(rng.choices(range(len(candidates)), weights, k=rng.choice(_KEYWORDS))))
        if rng.random() < 0.5:
            drawn.sort()  # half of the draws keep the document's order, as people often do
        yield " ".join(candidates[i] for i in drawn)


def _documents(document: Document, corpus: CorpusWords, rng: random.Random) -> Iterator[str]:
    if document.full:
        yield document.full


_CUTTERS: dict[str, Callable[[Document, CorpusWords, random.Random], Iterator[str]]] = {
    "titles": _titles,
    "sentences": _sentences,
    "spans": _spans,
    "phrases": _phrases,
    "keywords": _keywords,
    "documents": _documents,
}
