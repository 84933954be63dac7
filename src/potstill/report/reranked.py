"""Teacher, scorers and student on the same lists of documents: the page's section on re-ranking."""

from __future__ import annotations

from typing import Any

from .numbers import NONE, count, p_value, percent, percent_range, score, score_range
from .runfiles import at, group, items, number
from .summary import Estimate

_FIRST, _STUDENT = "first stage", "student"


def reranked_view(evaluation: dict[str, Any], teacher: str) -> dict[str, Any] | None:
    """A table of systems; None where nothing was re-ranked."""
    found = group(evaluation, "reranking")
    systems = group(found, "systems")
    depth = number(found.get("depth"))
    if not systems or depth is None:
        return None
    measures = list(next(iter(systems.values()), {}))
    rows = []
    for system in sorted(systems, key=lambda name: (name == _STUDENT, name != _FIRST)):
        kept = Estimate.read(at(found, "retention", _STUDENT, system, measures[0]))
        p = number(at(found, "retention", _STUDENT, system, measures[0], "p"))
        rows.append(
            {
                "name": f"{'the' if 'reference' in found else f'{teacher}’s'} own order"
                if system == _FIRST
                else system,
                "cells": [_cell(found, system, name) for name in measures],
                "kept": (percent(kept.value), percent_range(kept.low, kept.high)) if kept.value else (NONE, ""),
                "p": NONE if p is None else p_value(p),
            }
        )
    own = "reference" in found  # a ranker's run, whose lists need not be the teacher's
    return {
        "said": "Each query's list, put in order by each system; mean, median and vote are ensembles of the teachers."
        if own
        else f"The first {count(depth)} documents that {teacher} finds for each query, put in order by each system.",
        "measures": measures,
        "rows": rows,
        "notes": [str(line) for line in items(found, "notes")],
    }


def _cell(found: dict[str, Any], system: str, name: str) -> tuple[str, str]:
    low, high = (number(at(found, "intervals", system, name, end)) for end in ("low", "high"))
    return score(number(at(found, "systems", system, name))), score_range(low, high)
