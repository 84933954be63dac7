"""Keys of rows: 128-bit text digests as two unsigned 64-bit words, sorted, searched in bulk. No Python dict of keys."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..texts import digest

WORD = np.dtype("<u8")
KEY_BYTES = 16


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """Keys of texts, (2, n) uint64: first words, second words."""
    flat = np.frombuffer(b"".join(map(digest, texts)), dtype=WORD)
    return np.ascontiguousarray(flat.reshape(-1, 2).T)


def sorted_order(keys: np.ndarray) -> np.ndarray:
    """The (n,) permutation that sorts keys (2, n) by first word, then second."""
    return np.lexsort((keys[1], keys[0]))


def find(held: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions (n,) int64 of the wanted keys (2, n) among the held, sorted keys (2, m); -1 where absent."""
    first, second = held
    if not len(first):
        return np.full(wanted.shape[1], -1, dtype=np.int64)
    at = np.searchsorted(first, wanted[0])
    inside = np.minimum(at, len(first) - 1)
    same_first = first[inside] == wanted[0]
    exact = same_first & (second[inside] == wanted[1])
    found = np.where(exact, inside, -1).astype(np.int64)
    # Two keys that share their first 64 bits are rarer than a broken disk, yet a lookup must be right: walk on.
    for i in np.flatnonzero(same_first & ~exact):
        place = int(at[i])
        while place < len(first) and first[place] == wanted[0, i]:
            if second[place] == wanted[1, i]:
                found[i] = place
                break
            place += 1
    return found


def count_distinct(parts: list[np.ndarray]) -> int:
    """Number of distinct keys over several (2, n) arrays."""
    if len(parts) < 2:
        return sum(len(part[0]) for part in parts)
    keys = np.concatenate(parts, axis=1)
    keys = keys[:, sorted_order(keys)]
    repeated = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    return int(keys.shape[1] - np.count_nonzero(repeated))
