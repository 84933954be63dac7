"""Joined pairs are what the model's own tokenizer would make of them, cut and padded alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from potstill.errors import InputError
from potstill.teachers.pair_tokens import PairTokenizer
from tiny import make_tiny_tokenizer

WORDS = ["malt", "still", "wind", "sail", "cask"]


def roberta_like() -> PreTrainedTokenizerFast:
    """`<s> query </s></s> document </s>`, no segments."""
    names = ["<pad>", "<s>", "</s>", "<unk>", *WORDS, "a"]
    backend = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", model_input_names=["input_ids", "attention_mask"]
    )


TOKENIZERS = {"bert": make_tiny_tokenizer(), "roberta": roberta_like()}
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(batch=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), longest=st.integers(8, 40))
def test_a_batch_is_the_tokenizers_own(name: str, batch: list[tuple[str, str]], longest: int):
    tokenizer = TOKENIZERS[name]
    pairs = PairTokenizer(tokenizer, longest)
    queries, documents = ([pair[side] for pair in batch] for side in (0, 1))
    ids = pairs.ids(queries), pairs.ids(documents)
    made = pairs.join(*ids)
    own = tokenizer(
        queries, documents, truncation="longest_first", max_length=longest, padding=True, return_tensors="np"
    )
    assert np.array_equal(made.ids, own["input_ids"])
    assert np.array_equal(made.mask, own["attention_mask"])
    if pairs.takes_types:
        assert np.array_equal(made.types, own["token_type_ids"])
    for row in range(len(batch)):
        sides = np.array([-1 if side is None else side for side in own.sequence_ids(row)])
        assert np.array_equal(made.query[row], sides == 0)
        assert np.array_equal(made.document[row], sides == 1)
    lengths = pairs.lengths(*(np.array([len(one) for one in side]) for side in ids))
    assert np.array_equal(lengths, made.mask.sum(axis=1))


def test_the_document_alone_is_cut_while_the_query_takes_no_more_than_half():
    pairs = PairTokenizer(make_tiny_tokenizer(), 23)  # room for 20
    queries, documents = np.array([4, 10, 11, 30, 30, 0]), np.array([50, 50, 50, 5, 30, 50])
    kept = pairs.fitted(queries, documents)
    assert kept[0].tolist() == [4, 10, 10, 15, 10, 0]
    assert kept[1].tolist() == [16, 10, 10, 5, 10, 20]


def test_an_empty_side_has_no_token_and_odd_texts_are_read():
    pairs = PairTokenizer(make_tiny_tokenizer(), 32)
    made = pairs.join(pairs.ids(["malt", "half \ud800 pair"]), pairs.ids(["", "cask"]))
    assert made.document[0].sum() == 0
    assert made.query.sum(axis=1).tolist() == [1, len(pairs.ids(["half ? pair"])[0])]
    assert len(pairs.join([], [])) == 0


def test_what_cannot_join_pairs_is_told():
    with pytest.raises(InputError, match="leave no room") as told:
        PairTokenizer(make_tiny_tokenizer(), 4)
    assert told.value.fix
    with pytest.raises(InputError, match="no fast tokenizer"):
        PairTokenizer(object(), 32)
