"""Which judged pairs may be learned from, and which queries measure the learning. The test split is neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..collection import Collection
from ..errors import InputError
from ..recipe import TeachSpec
from ..texts import normalise

TEST = "test"


@dataclass(frozen=True)
class Judged:
    """Queries with their positives: query id -> ids of documents with a grade above 0.

    Attributes:
        train: those that are learned from.
        held_out: those that validate, none of them in `train`.
        grades: judgments of the held-out queries, zeros included.
        excluded: reason -> how many judged queries were left out.
    """

    train: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    grades: dict[str, dict[str, int]]
    excluded: dict[str, int]


def judged_pairs(collection: Collection, spec: TeachSpec) -> Judged:
    """Choose from the judgments of `spec.split`; no query of the test split, by id or by text, is among them.

    Held-out queries are drawn with the training's seed, at most a fifth of all; with `training.select: dev` they are
    those of the dev split.

    Raises:
        InputError: there is no such split, it is the test split, or too little is left of it.
    """
    if spec.split == TEST:
        raise InputError(
            "a teacher is trained on judgments, and the test split is for measuring it",
            where="--split test",
            fix="name another split" + _others(collection),
        )
    judged = collection.qrels(spec.split)
    excluded: dict[str, int] = {}
    barred = [TEST] if TEST in collection.splits else []
    selecting = collection.qrels("dev") if spec.training.select == "dev" else None
    if selecting is not None:
        if spec.split == "dev":
            raise InputError(
                "the dev split cannot both train and select",
                where="training.select",
                fix="train on another split, or use select: held_out",
            )
        barred.append("dev")
    usable = _positives(collection, judged, excluded)
    for name in barred:
        usable = _without(usable, collection, name, excluded)
    if selecting is not None:
        held_out = _positives(collection, selecting, {})
        if TEST in barred:
            held_out = _without(held_out, collection, TEST, {})
        held_out = _drawn(held_out, spec.held_out, spec.training.seed)
        grades = selecting
    else:
        held_out = _drawn(usable, min(spec.held_out, max(1, len(usable) // 5)), spec.training.seed)
        texts = {normalise(collection.queries[query]) for query in held_out}
        usable = {q: rows for q, rows in usable.items() if normalise(collection.queries[q]) not in texts}
        grades = judged
    if not usable or not held_out:
        said = "; ".join(f"{count:,} {reason}" for reason, count in excluded.items())
        raise InputError(
            f"too few queries with judgments are left to learn from and to validate by{f' ({said})' if said else ''}",
            where=f"split {spec.split}",
            fix="give a split of at least two queries with a positive, none of them a test query",
        )
    return Judged(usable, held_out, {query: dict(grades[query]) for query in held_out}, excluded)


def forbidden(collection: Collection) -> set[str]:
    """Ids of the queries that nothing may be learned from."""
    return set(collection.qrels(TEST)) if TEST in collection.splits else set()


def _positives(
    collection: Collection, judged: Mapping[str, Mapping[str, int]], excluded: dict[str, int]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for query, grades in judged.items():
        positives = tuple(document for document, grade in grades.items() if grade > 0)
        if not positives:
            _count(excluded, "without a positive judgment")
        elif not collection.queries[query].strip():
            _count(excluded, "without text")
        else:
            found[query] = positives
    return found


def _without(
    usable: dict[str, tuple[str, ...]], collection: Collection, split: str, excluded: dict[str, int]
) -> dict[str, tuple[str, ...]]:
    """Less the queries of a split, by id, or by a text that differs at most in case and white space."""
    ids = set(collection.qrels(split))
    texts = {normalise(collection.queries[query]) for query in ids}
    kept = {}
    for query, positives in usable.items():
        if query in ids or normalise(collection.queries[query]) in texts:
            _count(excluded, f"that the {split} split has too")
        else:
            kept[query] = positives
    return kept


def _drawn(queries: dict[str, tuple[str, ...]], count: int, seed: int) -> dict[str, tuple[str, ...]]:
    names = list(queries)
    rows = np.sort(np.random.default_rng([seed, len(names)]).permutation(len(names))[:count])
    return {names[row]: queries[names[row]] for row in rows.tolist()}


def _count(excluded: dict[str, int], reason: str) -> None:
    excluded[reason] = excluded.get(reason, 0) + 1


def _others(collection: Collection) -> str:
    others = [name for name in collection.splits if name != TEST]
    return f": {', '.join(others)}" if others else "; this collection has no other, so there is nothing to learn from"
