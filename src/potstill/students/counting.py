"""Term statistics of representative texts: how often each token occurs, which runs of words belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..progress import say
from ..texts import whole
from .tokens import encode_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Texts = Callable[[], Iterator[str]]

SAMPLE_CHARACTERS = 20_000_000  # enough for stable counts; about ten seconds of tokenizing
_TEXTS_PER_CALL = 1024
_PIECES = re.compile(r"\w+|[^\w\s]+|\s[\s]+|[^\S ]")
_LEAST_COUNT = 3


def sampled(texts: Texts, characters: int = SAMPLE_CHARACTERS) -> Texts:
    """The texts, or every k-th of them where they hold more than so many characters (which is told)."""
    total = count = 0
    for text in texts():
        total += len(text)
        count += 1
    step = -(-total // characters)
    if step <= 1:
        return texts
    say(f"student: vocabulary statistics read one text in {step} of {count:,}")
    return lambda: islice(texts(), 0, None, step)


def token_counts(tokenizer: Tokenizer, texts: Texts) -> np.ndarray:
    """How often each entry of a tokenizer occurs, int64 `(V,)`; special tokens are not added."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for chunk in chunks(texts(), _TEXTS_PER_CALL):
        encodings = encode_texts(tokenizer, chunk)
        ids = np.fromiter((i for encoding in encodings for i in encoding.ids), dtype=np.int64)
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def frequent_phrases(tokenizer: Tokenizer, texts: Texts, count: int) -> list[str]:
    """The phrases of up to three words that are most worth an entry of their own, best first, as normalised strings.

    A phrase is a run of words with one space between; a single word counts where the tokenizer cuts it. Worth is
    `n * log(n * N / (n_left * n_right))`, the phrase's share of the mutual information of neighbours (a cut word's
    halves are taken as certain: `n * log(N / n)`); `n` its count, at least 3, `N` the number of words.
    """
    words, stream = _word_stream(tokenizer, texts)
    if not count or not len(stream):
        return []
    total = float((stream >= 0).sum())
    single = np.bincount(stream[stream >= 0], minlength=len(words)).astype(np.float64)
    found: list[tuple[np.ndarray, list[str]]] = []

    frequent = np.flatnonzero(single >= _LEAST_COUNT)
    cut = tokenizer.encode_batch_fast([words[i] for i in frequent], add_special_tokens=False)
    frequent = frequent[[len(encoding.ids) > 1 for encoding in cut]]
    found.append((single[frequent] * np.log(total / single[frequent]), [words[i] for i in frequent]))

    # Pairs, then pairs followed by a word; a pair's number takes the place of its first word.
    pair_of = np.full(len(stream), -1, dtype=np.int64)
    left, right = stream[:-1].astype(np.int64), stream[1:].astype(np.int64)
    places = np.flatnonzero((left >= 0) & (right >= 0))
    keys, inverse, n = np.unique(left[places] * len(words) + right[places], return_inverse=True, return_counts=True)
    pairs = np.stack([keys // len(words), keys % len(words)], axis=1)
    worth = n * np.log(n * total / (single[pairs[:, 0]] * single[pairs[:, 1]]))
    keep = np.flatnonzero((n >= _LEAST_COUNT) & (worth > 0))
    found.append((worth[keep], [f"{words[a]} {words[b]}" for a, b in pairs[keep]]))
    pair_of[places] = np.where(n[inverse] >= _LEAST_COUNT, inverse, -1)

    start, last = pair_of[:-2], stream[2:].astype(np.int64)
    places = np.flatnonzero((start >= 0) & (last >= 0))
    keys, n3 = np.unique(start[places] * len(words) + last[places], return_counts=True)
    head, tail = keys // len(words), keys % len(words)
    worth = n3 * np.log(n3 * total / (n[head] * single[tail]))
    keep = np.flatnonzero((n3 >= _LEAST_COUNT) & (worth > 0))
    triples = [
        f"{words[pairs[h, 0]]} {words[pairs[h, 1]]} {words[t]}" for h, t in zip(head[keep], tail[keep], strict=True)
    ]
    found.append((worth[keep], triples))

    scores = np.concatenate([part for part, _ in found])
    phrases = [phrase for _, part in found for phrase in part]
    return [phrases[i] for i in np.argsort(-scores, kind="stable")[:count]]


def chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of up to `size` texts."""
    while chunk := list(islice(texts, size)):
        yield chunk


def _word_stream(tokenizer: Tokenizer, texts: Texts) -> tuple[list[str], np.ndarray]:
    """Distinct words, and all texts as one int32 array of their numbers; -1 wherever two words are not neighbours."""
    normalizer = tokenizer.normalizer
    numbers: dict[str, int] = {}
    parts: list[np.ndarray] = []
    for text in texts():
        clean = normalizer.normalize_str(whole(text)) if normalizer is not None else whole(text)
        row = [
            numbers.setdefault(piece, len(numbers)) if piece[0].isalnum() or piece[0] == "_" else -1
            for piece in _PIECES.findall(clean)
        ]
        parts.append(np.array([*row, -1], dtype=np.int32))
    return list(numbers), np.concatenate([*parts, np.zeros(0, np.int32)])
