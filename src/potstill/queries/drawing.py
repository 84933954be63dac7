"""Chance that depends on the seed and the texts alone, never on the order of reading: ranks, samples, shares."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable

from ..collection import Document


def rank(seed: int, *parts: str) -> int:
    """A pseudo-random number of 64 bits that depends on the seed and the texts alone."""
    whole = "\0".join((str(seed), *parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big")


def sample(documents: Iterable[Document], seed: int, count: int) -> list[tuple[int, Document]]:
    """The `count` documents of lowest rank, in one pass, as (number in the corpus, document), lowest first.

    That order decides which spelling, and which document, a text found twice is taken from; it is not the corpus's.
    The beginning of a larger sample is the smaller sample.
    """
    heap: list[tuple[int, int, Document]] = []
    for number, document in enumerate(documents):
        item = (-rank(seed, "document", document.id), -number, document)
        if len(heap) < count:
            heapq.heappush(heap, item)
        elif item > heap[0]:
            heapq.heapreplace(heap, item)
    return [(-number, document) for _, number, document in sorted(heap, key=lambda item: -item[0])]


def share_out(wanted: int, shares: dict[str, float], available: dict[str, int]) -> dict[str, int]:
    """Divide `wanted` places by share; what a source cannot fill goes to the others.

    Returns:
        For each source a number of places, at most what is available; their sum is `min(wanted, all available)`.
    """
    quotas = dict.fromkeys(shares, 0)
    open_sources = {name for name in shares if available[name] > 0}
    left = max(0, wanted)
    while left and open_sources:
        total = sum(shares[name] for name in open_sources)
        round_left = left
        for name in sorted(open_sources):
            place = min(available[name] - quotas[name], left, max(1, int(round_left * shares[name] / total)))
            quotas[name] += place
            left -= place
        open_sources = {name for name in open_sources if quotas[name] < available[name]}
    return quotas
