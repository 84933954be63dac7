"""Turns a run's files into what the page shows, section by section; a section without its figures is None."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from . import charts
from .deployment import deployment_view
from .guaranteed import guaranteed_view
from .numbers import (
    NONE,
    SPACE,
    count,
    latency,
    p_value,
    percent,
    percent_range,
    score,
    score_range,
    size,
    times,
)
from .provenance import facts, trained_on, training
from .reranked import reranked_view
from .runfiles import RunFiles, at, group, items, number
from .summary import Estimate, Summary, costs, summarise, warnings
from .wins import queries_view


def page_view(files: RunFiles) -> dict[str, Any]:
    """Everything that the template needs."""
    summary = summarise(files)
    return {
        "s": summary,
        "created": str(files.run.get("created") or "")[:10],
        "version": files.run.get("potstill"),
        "cards": _cards(summary),
        "warnings": warnings(files),
        "quality": _quality(summary),
        "prefixes": _prefixes(files.evaluation),
        "tradeoff": _tradeoff(summary),
        "queries": queries_view(summary),
        "reranked": reranked_view(files.evaluation, summary.teacher),
        "guaranteed": guaranteed_view(files.evaluation),
        "cost": _cost(files.evaluation),
        "deployment": deployment_view(files),
        "training": training(files),
        "trained_on": trained_on(files),
        "facts": facts(files),
        "versions": {str(k): str(v) for k, v in group(files.run, "versions").items()},
        "recipe": files.recipe,
        "absent": files.absent,
        "agreement": summary.agreed,
        "notes": [str(line) for line in items(files.evaluation, "notes")] or _excluded_self(files.evaluation),
    }


def _excluded_self(evaluation: dict[str, Any]) -> list[str]:
    pairs = number(evaluation.get("excluded_self"))
    return [f"{count(pairs)} documents that are their own query were left out of its ranking"] if pairs else []


def _cards(s: Summary) -> list[dict[str, str]]:
    cards = []
    if s.main and s.main.kept.value is not None:
        interval = percent_range(s.main.kept.low, s.main.kept.high)
        note = f"95 % interval {interval}" if interval else "no interval"
        cards.append({"title": f"{s.main.name} kept", "value": percent(s.main.kept.value), "note": note})
    if s.agreement.value is not None:
        cards.append(
            {
                "title": f"top {s.depth} in common",
                "value": percent(s.agreement.value),
                "note": _first(
                    percent_range(s.agreement.low, s.agreement.high), "95 % interval ", "shared with the teacher"
                ),
            }
        )
    cost = group(s.files.evaluation, "cost")
    if s.speed_up is not None:
        key, title = ("pair_ms", "pair speed") if s.towers == "pairs" else ("query_ms_p50", "query speed")
        pair = [latency(number(at(cost, side, key))) for side in ("student", "teacher")]
        value = f"{times(s.speed_up)}×" if s.speed_up >= 1 else f"1/{times(1 / s.speed_up)}"
        cards.append({"title": title, "value": value, "note": f"{pair[0]} instead of {pair[1]}"})
    own = number(at(cost, "student", "bytes")) or number(at(s.files.run, "student", "bytes"))
    if own is not None:
        theirs = number(at(cost, "teacher", "bytes"))
        note = f"the teacher: {size(theirs)}" if theirs else "on disk"
        cards.append({"title": "student’s size", "value": size(own), "note": note})
    return cards


def _first(text: str, before: str, otherwise: str) -> str:
    return before + text if text else otherwise


def _quality(s: Summary) -> list[dict[str, Any]] | None:
    if not s.judged:
        return None
    ends = [end for row in s.rows for end in (row.kept.low, row.kept.value, row.kept.high) if end is not None]
    low, high = min([*ends, 1.0]), max([*ends, 1.0])
    pad = max(0.08 * (high - low), 0.005)
    return [
        {
            "name": row.name,
            "teacher": (score(row.teacher.value), score_range(row.teacher.low, row.teacher.high)),
            "student": (score(row.student.value), score_range(row.student.low, row.student.high)),
            "kept": (percent(row.kept.value), percent_range(row.kept.low, row.kept.high)),
            "chart": charts.interval(row.kept.value, row.kept.low, row.kept.high, (low - pad, high + pad))
            if row.kept.value is not None
            else "",
            "reading": (row.reading, p_value(row.p)),
        }
        for row in s.rows
    ]


def _prefixes(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Show what is left at shorter vectors: retention by measure and agreement, both as shares."""
    rows = []
    for width, entry in group(evaluation, "prefixes").items():
        found = group(entry, "retention") | group(entry, "agreement")
        rows.append((width, {name: Estimate.read(value) for name, value in found.items()}))
    names = list(dict.fromkeys(name for _, cells in rows for name in cells))
    if not names:
        return None
    unknown = Estimate(None)
    shown = [
        (
            width,
            [(percent(e.value), percent_range(e.low, e.high)) for e in (cells.get(name, unknown) for name in names)],
        )
        for width, cells in rows
    ]
    return {"names": names, "rows": shown}


def _tradeoff(s: Summary) -> Markup | None:
    if s.main is None:
        return None
    evaluation = s.files.evaluation
    ranks = s.towers == "pairs"
    systems = []
    for name in group(evaluation, "systems"):
        value = number(at(evaluation, "systems", name, s.main.name))
        median = number(at(evaluation, "cost", name, "pair_ms" if ranks else "query_ms_p50"))
        if value is None or median is None or median <= 0:
            continue
        interval = group(evaluation, "intervals", name, s.main.name)
        systems.append(
            charts.System(
                name={"teacher": s.teacher, "student": "student"}.get(name, name),
                kind=name if name in ("teacher", "student") else "other",
                latency=median,
                slowest=number(at(evaluation, "cost", name, "query_ms_p99")),
                value=value,
                low=number(interval.get("low")),
                high=number(interval.get("high")),
            )
        )
    return charts.tradeoff(systems, s.main.name, "pair" if ranks else "query") if len(systems) >= 2 else None


def _cost(evaluation: dict[str, Any]) -> list[tuple[str, str, str, str]] | None:
    rows = [
        (row.name, row.show(row.teacher), row.show(row.student), _factor(row.teacher, row.student))
        for row in costs(evaluation)
    ]
    return rows or None


def _factor(teacher: float | None, student: float | None) -> str:
    if not teacher or not student or teacher < 0 or student < 0:
        return NONE
    ratio = student / teacher
    if ratio >= 2:
        return f"{times(ratio)}×"
    if ratio <= 0.5:
        return f"1/{times(1 / ratio)}"
    changed = percent(abs(ratio - 1), 0)
    return "the same" if abs(ratio - 1) < 0.005 else f"{changed}{SPACE}{'more' if ratio > 1 else 'less'}"
