"""Cutting texts, with and without spaces between words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.queries.words import frequent_words, phrases, sentences, unspaced, words

STOP = frequent_words([], 0)


@pytest.mark.parametrize(
    ("text", "dense"),
    [
        ("A pot still makes whisky.", False),
        ("ポットスチルはウイスキーを作る。", True),
        ("蒸馏器用于制造威士忌", True),
        ("หม้อกลั่นทำวิสกี้", True),
        ("Ein Brennkessel, größer als üblich", False),
        ("перегонный куб", False),
        ("증류기는 위스키를 만든다", False),
        ("The word 蒸留 means distillation, as every student of chemistry knows", False),
        ("", False),
        ("   ", False),
    ],
)
def test_unspaced(text: str, dense: bool):
    assert unspaced(text) is dense


def test_sentences():
    assert sentences("One here. Two there! Three?\n\nFour") == ["One here.", "Two there!", "Three?", "Four"]
    assert sentences("銅の釜。麦芽と水！酵母？終わり") == ["銅の釜。", "麦芽と水！", "酵母？", "終わり"]
    assert sentences("Version 2.5 of it costs 3.14 a piece.") == ["Version 2.5 of it costs 3.14 a piece."]
    assert sentences(" \n ") == []


def test_words():
    assert words("The Brewer's yeast, double-distilled: H2O!") == [
        "The",
        "Brewer's",
        "yeast",
        "double-distilled",
        "H2O",
    ]
    assert words("銅の釜でウイスキーをDNA-2で蒸留する") == ["ウイスキー", "DNA-2", "蒸留"]


def test_phrases_run_between_stop_words_and_punctuation():
    text = "The effect of copper pot stills on the spirit, and malt whisky (single cask)."
    assert phrases(text, STOP) == ["effect", "copper pot stills", "spirit", "malt whisky", "single cask"]
    assert phrases("one two three four five six seven eight", frozenset()) == []
    assert phrases("one two three four five six", frozenset()) == ["one two three four five six"]
    assert phrases("銅製の蒸留釜によるウイスキー", frozenset()) == ["銅製", "蒸留釜", "ウイスキー"]


def test_frequent_words_learn_the_language():
    documents = [["der", "kessel", str(i)] for i in range(20)]
    assert "der" in frequent_words(documents, 20)
    assert "kessel" in frequent_words(documents, 20)
    assert "7" not in frequent_words(documents, 20)
    assert "der" not in frequent_words(documents[:19], 19), "too few documents to tell"
    assert {"the", "of"} <= frequent_words([], 0)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_all_cuts_are_pieces_of_the_text(text: str):
    flat = "".join(text.split())
    for part in [*sentences(text), *words(text), *phrases(text, STOP)]:
        assert part == part.strip()
        assert "".join(part.split()) in flat
