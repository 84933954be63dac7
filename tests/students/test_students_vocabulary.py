"""Vocabularies: trimming, phrases, tokenizers of a corpus, and the statistics behind them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from potstill.errors import InputError
from potstill.students.counting import frequent_phrases, sampled, token_counts
from potstill.students.static import bare
from potstill.students.vocabulary import (
    corpus_tokenizer,
    entry_text,
    occurring,
    trimmed,
    trimmed_to,
    unknown_id,
    with_phrases,
)
from tiny import make_tiny_tokenizer, words

LINES = [
    "the heart attack of the patient",
    "a heart attack, a virus",
    "no heart attack by night",
    "wind and sail and wind and sail and wind and sail",
    "vaccinatable storms",
    "vaccinatable winds",
    "vaccinatable tides",
]


def wordpiece() -> Tokenizer:
    return bare(make_tiny_tokenizer(more_words=["attack", "##s", "storms"]).backend_tokenizer)


def trained(kind: str) -> Tokenizer:
    if kind == "WordPiece":
        return wordpiece()
    lines = [*LINES, " ".join(words())] * 5
    if kind == "corpus":
        return corpus_tokenizer(lambda: iter(lines), 300)
    if kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        tokenizer.normalizer = normalizers.Lowercase()
        trainer = trainers.UnigramTrainer(
            vocab_size=200, unk_token="[UNK]", special_tokens=["[UNK]"], show_progress=False
        )
        tokenizer.train_from_iterator(lines, trainer)
        return tokenizer
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def tokens_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


TOKENIZERS = {kind: trained(kind) for kind in ("WordPiece", "Unigram", "BPE", "corpus")}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_trimming_leaves_texts_of_kept_entries_as_they_are(kind, data):
    tokenizer = TOKENIZERS[kind]
    known = st.lists(st.sampled_from([*words(), "attack", "vaccinatable", "Storms", "sailing,", "q!"]), max_size=8)
    seen = [" ".join(data.draw(known)) for _ in range(3)]
    counts = token_counts(tokenizer, lambda: iter(seen))
    small, old = trimmed(tokenizer, occurring(tokenizer, counts), keep_special=False)
    assert len(old) == small.get_vocab_size()
    for text in seen:
        ids = small.encode(text, add_special_tokens=False).ids
        assert [int(old[i]) for i in ids] == tokenizer.encode(text, add_special_tokens=False).ids
    for number in range(small.get_vocab_size()):
        assert small.id_to_token(number) == tokenizer.id_to_token(int(old[number]))


@pytest.mark.parametrize("kind", ["WordPiece", "BPE"])
def test_words_that_are_not_kept_fall_apart_into_smaller_entries(kind):
    tokenizer = TOKENIZERS[kind]
    counts = token_counts(tokenizer, lambda: iter(["heart"]))
    small, _ = trimmed(tokenizer, occurring(tokenizer, counts), keep_special=False)
    pieces = tokens_of(small, "storm")
    assert len(pieces) > 1
    assert "".join(piece.removeprefix("##").removeprefix("Ġ") for piece in pieces) == "storm"


def test_trimming_keeps_what_a_transformer_needs():
    tokenizer = make_tiny_tokenizer().backend_tokenizer
    keep = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    keep[tokenizer.token_to_id("heart")] = True
    small, old = trimmed(tokenizer, keep, keep_special=True)
    assert small.encode("heart").tokens == ["[CLS]", "heart", "[SEP]"]
    assert [tokenizer.id_to_token(int(i)) for i in old] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "heart"]


def test_a_limit_keeps_the_most_frequent_and_the_unknown():
    tokenizer = wordpiece()
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for word, count in (("heart", 9), ("storm", 5), ("wind", 7)):
        counts[tokenizer.token_to_id(word)] = count
    basic = int(occurring(tokenizer, np.zeros_like(counts)).sum())
    keep = occurring(tokenizer, counts, basic + 2)
    assert keep.sum() == basic + 2
    assert [bool(keep[tokenizer.token_to_id(word)]) for word in ("heart", "storm", "wind")] == [True, False, True]
    assert keep[unknown_id(tokenizer)]
    assert occurring(tokenizer, counts, 32).sum() == 32


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("limit", [70, 120, 150])
def test_a_limit_is_kept_whatever_entries_are_made_of(kind, limit):
    tokenizer = TOKENIZERS[kind]
    counts = token_counts(tokenizer, lambda: iter([*LINES, " ".join(words())]))
    small, old = trimmed_to(tokenizer, counts, limit, keep_special=False)
    assert limit // 2 <= small.get_vocab_size() == len(old) <= limit


def test_unknown_kinds_of_tokenizer_are_refused():
    tokenizer = wordpiece()
    state = json.loads(tokenizer.to_str())
    assert state["model"]["type"] == "WordPiece"
    strange = type("T", (), {"to_str": lambda self: json.dumps({**state, "model": {"type": "Magic"}})})()
    with pytest.raises(InputError, match="Magic"):
        trimmed(strange, np.ones(3, dtype=bool), keep_special=False)


def test_phrases_are_entries_of_their_own():
    tokenizer = with_phrases(wordpiece(), ["heart attack", "heart attack of the", "storm"])
    assert tokenizer.get_vocab_size() == wordpiece().get_vocab_size() + 2  # "storm" was there
    for text, expected in (
        ("the heart attack", ["the", "heart attack"]),
        ("HEART Attack, storms", ["heart attack", ",", "storms"]),
        ("héart attack", ["heart attack"]),
        ("(heart attack)", ["(", "heart attack", ")"]),
        ("heart attack of the storm", ["heart attack of the", "storm"]),
        ("heart attacks", ["heart", "attack", "##s"]),
        ("heart-attack", ["heart", "-", "attack"]),
        ("sweetheart attack", [*tokens_of(wordpiece(), "sweetheart"), "attack"]),
    ):
        assert [token.strip() for token in tokens_of(tokenizer, text)] == expected, text


def test_phrases_survive_saving_and_leave_no_stray_spaces():
    tokenizer = with_phrases(TOKENIZERS["Unigram"], ["heart attack"])
    again = Tokenizer.from_str(tokenizer.to_str())
    number = again.token_to_id("heart attack")
    ids = again.encode("wind Heart attack storm", add_special_tokens=False).ids
    plain = TOKENIZERS["Unigram"]
    one, other = (plain.encode(word, add_special_tokens=False).ids for word in ("wind", "storm"))
    assert ids == [*one, number, *other]


def test_frequent_phrases_are_those_that_belong_together():
    found = frequent_phrases(wordpiece(), lambda: iter(LINES), 100)
    assert {"heart attack", "vaccinatable", "wind and", "wind and sail"} <= set(found)
    assert not any("," in phrase or phrase == "heart" for phrase in found)  # whole entries already
    assert "attack virus" not in found
    assert frequent_phrases(wordpiece(), lambda: iter(LINES), 2) == found[:2]
    assert frequent_phrases(wordpiece(), lambda: iter([]), 5) == []


def test_worth_of_a_phrase_by_hand():
    lines = ["heart attack"] * 4 + ["heart"] * 4 + ["storm tide"] * 3 + ["the wind"] * 3
    # 22 words. storm tide: 3 ln(3 * 22 / 9) = 5.98; the wind the same; heart attack: 4 ln(4 * 22 / 32) = 4.05.
    assert frequent_phrases(wordpiece(), lambda: iter(lines), 9) == ["storm tide", "the wind", "heart attack"]


def test_counts_by_hand():
    tokenizer = wordpiece()
    counts = token_counts(tokenizer, lambda: iter(["heart storms", "Heart ☃", "", "\ud83d"]))
    assert counts.sum() == 5
    assert counts[tokenizer.token_to_id("heart")] == 2
    assert counts[unknown_id(tokenizer)] == 1


def test_large_collections_are_sampled_and_told(capsys):
    lines = [f"text {i:04d}" for i in range(100)]
    assert list(sampled(lambda: iter(lines))()) == lines
    some = list(sampled(lambda: iter(lines), characters=300)())
    assert some == lines[::3]
    assert "one text in 3" in capsys.readouterr().err


def test_a_language_without_spaces_gets_pieces_of_its_own():
    lines = ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。", "猫は名前が無い。"] * 30
    tokenizer = corpus_tokenizer(lambda: iter(lines), 60)
    counts = token_counts(tokenizer, lambda: iter(lines))
    assert counts[unknown_id(tokenizer)] == 0
    assert len(tokens_of(tokenizer, lines[0])) < len(lines[0])
    assert any("名前" in tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size()))


def test_teacher_that_does_not_know_the_script_gets_a_new_vocabulary(teacher, capsys):
    from potstill.recipe import StudentSpec
    from potstill.students import build_tower

    lines = ["吾輩は猫である。名前はまだ無い。", "猫は名前が無い。"] * 20
    tower = build_tower(StudentSpec(), teacher, lambda: iter(lines), 0)
    assert "training one" in capsys.readouterr().err
    assert tower.tokens(lines).unknown == 0
    kept = build_tower(StudentSpec(vocabulary="teacher", phrases=0), teacher, lambda: iter(lines), 0)
    assert kept.tokens(lines).unknown == 40


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_entry_texts_are_without_marks(kind):
    tokenizer = TOKENIZERS[kind]
    heart = tokenizer.encode("the heart", add_special_tokens=False).ids
    assert "".join(entry_text(tokenizer, i) for i in heart) == "theheart"


def test_a_corpus_tokenizer_is_the_same_in_every_process():
    """More characters than there is room for, all equally rare: which of them stay must not be left to chance."""
    program = (
        "from potstill.students.vocabulary import corpus_tokenizer\n"
        "lines = [chr(0x4E00 + i) + chr(0x4E01 + i) for i in range(600)]\n"
        "print(ascii(corpus_tokenizer(lambda: iter(lines), 200).to_str()))"
    )
    said = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    assert "4e00" not in said[0]  # the two at the ends stand in one line only; of the others those of lowest code stay
    assert "4e01" in said[0]
