"""Tokens of texts and pairs, counted without reading a text twice: a document beside fifty queries is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..texts import digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_KEPT = 500_000  # texts whose counts are remembered, at about 130 bytes each


class TokenCounter:
    """Counts tokens with a `tokenizers.Tokenizer` that neither truncates nor pads, and remembers what it counted."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[bytes, int] = {}

    def texts(self, texts: Sequence[str], *, special_tokens: bool) -> np.ndarray:
        """Tokens (n,) int64 of single texts, with or without the special tokens around them."""
        added = int(self._tokenizer.num_special_tokens_to_add(False)) if special_tokens else 0
        counts: np.ndarray = self._bare(texts) + added
        return counts

    def pairs(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """Tokens (n,) int64 of pairs read as one text, special tokens counted.

        A tokenizer splits the two texts of a pair on their own and then adds its special tokens, so the parts' counts
        add up exactly.
        """
        special = int(self._tokenizer.num_special_tokens_to_add(True))
        counts: np.ndarray = self._bare(queries) + self._bare(documents) + special
        return counts

    def _bare(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens (n,) int64 of the texts alone."""
        keys = list(map(digest, texts))
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if len(self._known) + len(new) > _KEPT:
            self._known.clear()
            new = dict(zip(keys, texts, strict=True))
        if new:
            encoded = self._tokenizer.encode_batch_fast(list(new.values()), add_special_tokens=False)
            self._known.update(zip(new, map(len, encoded), strict=True))
        return np.fromiter((self._known[key] for key in keys), dtype=np.int64, count=len(keys))
