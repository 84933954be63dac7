"""Turns a run's files into what the page shows, section by section; a section without its figures is None."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ..progress import duration
from . import charts
from .numbers import (
    NONE,
    SPACE,
    count,
    large,
    latency,
    p_value,
    percent,
    percent_range,
    score,
    score_range,
    size,
    times,
)
from .runfiles import RunFiles, at, group, items, number
from .summary import Estimate, Summary, summarise, warnings
from .wins import queries_view

PROVENANCE = {
    "titles": "titles of documents",
    "sentences": "sentences of documents",
    "spans": "short spans of documents",
    "phrases": "frequent phrases",
    "keywords": "keyword draws",
    "files": "query files",
    "other_splits": "unlabelled queries of other splits",
}


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
        "cost": _cost(files.evaluation),
        "training": _training(files),
        "trained_on": _trained_on(files),
        "facts": _facts(files),
        "versions": {str(k): str(v) for k, v in group(files.run, "versions").items()},
        "recipe": files.recipe,
        "absent": files.absent,
        "agreement": summary.agreed,
        "excluded_self": _excluded_self(files.evaluation),
    }


def _excluded_self(evaluation: dict[str, Any]) -> str:
    pairs = number(evaluation.get("excluded_self"))
    what = (
        "document that is its query’s own text was" if pairs == 1 else "documents that are their query’s own text were"
    )
    return f"{count(pairs)} {what} left out of the ranking." if pairs else ""


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
        pair = [latency(number(at(cost, side, "query_ms_p50"))) for side in ("student", "teacher")]
        value = f"{times(s.speed_up)}×" if s.speed_up >= 1 else f"1/{times(1 / s.speed_up)}"
        cards.append({"title": "query speed", "value": value, "note": f"{pair[0]} instead of {pair[1]}"})
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
    """Show what is left at shorter vectors; retention where it was measured, plain measures otherwise."""
    rows = []
    for width, entry in group(evaluation, "prefixes").items():
        found = group(entry, "retention") or group(entry, "student") or group(entry)
        cells = {name: Estimate.read(value) for name, value in found.items()}
        rows.append(
            (str(width), bool(group(entry, "retention")), {n: e for n, e in cells.items() if e.value is not None})
        )
    names = list(dict.fromkeys(name for _, _, cells in rows for name in cells))
    if not names:
        return None
    shown = [
        (
            width,
            [
                (NONE, "")
                if name not in cells
                else (percent(cells[name].value), percent_range(cells[name].low, cells[name].high))
                if kept
                else (score(cells[name].value), score_range(cells[name].low, cells[name].high))
                for name in names
            ],
        )
        for width, kept, cells in rows
    ]
    return {"names": names, "rows": shown, "kept": any(kept for _, kept, _ in rows)}


def _tradeoff(s: Summary) -> Markup | None:
    if s.main is None:
        return None
    evaluation = s.files.evaluation
    systems = []
    for name in group(evaluation, "systems"):
        value = number(at(evaluation, "systems", name, s.main.name))
        median = number(at(evaluation, "cost", name, "query_ms_p50"))
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
    return charts.tradeoff(systems, s.main.name) if len(systems) >= 2 else None


def _cost(evaluation: dict[str, Any]) -> list[tuple[str, str, str, str]] | None:
    rows = []
    for key, name, show in (
        ("query_ms_p50", "One query, median", latency),
        ("query_ms_p99", "One query, 99th percentile", latency),
        ("queries_per_s", "Queries per second, batched", count),
        ("parameters", "Parameters", large),
        ("bytes", "Bytes on disk", size),
    ):
        teacher = number(at(evaluation, "cost", "teacher", key))
        student = number(at(evaluation, "cost", "student", key))
        if teacher is None and student is None:
            continue
        rows.append((name, show(teacher), show(student), _factor(teacher, student)))
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


def _training(files: RunFiles) -> dict[str, Any] | None:
    if not files.steps and not files.validations:
        return None
    panels: list[tuple[str, Markup]] = []
    scores = _series(files.validations, "validation", "score")
    best = max(scores, key=lambda point: point[1]) if scores else None
    names = list(dict.fromkeys(name for line in files.validations for name in line["validation"]))
    for name in names:
        points = _series(files.validations, "validation", name)
        if points:
            at_best = next((point for point in points if best and point[0] == best[0]), None)
            panels.append(
                (f"Validation {name}", charts.curve(f"Validation {name}", points, kind="student", mark=at_best))
            )
    if points := _series(files.steps, "loss"):
        panels.append(("Loss", charts.curve("Loss", points, kind="plain")))
    for key, title in (("terms", "Loss term"), ("gradient_norms", "Gradient norm")):
        terms = list(dict.fromkeys(name for line in files.steps for name in group(line, key)))
        if key == "terms" and len(terms) < 2:
            continue
        for name in terms:
            if points := _series(files.steps, key, name):
                panels.append((f"{title} {name}", charts.curve(f"{title} {name}", points, kind="plain")))
    facts = []
    if files.steps:
        last = files.steps[-1]
        facts.append(f"{count(number(last.get('step')))} updates")
        if (epoch := number(last.get("epoch"))) is not None:
            facts.append(f"{epoch:.3g} {'epoch' if epoch == 1 else 'epochs'}")
        rates = [rate for line in files.steps if (rate := number(line.get("texts_per_s"))) is not None]
        if rates:
            facts.append(f"{count(sorted(rates)[len(rates) // 2])} texts a second (median)")
    took = number(at(files.run, "seconds", "training"))
    if took is not None:
        facts.append(duration(took))
    return {"panels": panels, "facts": facts, "best": count(best[0]) if best and len(scores) > 1 else None}


def _series(lines: list[dict[str, Any]], *place: str) -> list[tuple[float, float]]:
    points = ((number(line.get("step")), number(at(line, *place))) for line in lines)
    return [(step, value) for step, value in points if step is not None and value is not None]


def _trained_on(files: RunFiles) -> dict[str, Any] | None:
    queries = group(files.run, "queries")
    collection = group(files.run, "collection")
    if not queries and not collection:
        return None
    counts = {str(name): number(value) or 0 for name, value in group(queries, "sources").items()}
    total = sum(counts.values())
    most = max(counts.values(), default=0)
    sources = [
        {
            "name": PROVENANCE.get(name, name.replace("_", " ")),
            "count": count(value),
            "share": percent(value / total, 0) if total else NONE,
            "width": f"{100 * value / most:.1f}" if most else "0",
            "examples": [str(text) for text in items(queries, "examples", name)[:3]],
        }
        for name, value in counts.items()
    ]
    documents, source = number(collection.get("documents")), collection.get("source")
    asked, held_out, cut = (number(queries.get(key)) for key in ("total", "held_out", "truncated"))
    said = [
        f"{count(documents)} documents{f' from {source}' if source else ''}." if documents else "",
        f"{count(asked)} training queries without labels." if asked else "",
        f"{count(held_out)} more were held out of training for validation." if held_out else "",
        f"{count(cut)} texts were longer than the teacher’s limit and were cut." if cut else "",
    ]
    return {
        "said": [sentence for sentence in said if sentence],
        "sources": sources,
        "excluded": [(str(why).replace("_", " "), count(number(n))) for why, n in group(queries, "excluded").items()],
        "notes": [str(line) for line in items(collection, "notes")],
    }


def _facts(files: RunFiles) -> list[tuple[str, str]]:
    """Where and how the run was made, as pairs of a name and a text."""
    run = files.run
    machine = group(run, "machine")
    fingerprint = group(run, "teacher", "fingerprint")
    cores, memory = number(machine.get("cores")), number(machine.get("memory_gib"))
    parts = [
        machine.get("cpu"),
        f"{cores:.0f} {'core' if cores == 1 else 'cores'}" if cores else None,
        f"{memory:.0f} GiB" if memory else None,
        machine.get("platform"),
    ]
    spent = [(name, number(value)) for name, value in group(run, "seconds").items()]
    dimensions = number(at(run, "teacher", "dimensions"))
    facts = [
        (
            "Teacher",
            ", ".join(
                filter(
                    None, [_text(at(run, "teacher", "name")), _wide(dimensions), _text(at(run, "teacher", "metric"))]
                )
            ),
        ),
        (
            "Teacher’s fingerprint",
            ", ".join(f"{k} {_value(v)}" for k, v in fingerprint.items() if v not in (None, "", [], {})),
        ),
        ("Student", _text(at(run, "student", "description"))),
        ("Towers", _text(run.get("towers"))),
        ("Seed", _text(run.get("seed"))),
        ("Machine", ", ".join(str(part) for part in parts if part)),
        ("Time", ", ".join(f"{name} {duration(value)}" for name, value in spent if value is not None)),
    ]
    return [(name, text) for name, text in facts if text]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _wide(dimensions: float | None) -> str:
    return f"{dimensions:.0f} dimensions" if dimensions else ""


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_value(entry) for entry in value)
    return f"“{value}”" if isinstance(value, str) and " " in value else str(value)
