"""Training queries for a run: real ones first, then cuts of documents by share, without duplicates or test queries."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..collection import Collection, Document
from ..errors import InputError
from ..recipe import QueriesSpec
from ..texts import normalise
from .sources import SOURCES, CorpusWords, cut

_SAMPLE = 20_000  # documents that cuts are made from; a corpus of any size is read once and no more of it is held
_LONGEST = 2_000  # characters; a longer "sentence" is a table or a list, not a query
_LONGEST_DOCUMENT = 10_000  # the same for whole documents; teachers read the beginning of such a one


@dataclass
class TrainingQueries:
    """Distinct query texts with where each came from.

    Attributes:
        texts: training queries, at most `cap`.
        sources: for each text its source: "real", or one of `SOURCES`.
        documents: (n,) int64, number in the corpus of the document that a query was cut from, -1 for real ones.
        held_out: texts kept out of training, for validation; at most a quarter as many as are trained on.
        held_out_documents: as `documents`, for `held_out`.
        counts: training texts per source.
        excluded: how many candidates were left out, by reason.
    """

    texts: list[str]
    sources: list[str]
    documents: np.ndarray
    held_out: list[str]
    held_out_documents: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)

    def examples(self, each: int = 3) -> dict[str, list[str]]:
        """A few texts of each source, for people to look at."""
        shown: dict[str, list[str]] = {}
        for text, source in zip(self.texts, self.sources, strict=True):
            if len(shown.setdefault(source, [])) < each:
                shown[source].append(text)
        return shown


def training_queries(
    collection: Collection, spec: QueriesSpec, *, seed: int, exclude_ids: AnyOf[str], real_ids: Iterable[str] = ()
) -> TrainingQueries:
    """Assemble the training queries of a run.

    Args:
        collection: where documents and real queries come from; judgments are not read.
        spec: cap, shares and files.
        seed: decides which texts are drawn; the order of documents does not.
        exclude_ids: ids of queries that must never enter training (the evaluated split's); their texts are excluded
            too, however they arise (compared after `normalise`).
        real_ids: ids of queries of the collection that may serve as unlabelled training queries.

    Raises:
        InputError: nothing is left to train on, or a file of queries cannot be read.
    """
    forbidden = {normalise(collection.queries[i]) for i in exclude_ids if i in collection.queries}
    excluded = {"evaluated queries": 0, "duplicates": 0, "empty": 0}
    taken: dict[str, tuple[str, str, int]] = {}
    for text in _real_texts(collection, spec, real_ids, set(exclude_ids)):
        _take(text, "real", -1, taken, forbidden, excluded)
    real = _cap_real(taken, spec.cap, seed)
    sample = _sample(collection.documents(), seed)
    apart = min(spec.held_out, spec.cap // 4)
    drawn = _draw(sample, spec, spec.cap + apart - len(real), seed, real, forbidden, excluded)
    if len(drawn) + len(real) < 20:
        raise InputError(
            f"only {len(drawn) + len(real)} training queries could be made",
            where=collection.source,
            fix="give unlabelled queries with queries.files, or a larger corpus",
        )
    rng = random.Random(f"held out {seed}")
    pool = [*real.values(), *drawn]
    # No evaluated query is ever trained on: the promise that all figures rest on is checked, not trusted.
    assert not any(normalise(text) in forbidden for text, _, _ in pool)
    held = set(rng.sample(range(len(pool)), min(apart, len(pool) // 5)))
    train = [item for i, item in enumerate(pool) if i not in held]
    kept_out = [pool[i] for i in sorted(held)]
    counts = {name: sum(1 for item in train if item[1] == name) for name in ("real", *SOURCES)}
    return TrainingQueries(
        texts=[item[0] for item in train],
        sources=[item[1] for item in train],
        documents=np.array([item[2] for item in train], dtype=np.int64),
        held_out=[item[0] for item in kept_out],
        held_out_documents=np.array([item[2] for item in kept_out], dtype=np.int64),
        counts={name: count for name, count in counts.items() if count},
        excluded=excluded,
    )


def _real_texts(collection: Collection, spec: QueriesSpec, ids: Iterable[str], never: set[str]) -> Iterator[str]:
    for path in spec.files:
        yield from _lines(path)
    if spec.other_splits:
        for query_id in ids:
            if query_id not in never:
                yield collection.queries[query_id]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file of queries", where=str(path), fix="mend queries.files") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the queries: {error}", where=str(path), fix="give a UTF-8 text file, one query a line"
        ) from None
    return text.splitlines()


def _take(
    text: str,
    source: str,
    document: int,
    taken: dict[str, tuple[str, str, int]],
    forbidden: set[str],
    excluded: dict[str, int],
) -> None:
    if source != "documents":  # these stay as they are: the teacher has read just this text
        text = " ".join(text.split())
    key = normalise(text)
    if not key:
        excluded["empty"] += 1
    elif key in forbidden:
        excluded["evaluated queries"] += 1
    elif key in taken:
        excluded["duplicates"] += 1
    else:
        taken[key] = (text, source, document)


def _cap_real(taken: dict[str, tuple[str, str, int]], cap: int, seed: int) -> dict[str, tuple[str, str, int]]:
    if len(taken) <= cap:
        return taken
    keys = sorted(taken)
    chosen = set(random.Random(f"real {seed}").sample(keys, cap))
    return {key: item for key, item in taken.items() if key in chosen}


def _rank(seed: int, *parts: str) -> int:
    """A pseudo-random number that depends on the seed and the text alone, never on the order of reading."""
    whole = "\0".join((str(seed), *parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big")


def _sample(documents: Iterable[Document], seed: int) -> list[tuple[int, Document]]:
    """The `_SAMPLE` documents of lowest rank, in one pass, as (number in the corpus, document), lowest first.

    That order decides which spelling, and which document, a text found twice is taken from; it is not the corpus's.
    """
    heap: list[tuple[int, int, Document]] = []
    for number, document in enumerate(documents):
        rank = _rank(seed, "document", document.id)
        item = (-rank, -number, document)
        if len(heap) < _SAMPLE:
            heapq.heappush(heap, item)
        elif item > heap[0]:
            heapq.heapreplace(heap, item)
    return [(-number, document) for _, number, document in sorted(heap, key=lambda item: -item[0])]


def _draw(
    sample: Sequence[tuple[int, Document]],
    spec: QueriesSpec,
    wanted: int,
    seed: int,
    real: dict[str, tuple[str, str, int]],
    forbidden: set[str],
    excluded: dict[str, int],
) -> list[tuple[str, str, int]]:
    """Cut every source, drop what is known or forbidden, and share `wanted` places out among the sources."""
    corpus = CorpusWords.of([document for _, document in sample])
    shares = {name: getattr(spec, name) for name in SOURCES if getattr(spec, name) > 0}
    taken = dict(real)
    pools: dict[str, list[tuple[str, str, int]]] = {}
    # Scarce sources first: a title that is also a sentence counts as a title.
    for name in shares:
        before = len(taken)
        longest = _LONGEST_DOCUMENT if name == "documents" else _LONGEST
        too_long = f"longer than {longest:,} characters"
        for number, document in sample:
            rng = random.Random(_rank(seed, name, document.id))
            for text in cut(document, name, corpus, rng):
                if len(text) <= longest:
                    _take(text, name, number, taken, forbidden, excluded)
                else:
                    excluded[too_long] = excluded.get(too_long, 0) + 1
        pools[name] = list(taken.values())[before:]
    quotas = share_out(wanted, shares, {name: len(pool) for name, pool in pools.items()})
    drawn: list[tuple[str, str, int]] = []
    for name, pool in pools.items():
        pool.sort(key=lambda item: _rank(seed, "text", item[0]))
        drawn.extend(pool[: quotas[name]])
    return drawn


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
