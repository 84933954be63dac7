"""What a generator wrote, looked at before anything learns from it: empty, copied, repeated, of another script."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..texts import normalise
from .words import unspaced

EMPTY = "generated: empty"
COPY = "generated: the text that was read"
AGAIN = "generated: a second time for one text"
COMMON = "generated: the same for many texts"
STUTTER = "generated: the same words over and over"
LENGTH = "generated: too few or too many words"
SCRIPT = "generated: another script than the text that was read"

_CHARACTERS_PER_WORD = 2  # where words have no spaces between them
_MANY = 3  # texts, or 1 in 100 of all: a query that fits so many of them asks for none
_USABLE = 0.05  # of what was written; a generator below that is broken, and training on the rest would hide it
_ENOUGH = 10  # texts that were read, from which one text for all of them says that the generator is broken
_STUTTER = 3  # a text of which the words stand so many times each, on average


@dataclass(frozen=True)
class Cleaned:
    """Generated queries that are worth looking at.

    Attributes:
        texts: (source, query): the number of the text that was read, and what was written for it; in order.
        dropped: how many were dropped, by reason.
    """

    texts: list[tuple[int, str]]
    dropped: dict[str, int]


def cleaned(sources: Sequence[str], written: Sequence[Sequence[str]], words: tuple[int, int], model: str) -> Cleaned:
    """Drop what is no query for its source, and count it.

    Args:
        sources: n texts.
        written: for each of them, what the generator wrote.
        words: fewest and most words of a query, see `word_count`.
        model: who wrote it, for messages.

    Raises:
        InputError: nearly all of it is empty, one and the same text, or of no use otherwise.
    """
    everything = Counter(normalise(text) for texts in written for text in texts)
    total = sum(everything.values())
    if not total:
        return Cleaned([], {})
    _require_texts(everything, len(sources), model)
    asked = Counter(key for texts in written for key in {normalise(text) for text in texts})
    most = max(_MANY, len(sources) // 100)
    kept: list[tuple[int, str]] = []
    dropped: Counter[str] = Counter()
    for number, (source, texts) in enumerate(zip(sources, written, strict=True)):
        seen = {normalise(source)}
        own = scripts(source)
        for text in texts:
            key, theirs = normalise(text), scripts(text)
            reason = None
            if not key:
                reason = EMPTY
            elif key in seen:
                reason = COPY if key == normalise(source) else AGAIN
            elif asked[key] > most:
                reason = COMMON
            elif _stutters(key):
                reason = STUTTER
            elif not words[0] <= word_count(text) <= words[1]:
                reason = LENGTH
            elif own and theirs and theirs[0] not in own:
                reason = SCRIPT
            seen.add(key)
            if reason:
                dropped[reason] += 1
            else:
                kept.append((number, text))
    if len(kept) < _USABLE * total:
        said = ", ".join(f"{count:,} {reason.removeprefix('generated: ')}" for reason, count in dropped.most_common())
        raise InputError(
            f"the generator writes no queries: of {total:,} texts {len(kept):,} are of use ({said})",
            where=model,
            fix="check queries.generator (prefix, max_output, decoding) and queries.words, or give another model",
        )
    return Cleaned(kept, dict(dropped))


def word_count(text: str) -> int:
    """Words between spaces; in a script without spaces, one for every two characters."""
    if unspaced(text):
        return -(-len("".join(text.split())) // _CHARACTERS_PER_WORD)
    return len(text.split())


def scripts(text: str) -> list[str]:
    """The scripts of a text's letters as Unicode names them (LATIN, CYRILLIC, CJK, ...), the most frequent first."""
    letters = Counter(unicodedata.name(c, "?").split()[0] for c in unicodedata.normalize("NFKC", text) if c.isalpha())
    return sorted(letters, key=lambda name: (-letters[name], name))


def _require_texts(everything: Counter[str], sources: int, model: str) -> None:
    total, empty = sum(everything.values()), everything[""]
    if total - empty < _USABLE * total:
        raise InputError(
            f"the generator wrote nothing: {empty:,} of {total:,} texts are empty",
            where=model,
            fix="give a model that was trained to write queries, and the prefix that it expects",
        )
    text, count = max(((text, n) for text, n in everything.items() if text), key=lambda item: item[1])
    if sources >= _ENOUGH and count > (1 - _USABLE) * (total - empty):
        raise InputError(
            f"the generator wrote one text for all: {text[:80]!r} is {count:,} of {total - empty:,}",
            where=model,
            fix="give a model that was trained to write queries, and the prefix that it expects",
        )


def _stutters(text: str) -> bool:
    said = text.split()
    return len(said) > _STUTTER and _STUTTER * len(set(said)) <= len(said)
