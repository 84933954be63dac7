"""What every distillation has: its recipe, its folder, its record, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..collection import Collection
from ..progress import say
from ..queries import TrainingQueries
from ..recipe import Recipe
from .preparation import gather_queries, never_trained
from .runfolder import Record


class Run:
    """A distillation in a folder that is claimed already; see `distill_one`."""

    def __init__(
        self,
        recipe: Recipe,
        run: Path,
        resume: bool,
        signals: Path | None,
        before: Sequence[str] = (),
        seen: Sequence[str] = (),
    ) -> None:
        self.recipe, self.run, self.resume, self.signals = recipe, run, resume, signals
        self.record = Record(run, recipe.training.seed)
        self.before, self.seen = before, seen
        self.split: str | None = None

    def queries(self, collection: Collection) -> TrainingQueries:
        """The training queries, told."""
        queries = gather_queries(self.recipe, collection, self.split, self.signals)
        parts = ", ".join(f"{count:,} {name}" for name, count in queries.counts.items())
        say(f"queries: {len(queries.texts):,} for training ({parts}), {len(queries.held_out):,} held out")
        for reason, count in queries.excluded.items():
            if count:
                say(f"queries: {count:,} left out: {reason}")
        if len(queries.texts) >= self.recipe.queries.cap:
            say(f"queries: capped by queries.cap={self.recipe.queries.cap}, drawn with seed {self.record.data['seed']}")
        return queries

    def trained_splits(self, collection: Collection) -> set[str]:
        """The splits some of whose queries were training queries, with or without their judgments."""
        if not self.recipe.queries.other_splits:
            judged = self.recipe.queries.judgments
            return set() if judged is None else {judged}
        never = never_trained(collection, self.recipe, self.split)
        return {split for split in collection.splits if not never.issuperset(collection.qrels(split))}

    def tell(self, topic: str, lines: Sequence[str]) -> None:
        """Say and record what the page shows beside what the student was trained on."""
        if lines:
            self.record.data["told"].setdefault(topic, []).extend(lines)
        for line in lines:
            say(f"{topic}: {line}")

    def warn_of(self, warnings: list[str]) -> None:
        """Say and record what looks wrong."""
        for line in warnings:
            self.record.warn(line)

    def report(self) -> None:
        """Write the page and the model card."""
        from ..report import write_card, write_report

        write_card(self.run)
        write_report(self.run)


def outcome(found: dict[str, Any]) -> str:
    """One line of what an evaluation came to: the first measure and what is kept of the teacher's."""
    kept = found.get("retention") or {}
    if not kept:
        return f"overlap@10 with the teacher {found['agreement']['overlap@10']['value']:.4f}"
    name, value = next(iter(kept.items()))
    if value["value"] is None:  # a teacher that finds nothing
        return f"{name} {found['systems']['student'][name]:.4f}, no retention: the teacher's is 0"
    return (
        f"{name} {found['systems']['student'][name]:.4f}, retention {value['value']:.4f} "
        f"({value['low']:.4f} to {value['high']:.4f})"
    )
