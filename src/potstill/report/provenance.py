"""How a run came about: training curves, what it was trained on, machine and settings."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ..progress import duration
from . import charts
from .numbers import NONE, count, excerpt, percent
from .runfiles import RunFiles, at, group, items, number
from .summary import excluded

SOURCES = {
    "real": "real queries",
    "titles": "titles of documents",
    "sentences": "sentences of documents",
    "spans": "short spans of documents",
    "phrases": "frequent phrases",
    "keywords": "keyword draws",
    "documents": "whole documents",
    "generated": "queries that a model wrote",
    "mixed": "halves of two queries, joined",
}


def training(files: RunFiles) -> dict[str, Any] | None:
    """Draw the training curves, validation first; None when there are no metrics."""
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
        updates = number(last.get("step"))
        facts.append(f"{count(updates)} {'update' if updates == 1 else 'updates'}")
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


def trained_on(files: RunFiles) -> dict[str, Any] | None:
    """Tell where the training queries come from, with examples; None when the run does not record it."""
    queries = group(files.run, "queries")
    collection = group(files.run, "collection")
    if not queries and not collection:
        return None
    counts = {str(name): number(value) or 0 for name, value in group(queries, "sources").items()}
    total = sum(counts.values())
    most = max(counts.values(), default=0)
    sources = [
        {
            "name": SOURCES.get(name, name.replace("_", " ")),
            "count": count(value),
            "share": percent(value / total, 0) if total else NONE,
            "width": f"{100 * value / most:.1f}" if most else "0",
            "examples": [excerpt(text) for text in items(queries, "examples", name)[:3]],
        }
        for name, value in counts.items()
    ]
    documents, source = number(collection.get("documents")), collection.get("source")
    asked, held_out, cut = (number(queries.get(key)) for key in ("total", "held_out", "truncated"))
    longer = number(at(files.run, "teacher", "documents_cut"))
    said = [
        f"{count(documents)} documents{f' from {source}' if source else ''}." if documents else "",
        _asked(queries, asked) if asked else "",
        f"{count(cut)} of them are longer than the teacher’s limit and are read up to it." if cut else "",
        f"{count(held_out)} more were held out of training for validation." if held_out else "",
        f"{count(longer)} documents are longer than the teacher’s limit and are read up to it." if longer else "",
    ]
    return {
        "told": [
            (topic, [str(line) for line in items(files.run, "told", topic)]) for topic in group(files.run, "told")
        ],
        "said": [sentence for sentence in said if sentence],
        "sources": sources,
        "excluded": excluded(files),
        "notes": [str(line) for line in items(collection, "notes")],
    }


def _asked(queries: dict[str, Any], asked: float) -> str:
    """How many training queries there are, and whether judgments of some were learned from."""
    judged = number(queries.get("judged"))
    if not judged:
        return f"{count(asked)} training queries without labels."
    split = queries.get("judgments")
    return f"{count(asked)} training queries; judgments of {count(judged)} of them were learned from (split {split})."


def facts(files: RunFiles) -> list[tuple[str, str]]:
    """Tell where and how the run was made, as pairs of a name and a text."""
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
    told = [
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
    return [(name, text) for name, text in told if text]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _wide(dimensions: float | None) -> str:
    return f"{dimensions:.0f} dimensions" if dimensions else ""


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_value(entry) for entry in value)
    return f"“{value}”" if isinstance(value, str) and " " in value else str(value)
