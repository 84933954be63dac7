"""What is dropped of what a generator wrote, and when it is refused altogether."""

from __future__ import annotations

import pytest

from potstill.errors import InputError
from potstill.queries import cleaning
from potstill.queries.cleaning import cleaned, scripts, word_count

SOURCES = [f"Document number {i} tells of copper stills and of {word}." for i, word in enumerate("abcdefghij")]


def clean(written: list[list[str]], sources: list[str] = SOURCES, words: tuple[int, int] = (2, 6)):
    return cleaned(sources, written, words, "writer")


def test_every_reason_is_counted():
    written = [[f"what is still {i}", f"copper of kind {i}"] for i in range(10)]
    written[0] = ["", "   "]
    written[1] = [SOURCES[1].upper(), "good query one"]
    written[2] = ["good query two", "Good  Query TWO"]
    written[3] = ["still still still still", "ok still"]
    written[4] = ["one", "a b c d e f g"]
    written[5] = ["медный перегонный куб", "copper куб kettle"]
    for i in range(6, 10):
        written[i][1] = "what is this"
    found = clean(written)
    assert found.dropped == {
        cleaning.EMPTY: 2,
        cleaning.COPY: 1,
        cleaning.AGAIN: 1,
        cleaning.STUTTER: 1,
        cleaning.LENGTH: 2,
        cleaning.SCRIPT: 1,
        cleaning.COMMON: 4,
    }
    assert len(found.texts) + sum(found.dropped.values()) == 20
    assert (1, "good query one") in found.texts
    assert (5, "copper куб kettle") in found.texts
    assert [number for number, _ in found.texts] == sorted(number for number, _ in found.texts)


def test_a_query_for_three_documents_is_left_to_deduplication():
    written = [[f"what is still {i}"] for i in range(10)]
    for i in range(3):
        written[i] = ["copper still"]
    assert len(clean(written).texts) == 10


def test_generators_that_write_nothing_or_one_thing_are_refused():
    with pytest.raises(InputError, match="wrote nothing: 10 of 10") as caught:
        clean([[""]] * 10)
    assert caught.value.where == "writer"
    with pytest.raises(InputError, match=r"one text for all: 'what is it' is 19 of 19"):
        clean([["What is it", "what is it"]] * 9 + [["what is it", ""]])
    with pytest.raises(InputError, match="writes no queries: of 10 texts 0 are of use"):
        clean([["word"]] * 5 + [[f"other{i}"] for i in range(5)])
    assert clean([[]] * 10).texts == []
    assert clean([], []).texts == []


def test_a_generator_that_is_mostly_bad_still_serves():
    written = [[""] * 9 + [f"what is still {i}"] for i in range(10)]
    found = clean(written)
    assert len(found.texts) == 10
    assert found.dropped == {cleaning.EMPTY: 90}


def test_scripts():
    assert scripts("copper") == ["LATIN"]
    assert scripts("перегонный pot") == ["CYRILLIC", "LATIN"]
    assert scripts("銅の釜") == ["CJK", "HIRAGANA"]
    assert scripts("ＦＵＬＬ width") == ["LATIN"]
    assert scripts("12 + 3") == []
    assert scripts("증류기") == ["HANGUL"]


def test_numbers_have_no_script_and_pass():
    assert [text for _, text in clean([["1984 2001 12"]] * 3, SOURCES[:3]).texts] == ["1984 2001 12"] * 3


def test_word_count():
    assert word_count("copper pot still") == 3
    assert word_count("") == 0
    assert word_count("銅製の蒸留釜") == 3
    assert word_count("銅製の蒸留釜だ") == 4
