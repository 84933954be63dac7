"""Cutting texts into sentences, words and phrases, with and without spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(r"\w[\w'’\-]*")
_PIECE = re.compile(r"\w[\w'’\-]*|[^\w\s]")
# Runs that work as words where a script has no spaces: kanji and hanzi, katakana (hiragana is mostly grammar).
_RUN = re.compile(r"[一-鿿㐀-䶿々]{2,}|[゠-ヿー]{2,}|[0-9A-Za-z][0-9A-Za-z.\-]+")
_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿฀-๿]")

# Closed-class words of English; other languages are served by document frequency (see `frequent_words`).
_ENGLISH_WORDS = (
    "a about above after again against all also am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each either few for from further had has have "
    "having he her here hers him his how however i if in into is it its itself may might more most must my "
    "neither no nor not of off on once only or other our out over own per same she should since so some such than "
    "that the their them then there these they this those through thus to too toward under until up upon us very "
    "was we were what when where whether which while who whom whose why will with within without would you your "
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())


def unspaced(text: str) -> bool:
    """True for a text in a script without spaces (Japanese, Chinese, Thai): a quarter of it or more."""
    sample = text[:400]
    return bool(sample) and 4 * len(_UNSPACED.findall(sample)) >= len(sample)


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped; a text without an end mark is one sentence."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def words(text: str) -> list[str]:
    """The words of a text as written; in a script without spaces, its kanji, katakana and Latin runs."""
    return _RUN.findall(text) if unspaced(text) else _WORD.findall(text)


def phrases(text: str, stop: frozenset[str] | set[str], longest: int = 6) -> list[str]:
    """Runs of words between stop words and punctuation, at most `longest` words: what people type as keywords."""
    if unspaced(text):
        return _RUN.findall(text)
    found: list[str] = []
    run: list[str] = []
    for piece in [*_PIECE.findall(text), "."]:
        if piece[0].isalnum() and piece.casefold() not in stop:
            run.append(piece)
            continue
        if 0 < len(run) <= longest:
            found.append(" ".join(run))
        run = []
    return found


def frequent_words(texts: Iterable[Sequence[str]], documents: int) -> frozenset[str]:
    """English closed-class words, and words of any language that stand in over a quarter of the documents.

    Args:
        texts: the distinct case-folded words of each document.
        documents: how many documents there are.
    """
    counts: dict[str, int] = {}
    for distinct in texts:
        for word in distinct:
            counts[word] = counts.get(word, 0) + 1
    common = {word for word, count in counts.items() if documents >= 20 and 4 * count > documents}
    return frozenset(_ENGLISH | common)
