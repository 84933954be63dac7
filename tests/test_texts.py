"""Identity of texts, and how texts are compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from potstill.texts import digest, normalise


def test_digest_is_fixed():
    assert digest("").hex() == "cae66941d9efbd404e4d88758ea67670"
    assert digest("whisky").hex() == digest("whisky").hex() != digest("whisky ").hex()
    assert digest("\ud800") != digest("\ud801"), "lone surrogates are texts too"


def test_normalise():
    assert normalise("  The\tPOT \n still ") == "the pot still"
    assert normalise("Ｗｈｉｓｋｙ ﬁne Straße") == "whisky fine strasse"
    assert normalise(" \u3000 ") == ""


@given(text=st.text(max_size=40))
def test_comparing_ignores_case_and_white_space(text: str):
    assert normalise(f" {text}\n") == normalise(text)
    assert len(digest(text)) == 16
    assert digest(text) == digest(text)
