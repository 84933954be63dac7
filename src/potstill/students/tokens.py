"""Token ids of many texts, ragged and flat: no padding is stored, none is tokenised twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..texts import whole


@dataclass(frozen=True)
class Tokens:
    """Ragged token ids of n texts: those of text i are `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: int32, all ids one after another.
        offsets: int64 `(n + 1,)`, rising from 0 to `len(ids)`.
        truncated: how many texts were cut at the maximum length.
        unknown: how many texts have no token that the student knows; a static student gives them a zero vector.
        prompt: how many ids at the start of every text are the prompt's, where the student's pooling leaves them out.
    """

    ids: np.ndarray
    offsets: np.ndarray
    truncated: int = 0
    unknown: int = 0
    prompt: int = 0

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], truncated: int = 0, unknown: int = 0, prompt: int = 0) -> Tokens:
        """Pack one sequence of ids per text."""
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in texts], out=offsets[1:])
        flat = np.fromiter((i for ids in texts for i in ids), dtype=np.int32, count=int(offsets[-1]))
        return cls(flat, offsets, truncated, unknown, prompt)

    @classmethod
    def join(cls, parts: Iterable[Tokens]) -> Tokens:
        """Put several batches of texts of one role one after another."""
        held = list(parts)
        lengths = [part.lengths for part in held]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([*lengths, np.zeros(0, np.int64)]))]).astype(np.int64)
        ids = np.concatenate([*(part.ids for part in held), np.zeros(0, np.int32)])
        prompt = held[0].prompt if held else 0
        return cls(ids, offsets, sum(part.truncated for part in held), sum(part.unknown for part in held), prompt)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """Ids (int32) of one text."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, int64 `(n,)`."""
        return np.diff(self.offsets)

    def select(self, rows: np.ndarray | Sequence[int]) -> Tokens:
        """The texts `rows`, in that order, repeats allowed. The counts are those of the whole and are not kept."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Position of each taken id: where its text starts, plus its place within the text.
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Tokens(self.ids[np.repeat(self.offsets[rows], lengths) + within], offsets, prompt=self.prompt)

    def padded(self, pad: int, *, left: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask as int64 `(n, longest)`; mask is 1 where a token is. `longest` is at least 1."""
        lengths = self.lengths
        width = max(1, int(lengths.max(initial=0)))
        places = np.arange(width)[None, :]
        mask = places >= width - lengths[:, None] if left else places < lengths[:, None]
        ids = np.full(mask.shape, pad, dtype=np.int64)
        ids[mask] = self.ids
        return ids, mask.astype(np.int64)


def encode_texts(tokenizer: Any, texts: Sequence[str], *, special: bool = False) -> list[Any]:
    """`tokenizers` encodings of texts; half a surrogate pair, which is no text, is read as a question mark.

    Raises:
        InputError: something that is no string.
    """
    try:
        encodings: list[Any] = tokenizer.encode_batch_fast(texts, add_special_tokens=special)
    except TypeError:
        odd = [type(text).__name__ for text in texts if not isinstance(text, str)]
        if odd:
            raise InputError(f"a text must be a string, not {odd[0]}", fix="give a list of strings") from None
        encodings = tokenizer.encode_batch_fast([whole(text) for text in texts], add_special_tokens=special)
    return encodings


def check_texts(texts: Any) -> None:
    """Refuse one bare string: it would be read as a list of its characters."""
    if isinstance(texts, str):
        raise InputError("encode takes a list of texts, not one string", fix="write encode([text])")
