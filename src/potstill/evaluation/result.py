"""What an evaluation found, and how it is written: `evaluation.json` and `per_query.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..atomic import write_json, write_text
from .agreement import Agreement
from .guarantee import Guarantee
from .search import Ranking
from .significance import Interval, Retention, holm

TOP = 10  # how many first documents count for the agreement and are kept per query


@dataclass(frozen=True)
class Comparison:
    """One system against the reference.

    Attributes:
        retention: by measure; empty without judgments.
        agreement: top-10 overlap.
        prefix: width of the cut vectors, None for a system of its own.
    """

    retention: Mapping[str, Retention]
    agreement: Agreement
    prefix: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Give `retention`, `difference` and `agreement`."""
        return {
            "retention": {name: kept.as_json() for name, kept in self.retention.items()},
            "difference": {name: kept.difference.as_json() for name, kept in self.retention.items()},
            "agreement": {f"overlap@{TOP}": self.agreement.as_json()},
        }


@dataclass
class Evaluation:
    """Systems on one collection.

    Attributes:
        collection: its name.
        split: the judged split, None where nothing was judged.
        documents: how many were searched.
        queries: how many were judged.
        systems: system -> measure -> mean; the reference first.
        comparisons: every other system against the reference, in order.
        intervals: system -> measure -> mean with its 95 % bootstrap interval.
        cost: see `measure_costs`; empty where it was not measured.
        excluded_self: documents left out of their own query's ranking.
        depth: documents ranked per query.
        notes: what a reader of the figures must know, in sentences.
        guarantee: of a student that searches the teacher's documents; None otherwise.
        per_query: one JSON row per query.
        rankings: system -> what it found.
        ranked: ids of the queries in the rows of the rankings.
    """

    collection: str
    split: str | None
    documents: int
    queries: int
    systems: dict[str, dict[str, float]]
    comparisons: dict[str, Comparison]
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    cost: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    excluded_self: int = 0
    depth: int = TOP
    notes: list[str] = field(default_factory=list)
    guarantee: Guarantee | None = None
    per_query: list[dict[str, Any]] = field(default_factory=list, repr=False)
    rankings: dict[str, Ranking] = field(default_factory=dict, repr=False)
    ranked: list[str] = field(default_factory=list, repr=False)

    @property
    def main(self) -> Comparison | None:
        """The first comparison: the student's."""
        return next(iter(self.comparisons.values()), None)

    @property
    def retention(self) -> Mapping[str, Retention]:
        """The student's retention by measure."""
        return self.main.retention if self.main else {}

    @property
    def agreement(self) -> Agreement | None:
        """The student's agreement with the reference."""
        return self.main.agreement if self.main else None

    def values(self, system: str, measure: str) -> dict[str, float]:
        """Give a system's value by query id, for tests between any two systems (`paired`)."""
        return {row["query_id"]: row["measures"][system][measure] for row in self.per_query}

    def corrected(self, measure: str) -> dict[str, float]:
        """Give Holm's p by system: corrected for the number of systems that are compared on this measure.

        Prefixes of a system are no family with others and are left out. The number of measures is not corrected for.
        """
        whole = {name: found.retention[measure].p for name, found in self.comparisons.items() if found.prefix is None}
        return dict(zip(whole, holm(list(whole.values())), strict=True))

    def as_json(self) -> dict[str, Any]:
        """Give the content of `evaluation.json`; figures of prefixes and of further systems come last.

        `holm` is there where several systems are compared on judgments, `guarantee` where one was evaluated.
        """
        first = self.main.as_json() if self.main else {"retention": {}, "difference": {}, "agreement": {}}
        others = list(self.comparisons.items())[1:]
        several = self.retention and any(found.prefix is None for _, found in others)
        return {
            "collection": self.collection,
            "split": self.split,
            "documents": self.documents,
            "queries": self.queries,
            "systems": self.systems,
            "retention": first["retention"],
            "agreement": first["agreement"],
            "cost": self.cost,
            "difference": first["difference"],
            "intervals": {
                system: {name: {"low": found.low, "high": found.high} for name, found in row.items()}
                for system, row in self.intervals.items()
            },
            "prefixes": {str(found.prefix): found.as_json() for _, found in others if found.prefix is not None},
            "comparisons": {name: found.as_json() for name, found in others if found.prefix is None},
            "excluded_self": self.excluded_self,
            "depth": self.depth,
            "notes": self.notes,
            **({"holm": {name: self.corrected(name) for name in self.retention}} if several else {}),
            **({"guarantee": self.guarantee.as_json()} if self.guarantee else {}),
        }

    def save(self, path: str | Path, per_query: str | Path | None = None) -> None:
        """Write `evaluation.json` (and the rows per query as JSON lines), each atomically."""
        write_json(Path(path), self.as_json())
        if per_query is not None:
            lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.per_query)
            write_text(Path(per_query), "".join(line + "\n" for line in lines))
