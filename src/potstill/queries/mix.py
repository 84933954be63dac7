"""Training queries for a run: real ones first, then the others by share, without duplicates or test queries."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..collection import Collection, Document
from ..errors import InputError
from ..recipe import QueriesSpec
from ..texts import normalise
from .cleaning import cleaned
from .drawing import rank, sample, share_out
from .generation import Generator
from .noise import halves, noised
from .sources import GENERATED, MIXED, SOURCES, CorpusWords, cut
from .training import TrainingQueries

_SAMPLE = 20_000  # documents that cuts are made from; a corpus of any size is read once and no more of it is held
_LONGEST = 2_000  # characters; a longer "sentence" is a table or a list, not a query
_LONGEST_DOCUMENT = 10_000  # the same for whole documents; teachers read the beginning of such a one


class Candidate(NamedTuple):
    """A text that may become a training query; `positives` are rows of documents."""

    text: str
    source: str
    document: int = -1
    positives: tuple[int, ...] = ()


def training_queries(
    collection: Collection,
    spec: QueriesSpec,
    *,
    seed: int,
    exclude_ids: AnyOf[str],
    real_ids: Iterable[str] = (),
    judged: Mapping[str, Sequence[int]] | None = None,
    generator: Generator | None = None,
) -> TrainingQueries:
    """Assemble the training queries of a run.

    Args:
        collection: where documents and real queries come from; its judgments are not read.
        spec: cap, shares, files and filters.
        seed: decides which texts are drawn; the order of documents does not.
        exclude_ids: ids of queries that must never enter training (the evaluated split's); their texts are excluded
            too, however they arise (compared after `normalise`), and so are judgments of a query with such a text.
        real_ids: ids of queries of the collection that may serve as unlabelled training queries.
        judged: ids of queries that come first, with the rows of the documents that each is judged to fit.
        generator: writes queries as `spec.generator` says; None: none are written.

    Raises:
        InputError: nothing is left to train on, a file of queries cannot be read, or the generator writes no queries.
    """
    never = set(exclude_ids)
    intake = _Intake({normalise(collection.queries[i]) for i in never if i in collection.queries})
    judged = {i: rows for i, rows in (judged or {}).items() if i in collection.queries and i not in never}
    for query_id, rows in judged.items():
        intake.judged(collection.queries[query_id], rows)
    first = len(intake.taken)
    for text in _real_texts(collection, spec, real_ids, never | judged.keys()):
        intake.add(Candidate(text, "real"))
    real = _cap_real(intake.taken, first, spec.cap, seed)
    intake.taken = dict(real)
    apart = min(spec.held_out, spec.cap // 4)
    drawn, surplus = _draw(collection, spec, spec.cap + apart - len(real), seed, intake, generator)
    pool = [*real.values(), *drawn]
    if len(pool) < 20:
        raise InputError(
            f"only {len(pool)} training queries could be made",
            where=collection.source,
            fix="give unlabelled queries with queries.files, or a larger corpus"
            + ("" if spec.cuts else "; or allow queries that are cut from documents (queries.cuts)"),
        )
    # No evaluated query is ever trained on: the promise that all figures rest on is checked, not trusted.
    assert not any(normalise(item.text) in intake.forbidden for item in (*pool, *surplus))
    held = set(random.Random(f"held out {seed}").sample(range(len(pool)), min(apart, len(pool) // 5)))
    train = [item for i, item in enumerate(pool) if i not in held]
    kept_out = [pool[i] for i in sorted(held)]
    room = sum(item.source == GENERATED for item in train) if surplus else None
    train += surplus
    counts = Counter(item.source for item in train)
    return TrainingQueries(
        texts=[item.text for item in train],
        sources=[item.source for item in train],
        documents=np.array([item.document for item in train], dtype=np.int64),
        held_out=[item.text for item in kept_out],
        held_out_documents=np.array([item.document for item in kept_out], dtype=np.int64),
        counts={name: counts[name] for name in ("real", GENERATED, *SOURCES, MIXED) if counts[name]},
        excluded=intake.excluded,
        positives=[np.array(item.positives, dtype=np.int64) for item in train],
        held_out_sources=[item.source for item in kept_out],
        held_out_positives=[np.array(item.positives, dtype=np.int64) for item in kept_out],
        room=room,
    )


class _Intake:
    """Distinct candidates by normalised text, none of them an evaluated query, and what was left out."""

    def __init__(self, forbidden: set[str]) -> None:
        self.forbidden = forbidden
        self.taken: dict[str, Candidate] = {}
        self.excluded = {"evaluated queries": 0, "duplicates": 0, "empty": 0}

    def add(self, item: Candidate) -> None:
        if item.source != "documents":  # these stay as they are: the teacher has read just this text
            item = item._replace(text=" ".join(item.text.split()))
        key = normalise(item.text)
        if not key:
            self.leave_out("empty")
        elif key in self.forbidden:
            self.leave_out("evaluated queries")
        elif key in self.taken:
            self.leave_out("duplicates")
        else:
            self.taken[key] = item

    def judged(self, text: str, rows: Sequence[int]) -> None:
        """A real query with its judgments; two of one text are one query that fits the documents of both."""
        known = self.taken.get(normalise(text))
        if known is not None:
            rows = list(dict.fromkeys([*known.positives, *rows]))
            self.taken[normalise(text)] = known._replace(document=rows[0] if rows else -1, positives=tuple(rows))
        self.add(Candidate(text, "real", rows[0] if len(rows) else -1, tuple(rows)))

    def leave_out(self, reason: str, count: int = 1) -> None:
        self.excluded[reason] = self.excluded.get(reason, 0) + count

    def pool(self, items: Iterable[Candidate]) -> list[Candidate]:
        """Those of the items that are new."""
        before = len(self.taken)
        for item in items:
            self.add(item)
        return list(self.taken.values())[before:]


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


def _cap_real(taken: dict[str, Candidate], judged: int, cap: int, seed: int) -> dict[str, Candidate]:
    """At most `cap` of them: the first `judged`, which somebody took the trouble to judge, before the others."""
    if len(taken) <= cap:
        return taken
    keys = list(taken)
    first, others = keys[:judged], keys[judged:]
    some = first if len(first) > cap else others
    drawn = random.Random(f"real {seed}").sample(sorted(some), cap if some is first else cap - len(first))
    chosen = set(drawn) if some is first else {*first, *drawn}
    return {key: item for key, item in taken.items() if key in chosen}


def _draw(
    collection: Collection,
    spec: QueriesSpec,
    wanted: int,
    seed: int,
    intake: _Intake,
    generator: Generator | None,
) -> tuple[list[Candidate], list[Candidate]]:
    """Make every source's pool, and share `wanted` places out among the sources.

    Returns:
        What was drawn, and the generated queries beyond their places that a filter is to choose from.
    """
    real = list(intake.taken.values())
    writes = spec.generator is not None and generator is not None and spec.generated > 0
    count = _SAMPLE
    if spec.generator is not None and writes and spec.generator.reads == "documents":
        count = max(count, spec.generator.sources)
    documents = sample(collection.documents(), seed, count)
    pools: dict[str, list[Candidate]] = {}
    # Scarce sources first: a title that is also a sentence counts as a title.
    if writes:
        assert generator is not None
        pools[GENERATED] = intake.pool(_written(spec, generator, documents, real, seed, intake))
    if spec.cuts:
        documents = documents[:_SAMPLE]
        corpus = CorpusWords.of([document for _, document in documents])
        for name in SOURCES:
            if getattr(spec, name) > 0:
                pools[name] = intake.pool(_cuts(name, documents, corpus, seed, intake))
    if spec.mixed > 0:
        parts = [*real, *(item for name, pool in pools.items() if name != "documents" for item in pool)]
        pools[MIXED] = intake.pool(_mixed([item.text for item in parts], wanted, seed))
    shares = {name: float(getattr(spec, name)) for name in pools}
    quotas = share_out(wanted, shares, {name: len(pool) for name, pool in pools.items()})
    drawn: list[Candidate] = []
    surplus: list[Candidate] = []
    for name, pool in pools.items():
        pool.sort(key=lambda item: rank(seed, "text", item.text))
        drawn.extend(pool[: quotas[name]])
        if name == GENERATED and spec.pick is not None:
            surplus = pool[quotas[name] : math.ceil(spec.pool * quotas[name])]
    return drawn, surplus


def _cuts(
    name: str, documents: Sequence[tuple[int, Document]], corpus: CorpusWords, seed: int, intake: _Intake
) -> Iterator[Candidate]:
    longest = _LONGEST_DOCUMENT if name == "documents" else _LONGEST
    for number, document in documents:
        for text in cut(document, name, corpus, random.Random(rank(seed, name, document.id))):
            if len(text) <= longest:
                yield Candidate(text, name, number)
            else:
                intake.leave_out(f"longer than {longest:,} characters")


def _written(
    spec: QueriesSpec,
    generator: Generator,
    documents: Sequence[tuple[int, Document]],
    real: Sequence[Candidate],
    seed: int,
    intake: _Intake,
) -> list[Candidate]:
    """What the generator writes for documents, or makes of real queries whose words were dropped and swapped."""
    how = spec.generator
    assert how is not None
    if how.reads == "documents":
        numbers = [number for number, document in documents[: how.sources] if document.full]
        sources = [document.full for _, document in documents[: how.sources] if document.full]
        reads = sources
    else:
        sources = sorted((item.text for item in real), key=lambda text: rank(seed, "rewritten", text))[: how.sources]
        numbers = [-1] * len(sources)
        reads = [noised(text, how.noise, seed) for text in sources]
    if not sources:
        raise InputError(
            f"there are no {how.reads} for the generator to read"
            if how.reads == "documents"
            else "there are no real queries for the generator to rewrite",
            where="queries.generator.reads",
            fix="give queries with queries.files, or set queries.generator.reads: documents",
        )
    found = cleaned(sources, generator.generate(reads), spec.words, generator.name)
    for reason, dropped in found.dropped.items():
        intake.leave_out(reason, dropped)
    return [Candidate(text, GENERATED, numbers[place]) for place, text in found.texts]


def _mixed(texts: Sequence[str], most: int, seed: int) -> Iterator[Candidate]:
    """Up to `most` texts of two halves; each text gives at most one first half and one second half."""
    first = sorted(texts, key=lambda text: rank(seed, "first half", text))[: max(0, most)]
    second = sorted(texts, key=lambda text: rank(seed, "second half", text))[: max(0, most)]
    for start, end in zip(first, second, strict=True):
        if start != end:
            yield Candidate(halves(start, end), MIXED)
