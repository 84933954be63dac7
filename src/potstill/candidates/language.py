"""How BM25 should read some texts: the language of their words, or pairs of characters where no spaces are written."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .bm25 import UNSPACED, WORD, Analysis, Bm25Index, stop_words

_LETTER = re.compile(r"[\w\u0e00-\u0e7f]")
_UNSPACED_SHARE = 0.2  # of all letters and digits; names in Latin letters are common in Japanese and Chinese texts
_STOP_WORD_SHARE = 0.15  # of all words; running text of the right language has 0.2 to 0.5, of another about 0.1 at most
_CHARACTERS = 1_000  # read of each text
_TEXTS = 2_000  # that say which language a collection is in


def analysis_of(texts: Iterable[str]) -> tuple[Analysis, str | None]:
    """Choose `analysis` and `language` of a `Bm25Index` for texts like these.

    Pairs of characters where a fifth of all letters belong to a script without spaces. Else words: of the language
    whose stop words are most frequent, if they make up a running text's share of all words and half as much again as
    those of English; else English.
    """
    unspaced = letters = words = 0
    lists: dict[str, frozenset[str]] = {}
    hits: dict[str, int] = {}
    for text in texts:
        head = text[:_CHARACTERS].lower()
        unspaced += len(UNSPACED.findall(head))
        letters += len(_LETTER.findall(head))
        lists = lists or stop_words()
        for word in WORD.findall(head):
            words += 1
            for language, stops in lists.items():
                if word in stops:
                    hits[language] = hits.get(language, 0) + 1
    if unspaced > _UNSPACED_SHARE * letters:
        return "bigrams", None
    best = max(hits, key=lambda language: (hits[language], language), default="english")
    if hits.get(best, 0) < max(_STOP_WORD_SHARE * words, 1.5 * hits.get("english", 0)):
        best = "english"
    return "words", best


def drawn_to_read(count: int, seed: int) -> np.ndarray:
    """Rows of the documents that `analysis_of` should read, of so many; at most 2,000, rising."""
    return np.sort(np.random.default_rng(seed).choice(count, min(count, _TEXTS), replace=False))


def bm25_for(documents: Iterable[str], sample: Iterable[str], *, k1: float = 0.9, b: float = 0.4) -> Bm25Index:
    """An index that reads texts as `analysis_of` a sample of them finds.

    Args:
        documents: full texts in the order of the collection, looked at once.
        sample: some of them.
        k1: see `Bm25Index`.
        b: likewise.
    """
    analysis, language = analysis_of(sample)
    return Bm25Index(documents, analysis=analysis, language=language, k1=k1, b=b)
