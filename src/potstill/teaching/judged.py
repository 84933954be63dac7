"""Which judged pairs may be learned from, and which queries measure the learning. The test split is neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..collection import Collection
from ..errors import InputError
from ..recipe import TeachGeneratorSpec, TeachSpec
from ..texts import normalise

TEST, DEV = "test", "dev"

Positives = dict[str, tuple[str, ...]]
"""Query id -> ids of documents with a grade above 0."""


@dataclass(frozen=True)
class Judged:
    """Judged queries.

    Attributes:
        train: those that are learned from, with their positives.
        held_out: those that validate; no query of `train`, by id or text.
        grades: judgments of the held-out queries, zeros included.
        excluded: reason -> how many judged queries were left out.
    """

    train: Positives
    held_out: Positives
    grades: dict[str, dict[str, int]]
    excluded: dict[str, int]


def judged_pairs(collection: Collection, spec: TeachSpec | TeachGeneratorSpec) -> Judged:
    """Choose from the judgments of `spec.split`; no query of the test split, by id or by text, is among them.

    Held-out queries are drawn with the training's seed, at most a fifth of all; with `training.select: dev` they are
    those of the dev split.

    Raises:
        InputError: there is no such split, it is the test split, or too little is left of it.
    """
    if spec.split == TEST:
        others = [name for name in collection.splits if name != TEST]
        raise InputError(
            "a teacher is trained on judgments, and the test split is for measuring",
            where="--split test",
            fix=f"name another split: {', '.join(others)}" if others else "judge more queries, in a split of their own",
        )
    choice = _Choice(collection)
    usable = choice.positives(spec.split)
    if spec.training.select == DEV:
        if spec.split == DEV:
            raise InputError(
                "the dev split cannot both train and select",
                where="training.select",
                fix="train on another split, or use training.select=held_out",
            )
        held_out = _drawn(choice.positives(DEV), spec.held_out, spec.training.seed)
        usable = choice.without(usable, set(collection.qrels(DEV)), f"queries of {spec.split} that {DEV} has too")
        grades = collection.qrels(DEV)
    else:
        held_out = _drawn(usable, min(spec.held_out, max(1, len(usable) // 5)), spec.training.seed)
        rest = {query: documents for query, documents in usable.items() if query not in held_out}
        usable = choice.without(rest, set(held_out), f"queries of {spec.split} with the text of a held-out one")
        grades = collection.qrels(spec.split)
    if not usable or not held_out:
        said = "; ".join(f"{count:,} {reason}" for reason, count in choice.excluded.items())
        raise InputError(
            f"too few judged queries are left to learn from and to validate by{f' (left out: {said})' if said else ''}",
            where=f"split {spec.split}",
            fix="give a split of at least two queries with a positive, none of them a test query",
        )
    return Judged(usable, held_out, {query: dict(grades[query]) for query in held_out}, choice.excluded)


def forbidden(collection: Collection) -> set[str]:
    """Ids of the queries that nothing may be learned from."""
    return set(collection.qrels(TEST)) if TEST in collection.splits else set()


class _Choice:
    """Chooses, and counts what it leaves out."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.excluded: dict[str, int] = {}

    def positives(self, split: str) -> Positives:
        """The queries of a split that have a text and a positive and are no test queries."""
        queries = self.collection.queries
        found = {
            query: tuple(document for document, grade in grades.items() if grade > 0)
            for query, grades in self.collection.qrels(split).items()
        }
        kept = self._kept(
            found, [q for q, documents in found.items() if documents], f"queries of {split} without a positive"
        )
        kept = self._kept(kept, [query for query in kept if queries[query].strip()], f"queries of {split} without text")
        return self.without(kept, forbidden(self.collection), f"queries of {split} that {TEST} has too")

    def without(self, usable: Positives, others: set[str], reason: str) -> Positives:
        """Less some queries, by id, or by a text that differs at most in case and white space."""
        queries = self.collection.queries
        texts = {normalise(queries[query]) for query in others}
        left = [query for query in usable if query not in others and normalise(queries[query]) not in texts]
        return self._kept(usable, left, reason)

    def _kept(self, usable: Positives, left: list[str], reason: str) -> Positives:
        if len(left) < len(usable):
            self.excluded[reason] = len(usable) - len(left)
        return {query: usable[query] for query in left}


def _drawn(usable: Positives, count: int, seed: int) -> Positives:
    names = list(usable)
    rows = np.sort(np.random.default_rng([seed, len(names)]).permutation(len(names))[:count])
    return {names[row]: usable[names[row]] for row in rows.tolist()}
