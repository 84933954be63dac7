"""What a run comes to, in words and figures: the part that the page and the model card share.

The wording is bound by what was measured. A loss is called real only where the paired test says so, and where it does
not, the page says that no significant difference was found and how large a loss the interval still allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .numbers import SPACE, count, large, latency, p_value, percent, percent_range, size, times
from .runfiles import RunFiles, at, group, items, number

SIGNIFICANT = 0.05
MAIN_MEASURE = "nDCG@10"
_NAMELESS = {"model", "checkpoint", "student", "best", "final", "output"}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; any of the three may be missing."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def read(cls, value: Any) -> Estimate:
        """From a number or a mapping with `value`, `low` and `high`."""
        if isinstance(value, dict):
            return cls(number(value.get("value")), number(value.get("low")), number(value.get("high")))
        return cls(number(value))


@dataclass(frozen=True)
class MeasureRow:
    """One line of the table of quality."""

    name: str
    teacher: Estimate
    student: Estimate
    kept: Estimate
    p: float | None
    reading: str


@dataclass(frozen=True)
class CostRow:
    """One line of the table of costs; `show` writes its numbers."""

    name: str
    teacher: float | None
    student: float | None
    show: Callable[[float | None], str]


@dataclass(frozen=True)
class Summary:
    """The figures that head the page."""

    files: RunFiles
    teacher: str
    collection: str
    towers: str
    rows: tuple[MeasureRow, ...]
    agreement: Estimate
    agreement_name: str
    speed_up: float | None

    @property
    def judged(self) -> bool:
        """Whether anything was measured against judgments."""
        return bool(self.rows)

    @property
    def main(self) -> MeasureRow | None:
        """The measure that heads the page: nDCG@10 where it was measured, the first one otherwise."""
        named = [row for row in self.rows if row.name == MAIN_MEASURE]
        return next(iter(named or self.rows), None)

    @property
    def headline(self) -> str:
        """The whole page in one sentence."""
        interval = ""
        if self.main and self.main.kept.value is not None:
            whose = f"{self.teacher}’s {self.main.name}"
            if self.teacher.startswith("the mean of"):
                whose = f"the {self.main.name} of {self.teacher}"
            said = f"Keeps {percent(self.main.kept.value)} of {whose}"
            interval = percent_range(self.main.kept.low, self.main.kept.high)
        elif self.agreement.value is not None:
            said = f"Finds {percent(self.agreement.value)} of what {self.teacher} puts in its top{SPACE}{self.depth}"
            interval = percent_range(self.agreement.low, self.agreement.high)
        else:
            said = f"A student of {self.teacher}"
        said += f" (95{SPACE}% interval {interval})" if interval else ""
        what = "time" if self.towers == "pairs" else "query time"
        return said + (f" at {_of_its_time(self.speed_up)} of its {what}" if self.speed_up else "")

    @property
    def depth(self) -> str:
        """The depth of the overlap: `10` for overlap@10."""
        return self.agreement_name.partition("@")[2] or "10"

    @property
    def verdict(self) -> str:
        """What the paired test allows one to say, with the p-value; for an unjudged run, that nothing was judged."""
        if self.main is None:
            return (
                "Nothing was judged: no relevance judgments were used, so this run cannot say how good the results "
                "are, only how much they are like the teacher’s."
            )
        row = self.main
        if row.p is None or row.kept.value is None:
            return "The difference was not tested."
        tested = f"({p_value(row.p)}, paired randomisation test)"
        if row.p < SIGNIFICANT and row.kept.value < 1:
            return f"The loss is real {tested}."
        if row.p < SIGNIFICANT and row.kept.value > 1:
            return f"The gain is real {tested}."
        allowed = ""
        if row.kept.low is not None and row.kept.low < 1:
            allowed = f"; a loss of up to {percent(1 - row.kept.low)} lies within the interval"
        return f"No significant difference was found {tested}{allowed}."

    @property
    def basis(self) -> str:
        """On what the headline rests: queries, split, documents."""
        way = "re-ranking of given candidates" if self.towers == "pairs" else "exact search"
        evaluation = self.files.evaluation
        documents = number(evaluation.get("documents")) or number(at(self.files.run, "collection", "documents"))
        among = f" among {count(documents)} documents" if documents else ""
        if self.judged:
            queries, split = number(evaluation.get("queries")), evaluation.get("split")
            asked = f"{count(queries)} judged queries" if queries else "The judged queries"
            return f"{asked} of {self.collection}{f' ({split} split)' if split else ''}{among}, {way}."
        overlap = group(evaluation, "agreement", self.agreement_name)
        queries = number(overlap.get("queries"))
        if not queries:
            return f"{self.collection}{among}."
        asked = overlap.get("source") or "held-out queries"
        return f"{count(queries)} {asked} of {self.collection}{among}, {way}."

    @property
    def agreed(self) -> str:
        """The agreement with the teacher in one sentence; empty when it was not measured."""
        if self.agreement.value is None:
            return ""
        overlap = group(self.files.evaluation, "agreement", self.agreement_name)
        queries = number(overlap.get("queries"))
        over = f" Over {count(queries)} {overlap.get('source') or 'queries'}." if queries else ""
        interval = percent_range(self.agreement.low, self.agreement.high)
        told = f" (95{SPACE}% interval {interval})" if interval else ""
        return (
            f"Agreement with the teacher: of its top{SPACE}{self.depth} documents, {percent(self.agreement.value)} are "
            f"in the student’s top{SPACE}{self.depth} too{told}.{over}"
        )

    @property
    def role(self) -> str:
        """What the student takes over, in one sentence."""
        index, whole = (
            number(at(self.files.run, "index_dimensions")),
            number(at(self.files.run, "teacher", "dimensions")),
        )
        kept = "the index of document vectors stays as it is"
        if index and whole and index < whole:
            kept = f"the index holds {count(index)} numbers a document, where {self.teacher}’s holds {count(whole)}"
        return {
            "asymmetric": f"The student encodes queries in {self.teacher}’s place; {kept}.",
            "shared": "One student encodes both queries and documents; the index is built anew with it.",
            "pairs": "The student reads a query and a document together and ranks candidates that a search has found.",
            "separate": "Two students, one for queries and one for documents; the index is built anew.",
        }.get(self.towers, "")


def summarise(files: RunFiles) -> Summary:
    """Draw the figures out of a run's files."""
    evaluation = files.evaluation
    agreement = group(evaluation, "agreement")
    name = next((key for key in agreement if key.startswith("overlap")), "overlap@10")
    return Summary(
        files=files,
        teacher=short_name(at(files.run, "teacher", "name")) or "the teacher",
        collection=str(at(files.run, "collection", "name") or short_name(evaluation.get("collection")) or "collection"),
        towers=str(files.run.get("towers") or "asymmetric"),
        rows=_rows(evaluation),
        agreement=Estimate.read(agreement.get(name)),
        agreement_name=name,
        speed_up=_ratio(evaluation, "query_ms_p50") or _ratio(evaluation, "pair_ms"),
    )


def short_name(name: object) -> str:
    """Give a model's or a collection's name without the folders before it; hub ids lose their owner.

    A last part that names nothing, such as `model` or `checkpoint-500`, brings the part before it along.
    """
    *before, last = str(name or "").replace("\\", "/").rstrip("/").split("/")
    nameless = last.lower().partition("-")[0] in _NAMELESS
    return f"{before[-1]}/{last}" if nameless and before and before[-1] else last


def warnings(files: RunFiles) -> list[str]:
    """Get the warnings of a run as text."""
    return [str(line) for line in items(files.run, "warnings")]


def excluded(files: RunFiles) -> list[str]:
    """Tell what was kept out of training, as `3 test queries`; what never occurred is left out."""
    reasons = group(files.run, "queries", "excluded").items()
    return [f"{count(number(n))} {str(why).replace('_', ' ')}" for why, n in reasons if number(n)]


def _rows(evaluation: dict[str, Any]) -> tuple[MeasureRow, ...]:
    teacher, student = group(evaluation, "systems", "teacher"), group(evaluation, "systems", "student")
    rows = []
    for name in student or teacher:
        kept = group(evaluation, "retention", name)
        estimate, p = Estimate.read(kept), number(kept.get("p"))
        rows.append(
            MeasureRow(
                name=name,
                teacher=_system(evaluation, "teacher", name),
                student=_system(evaluation, "student", name),
                kept=estimate,
                p=p,
                reading=_reading(estimate.value, p),
            )
        )
    return tuple(rows)


def _system(evaluation: dict[str, Any], system: str, measure: str) -> Estimate:
    interval = group(evaluation, "intervals", system, measure)
    value = number(at(evaluation, "systems", system, measure))
    return Estimate(value, number(interval.get("low")), number(interval.get("high")))


def _reading(kept: float | None, p: float | None) -> str:
    if kept is None or p is None:
        return "not tested"
    if p < SIGNIFICANT and kept != 1:
        return "the loss is real" if kept < 1 else "the gain is real"
    return "no significant difference found"


def _ratio(evaluation: dict[str, Any], cost: str) -> float | None:
    teacher = number(at(evaluation, "cost", "teacher", cost))
    student = number(at(evaluation, "cost", "student", cost))
    return teacher / student if teacher and student and teacher > 0 and student > 0 else None


def _of_its_time(speed_up: float) -> str:
    return f"1/{times(speed_up)}" if speed_up >= 10 else percent(1 / speed_up, 0)


def costs(evaluation: dict[str, Any]) -> list[CostRow]:
    """What was measured of either model."""
    rows = []
    for key, name, show in (
        ("pair_ms", "One pair of query and document", latency),
        ("multiply_adds", "Multiply-adds a pair", large),
        ("query_ms_p50", "One query, median", latency),
        ("query_ms_p99", "One query, 99th percentile", latency),
        ("queries_per_s", "Queries per second, batched", count),
        ("parameters", "Parameters", large),
        ("bytes", "Bytes on disk", size),
    ):
        teacher, student = (number(at(evaluation, "cost", model, key)) for model in ("teacher", "student"))
        if teacher is not None or student is not None:
            rows.append(CostRow(name, teacher, student, show))
    return rows
