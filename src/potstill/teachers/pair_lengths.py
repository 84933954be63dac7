"""Tokens of pairs, counted without reading a text twice: a document beside fifty queries is tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def pair_tokens(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Tokens (n,) int64 of pairs read as one text, special tokens counted, nothing cut.

    A `tokenizers.Tokenizer` splits the two texts of a pair on their own and then adds its special tokens, so the parts'
    counts add up exactly.
    """
    parts = {text: 0 for pair in pairs for text in pair}
    encoded = tokenizer.encode_batch_fast(list(parts), add_special_tokens=False)
    for text, one in zip(parts, encoded, strict=True):
        parts[text] = len(one)
    special = int(tokenizer.num_special_tokens_to_add(True))
    counts = (parts[query] + parts[document] + special for query, document in pairs)
    return np.fromiter(counts, dtype=np.int64, count=len(pairs))
