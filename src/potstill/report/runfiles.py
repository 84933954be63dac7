"""Reads a run folder for the report and the model card: whatever is there, as far as it can be read.

A report is made at the end of a long job, so nothing here fails for a missing or broken file: the part is left out
and `RunFiles.absent` says so in words for the reader.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

FILES = ("run.json", "evaluation.json", "metrics.jsonl", "per_query.jsonl", "recipe.yaml")

# User name, password and query of an address: a page is sent around, and keys are put there.
_KEY = re.compile(r"""(https?://)(?:[^/\s@'"]*@)?([^\s?'"]*)(?:\?[^\s'"]*)?""")


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds. Missing files give empty values and a line in `absent`."""

    path: Path
    recipe: str
    run: dict[str, Any]
    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    evaluation: dict[str, Any]
    per_query: list[dict[str, Any]]
    documents: dict[str, str]
    absent: tuple[str, ...]


def read_run(path: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        InputError: there is no such folder, or it holds none of the files of a run.

    """
    path = Path(path)
    if not any((path / name).is_file() for name in FILES):
        raise InputError("this is not a run folder", where=str(path), fix=f"give a folder with {', '.join(FILES)}")
    absent: list[str] = []
    recipe = _text(path / "recipe.yaml", absent)
    metrics = _lines(path / "metrics.jsonl", absent)
    documents = _object(path / "documents.json", absent, optional=True)
    # A resumed run repeats the steps since its last checkpoint: the last line of a step is the one that counts.
    steps = {line["step"]: line for line in metrics if number(line.get("step")) is not None and "loss" in line}
    validations = {
        line["step"]: line
        for line in metrics
        if number(line.get("step")) is not None and isinstance(line.get("validation"), dict)
    }
    return RunFiles(
        path=path,
        recipe=_KEY.sub(r"\1\2", recipe),
        run=_object(path / "run.json", absent),
        steps=[steps[step] for step in sorted(steps)],
        validations=[validations[step] for step in sorted(validations)],
        evaluation=_object(path / "evaluation.json", absent),
        per_query=_lines(path / "per_query.jsonl", absent),
        documents={key: str(value) for key, value in documents.items()},
        absent=tuple(absent),
    )


class Rated(NamedTuple):
    """One judged query: student's measure less the teacher's, both, and its line of `per_query.jsonl`."""

    difference: float
    teacher: float
    student: float
    row: dict[str, Any]


def rated_queries(files: RunFiles, measure: str) -> list[Rated]:
    """The queries that both systems were measured on, from the largest loss to the largest win."""
    rated = []
    for row in files.per_query:
        teacher = number(at(row, "measures", "teacher", measure))
        student = number(at(row, "measures", "student", measure))
        if teacher is not None and student is not None:
            rated.append(Rated(student - teacher, teacher, student, row))
    return sorted(rated, key=lambda entry: entry.difference)


def extremes(rated: Sequence[Rated], most: int) -> tuple[list[Rated], list[Rated]]:
    """The `most` largest losses and wins among rated queries, the largest first."""
    lost = [entry for entry in rated[:most] if entry.difference < 0]
    won = [entry for entry in rated[::-1][:most] if entry.difference > 0]
    return lost, won


def at(value: Any, *place: str) -> Any:
    """Get the value at a path of keys, None where the path ends early."""
    for key in place:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def group(value: Any, *place: str) -> dict[str, Any]:
    """Get the mapping at a path of keys, an empty one where there is none."""
    found = at(value, *place)
    return found if isinstance(found, dict) else {}


def items(value: Any, *place: str) -> list[Any]:
    """Get the list at a path of keys, an empty one where there is none."""
    found = at(value, *place)
    return found if isinstance(found, list) else []


def number(value: Any) -> float | None:
    """Get a finite number, or None for anything else (absent, text, true, NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _text(path: Path, absent: list[str], *, optional: bool = False) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not optional:
            absent.append(f"{path.name} is not in the run folder")
    except (OSError, UnicodeDecodeError) as error:
        absent.append(f"{path.name} cannot be read: {error}")
    return ""


def _object(path: Path, absent: list[str], *, optional: bool = False) -> dict[str, Any]:
    text = _text(path, absent, optional=optional)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        absent.append(f"{path.name} is not valid JSON: {error}")
        return {}
    if not isinstance(value, dict):
        absent.append(f"{path.name} does not hold a JSON object")
        return {}
    return value


def _lines(path: Path, absent: list[str]) -> list[dict[str, Any]]:
    rows, broken = [], 0
    for line in _text(path, absent).split("\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            rows.append(value)
        else:
            broken += 1
    if broken:
        lines, left = ("line", "is") if broken == 1 else ("lines", "are")
        absent.append(f"{path.name}: {broken} {lines} cannot be read and {left} left out")
    return rows
