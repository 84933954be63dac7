"""A query and a document as one row of token ids, as the model's own tokenizer joins them.

Texts are tokenised apart and put into the tokenizer's template, "[CLS] query [SEP] document [SEP]" for BERT, so that a
text which is in many pairs is read once. `apart` puts each into the template of a single text instead, one after the
other: "[CLS] query [SEP] [CLS] document [SEP]", each side with its own special tokens and positions from 0.
What is too long is cut as transformers' `longest_first` does it: the document alone, unless the query takes more than
half of the room; nothing is cut where the pair fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..texts import whole


@dataclass(frozen=True)
class PairIds:
    """A batch of n joined pairs, padded on the right to the longest, L tokens.

    Attributes:
        ids: (n, L) int64.
        mask: (n, L) bool, True where a token is.
        types: (n, L) int64, the segment of each token as the tokenizer numbers them.
        query: (n, L) bool, True at the query's tokens (special ones are nobody's, except where texts stand apart).
        document: (n, L) bool, likewise.
    """

    ids: np.ndarray
    mask: np.ndarray
    types: np.ndarray
    query: np.ndarray
    document: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def bare_backend(tokenizer: Any) -> Any:
    """A copy of a transformers tokenizer's `tokenizers.Tokenizer` that neither cuts nor pads.

    Raises:
        InputError: it has no fast form.
    """
    import tokenizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise InputError(
            "the model has no fast tokenizer, which reading its texts one by one needs",
            where=str(getattr(tokenizer, "name_or_path", "")) or None,
            fix="save its tokenizer as tokenizer.json, or give another model",
        )
    copy = tokenizers.Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def bare_ids(backend: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids (int32) of each text, without special tokens; lone surrogates are read as question marks."""
    encoded = backend.encode_batch_fast([whole(text) for text in texts], add_special_tokens=False)
    return [np.asarray(one.ids, dtype=np.int32) for one in encoded]


class PairTokenizer:
    """Joins pairs for one model.

    Args:
        tokenizer: a transformers tokenizer of the fast kind.
        max_length: most tokens of a pair, special ones included.
        apart: whether each text has special tokens of its own, which then belong to its side.

    Raises:
        InputError: a tokenizer without a fast form, or a length that leaves no room for two texts.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, apart: bool = False) -> None:
        self.backend = bare_backend(tokenizer)
        self.max_length, self.pad = max_length, int(tokenizer.pad_token_id or 0)
        self.takes_types = "token_type_ids" in tokenizer.model_input_names
        self.apart = apart
        self._parts, self._types = self._two_templates() if apart else self._template()
        self.room = max_length - sum(map(len, self._parts))
        if self.room < 2:
            raise InputError(
                f"{max_length} tokens leave no room for a query and a document",
                where="max_length",
                fix="give at least 16",
            )

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids (int32) of each text, without special tokens, uncut; lone surrogates are read as question marks."""
        return bare_ids(self.backend, texts)

    def fitted(self, queries: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many tokens (n,) of queries and documents of these lengths (n,) are kept in a pair."""
        over = queries + documents > self.room
        # The shorter of the two stays whole as long as it takes no more than half; the longer gets an odd token.
        half = self.room // 2 + np.where(queries > documents, self.room % 2, 0)
        kept_queries = np.where(over, np.minimum(queries, np.maximum(half, self.room - documents)), queries)
        kept_documents = np.where(over, np.minimum(documents, self.room - kept_queries), documents)
        return kept_queries, kept_documents

    def lengths(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Tokens (n,) of pairs of texts of these lengths (n,), special tokens included, after cutting."""
        kept_queries, kept_documents = self.fitted(queries, documents)
        return np.asarray(kept_queries + kept_documents + (self.max_length - self.room))

    def join(self, queries: Sequence[np.ndarray], documents: Sequence[np.ndarray]) -> PairIds:
        """Pairs of ids as `ids` gives them, cut to fit and padded."""
        count = len(queries)
        kept = self.fitted(
            np.fromiter(map(len, queries), np.int64, count), np.fromiter(map(len, documents), np.int64, count)
        )
        specials = self.max_length - self.room
        width = int((kept[0] + kept[1]).max(initial=0)) + specials
        ids = np.full((count, width), self.pad, dtype=np.int64)
        mask, query, document = (np.zeros((count, width), dtype=bool) for _ in range(3))
        types = np.zeros((count, width), dtype=np.int64)
        first, second = (len(self._parts[i]) for i in (0, 1))
        for row, (q, d) in enumerate(zip(kept[0].tolist(), kept[1].tolist(), strict=True)):
            start, after = first, first + q + second
            end = after + d + len(self._parts[2])
            ids[row, :start], ids[row, start : start + q] = self._parts[0], queries[row][:q]
            ids[row, start + q : after], ids[row, after : after + d] = self._parts[1], documents[row][:d]
            ids[row, after + d : end] = self._parts[2]
            types[row, :end] = np.repeat(self._types, [first, q, second, d, end - after - d])
            mask[row, :end] = query[row, start : start + q] = document[row, after : after + d] = True
            if self.apart:
                between = start + q + self._suffix
                query[row, :between] = document[row, between:end] = True
        return PairIds(ids, mask, types, query, document)

    def _two_templates(self) -> tuple[tuple[list[int], list[int], list[int]], list[int]]:
        """The template of a single text, twice."""
        probe = self.backend.encode("a")
        own = [place for place, sequence in enumerate(probe.sequence_ids) if sequence is not None]
        before, after = probe.ids[: own[0]], probe.ids[own[-1] + 1 :]
        self._suffix = len(after)
        return (before, [*after, *before], after), [0] * 5

    def _template(self) -> tuple[tuple[list[int], list[int], list[int]], list[int]]:
        """Special ids before, between and after the two texts; and segment numbers of the five parts."""
        probe = self.backend.encode("a", "a")
        places = [0 if s is None else s + 1 for s in probe.sequence_ids]
        first, last = places.index(1), len(places) - 1 - places[::-1].index(2)
        middle = range(len(places) - places[::-1].index(1), places.index(2))
        parts = (
            probe.ids[:first],
            [probe.ids[i] for i in middle],
            probe.ids[last + 1 :],
        )
        kinds = [
            probe.type_ids[0],
            probe.type_ids[first],
            probe.type_ids[middle[0]] if middle else 0,
            probe.type_ids[last],
            probe.type_ids[-1],
        ]
        return parts, kinds
