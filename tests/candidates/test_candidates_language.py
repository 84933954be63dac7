"""How BM25 should read texts: scripts without spaces, languages by their stop words, English where nothing speaks."""

import pytest

from potstill.candidates import analysis_of, bm25_for, drawn_to_read

ENGLISH = "The effect of the drug on the patients was seen after a week, and it is not clear if this will last."


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (ENGLISH, ("words", "english")),
        ("Der Hund läuft durch den Wald und sieht eine Katze, die auf dem Baum sitzt.", ("words", "german")),
        ("Le chat est assis sur le tapis et il regarde par la fenêtre de la maison.", ("words", "french")),
        ("Кот сидит на ковре и смотрит в окно, потому что он хочет гулять.", ("words", "russian")),
        ("東京都に住む人はNASAの話をする", ("bigrams", None)),
        ("กินข้าวที่บ้าน", ("bigrams", None)),
        ("red shoes size nine", ("words", "english")),
        (f"{ENGLISH} 東京", ("words", "english")),
        ("", ("words", "english")),
    ],
)
def test_what_a_text_speaks(text, want):
    assert analysis_of([text, text]) == want


def test_no_texts():
    assert analysis_of([]) == ("words", "english")


def test_an_index_reads_as_its_sample_speaks_and_the_sample_depends_on_the_seed_alone():
    japanese = ["東京都に住む人", "京都の寺", "大阪"]
    index = bm25_for(japanese, japanese[:1])
    assert (index.settings["analysis"], index.settings["language"]) == ("bigrams", None)
    assert bm25_for(iter([ENGLISH]), iter([ENGLISH])).settings["language"] == "english"
    rows = drawn_to_read(5_000, 3)
    assert len(rows) == len(set(rows.tolist())) == 2_000
    assert (rows == sorted(rows)).all()
    assert (rows == drawn_to_read(5_000, 3)).all()
    assert (rows != drawn_to_read(5_000, 4)).any()
    assert drawn_to_read(3, 0).tolist() == [0, 1, 2]
