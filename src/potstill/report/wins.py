"""Query by query: which queries gain and lose most, with what each system found for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from .charts import differences
from .numbers import change, percent, score
from .runfiles import RunFiles, extremes, group, items, number, rated_queries
from .summary import Summary

SHOWN_QUERIES = 6
SHOWN_DOCUMENTS = 5
SHOWN_RELEVANT = 5
SNIPPET = 160  # characters of a document that a run keeps for the page


@dataclass(frozen=True)
class Found:
    """A document as it is shown: id, title and snippet as far as known, whether it was judged relevant, a remark."""

    id: str
    title: str
    snippet: str
    relevant: bool
    remark: str = ""


@dataclass(frozen=True)
class QueryView:
    """One query: its text, how the two systems did, and what they put on top."""

    text: str
    change: str
    direction: str
    figures: str
    relevant: tuple[Found, ...]
    more_relevant: int
    teacher: tuple[Found, ...]
    student: tuple[Found, ...]


@dataclass(frozen=True)
class QueriesView:
    """The section of the page: a chart, counts, and the extreme queries."""

    total: int
    better: int
    same: int
    worse: int
    extremes: str
    chart: Markup | None
    groups: tuple[tuple[str, tuple[QueryView, ...]], ...]


def queries_view(summary: Summary) -> QueriesView | None:
    """Pick the queries with the largest losses and wins; for an unjudged run, those with the least overlap."""
    files, main = summary.files, summary.main
    if main is None:
        return _unjudged(files, summary)
    rated = rated_queries(files, main.name)
    if not rated:
        return None
    lost, won = extremes(rated, SHOWN_QUERIES)
    groups = []
    for title, chosen in (("Largest losses", lost), ("Largest wins", won)):
        views = tuple(
            _query(
                row,
                files.documents,
                changed=change(difference),
                direction="down" if difference < 0 else "up",
                figures=f"{main.name}: teacher {score(teacher)}, student {score(student)}",
            )
            for difference, teacher, student, row in chosen
        )
        if views:
            groups.append((title, views))
    better, worse = sum(d > 0 for d, *_ in rated), sum(d < 0 for d, *_ in rated)
    return QueriesView(
        total=len(rated),
        better=better,
        same=len(rated) - better - worse,
        worse=worse,
        extremes=", ".join(
            f"largest {name} {change(entry[0])}" for name, entry in (("loss", rated[0]), ("win", rated[-1])) if entry[0]
        ),
        chart=differences([entry[0] for entry in rated]),
        groups=tuple(groups),
    )


def _unjudged(files: RunFiles, summary: Summary) -> QueriesView | None:
    rated = [(share, row) for row in files.per_query if (share := number(row.get(summary.agreement_name))) is not None]
    if not rated:
        return None
    rated.sort(key=lambda entry: entry[0])
    views = tuple(
        _query(
            row,
            files.documents,
            changed=percent(share, 0),
            direction="same",
            figures=f"share of the teacher’s top {summary.depth} that the student finds",
        )
        for share, row in rated[:SHOWN_QUERIES]
    )
    return QueriesView(len(rated), 0, 0, 0, "", None, (("Least like the teacher", views),))


def _query(row: dict[str, Any], documents: dict[str, str], *, changed: str, direction: str, figures: str) -> QueryView:
    grades = {str(doc): number(grade) or 0 for doc, grade in group(row, "relevant").items()}
    relevant = [doc for doc, grade in grades.items() if grade > 0]
    ranks = {side: _ranks(items(row, f"{side}_top")) for side in ("teacher", "student")}
    relevant.sort(key=lambda doc: min(ranks["teacher"].get(doc, 10**9), ranks["student"].get(doc, 10**9)))

    def found(doc: str, remark: str = "") -> Found:
        title, snippet = _parts(documents.get(doc, ""))
        return Found(doc, title, snippet, doc in relevant, remark)

    def standing(doc: str) -> str:
        return ", ".join(f"{side} {_place(ranks[side], doc)}" for side in ("teacher", "student"))

    return QueryView(
        text=str(row.get("text") or row.get("query_id") or ""),
        change=changed,
        direction=direction,
        figures=figures,
        relevant=tuple(found(doc, standing(doc)) for doc in relevant[:SHOWN_RELEVANT]),
        more_relevant=max(0, len(relevant) - SHOWN_RELEVANT),
        teacher=tuple(found(doc) for doc in list(ranks["teacher"])[:SHOWN_DOCUMENTS]),
        student=tuple(found(doc) for doc in list(ranks["student"])[:SHOWN_DOCUMENTS]),
    )


def _ranks(top: Sequence[Any]) -> dict[str, int]:
    ids = [str(entry[0]) if isinstance(entry, list) and entry else str(entry) for entry in top]
    return {doc: rank for rank, doc in enumerate(ids, 1)}


def _place(ranks: dict[str, int], doc: str) -> str:
    return f"#{ranks[doc]}" if doc in ranks else f"not in top {len(ranks)}" if ranks else "not listed"


def _parts(text: str) -> tuple[str, str]:
    """Part `title — beginning` into the two; a beginning that was cut gets dots."""
    title, parted, beginning = text.partition(" — ")
    if not parted:
        title, beginning = "", text
    dots = "…" if len(beginning) >= SNIPPET and beginning[-1] not in ".!?…" else ""
    return title, beginning + dots
