"""Runs brought together for the page that compares: one teacher, one collection, one or more students."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..collection import Collection, open_collection
from ..errors import InputError
from ..progress import say, warn
from ..recipe import Recipe, load_recipe
from ..serving.sides import Point, Sides, StudentSide, TeacherSide
from ..students import Student, load
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import CompressedTeacher, with_head
from .vectors import document_vectors

_EXAMPLES = 6
_SNIPPET = 280


def open_sides(runs: Sequence[Path], *, collection: str | None = None, signals: Path | None = None) -> Sides:
    """Bring runs of one teacher on one collection side by side.

    Document vectors come from the signal store; what it lacks is encoded now, by the teacher.

    Args:
        runs: folders of runs of students that give vectors.
        collection: where the collection lies now; None: where the first run found it.
        signals: folder of the signal store.

    Raises:
        InputError: a folder is no run, its student reads pairs, or the runs are of other teachers.
    """
    recipes = [_recipe(run) for run in runs]
    recipe = recipes[0]
    source = collection or recipe.collection
    opened, teacher = open_collection(str(source)), open_teacher(recipe.teacher)
    for run, other in zip(runs[1:], recipes[1:], strict=True):
        if other.teacher != recipe.teacher:
            raise InputError(
                "this run has another teacher than the first", where=str(run), fix="compare runs of one teacher"
            )
    whole = document_vectors(teacher, opened, signals)
    documents = whole.all()
    evaluations = [_json(run / "evaluation.json") for run in runs]
    measure = next((name for one in evaluations for name in one.get("retention", {})), "nDCG@10")
    students = [
        _student(run, opened, teacher, documents, evaluation, measure)
        for run, evaluation in zip(runs, evaluations, strict=True)
    ]
    titles, snippets = [], []
    for document in opened.documents():
        titles.append(document.title)
        snippets.append(document.text[:_SNIPPET] + ("…" if len(document.text) > _SNIPPET else ""))
    split = evaluations[0].get("split")
    judged: dict[str, dict[str, int]] = {}
    if split:
        for query_id, grades in opened.qrels(split).items():
            if query_id in opened.queries:
                judged[opened.queries[query_id].strip()] = dict(grades)
    say(f"comparing {len(students)} students with {teacher.name} on {opened.document_count:,} documents")
    return Sides(
        collection=Path(str(source)).name,
        measure=measure,
        metric=teacher.metric,
        ids=opened.document_ids,
        titles=titles,
        snippets=snippets,
        teacher=TeacherSide(
            teacher.name, lambda: _encoder(teacher), documents, _point(evaluations[0], "teacher", measure)
        ),
        students=students,
        judged=judged,
    )


def _recipe(run: Path) -> Recipe:
    if not (run / "recipe.yaml").is_file() or not (run / "evaluation.json").is_file():
        raise InputError(
            "this is no finished run (no recipe.yaml and evaluation.json)",
            where=str(run),
            fix="give a folder that `potstill distill` wrote",
        )
    return load_recipe(run / "recipe.yaml")


def _student(
    run: Path,
    collection: Collection,
    teacher: VectorTeacher,
    documents: np.ndarray,
    evaluation: dict[str, Any],
    measure: str,
) -> StudentSide:
    student: Student = load(run)
    searched = documents
    if student.note.get("towers") not in (None, "asymmetric"):
        say(f"{run.name}: encoding its own documents")
        searched = student.encode_documents(list(collection.texts()))
    elif student.index_head is not None:
        compressed = with_head(teacher, student.index_head)
        assert isinstance(compressed, CompressedTeacher)
        searched = documents @ student.index_head
    wins, losses = _examples(run / "per_query.jsonl", measure)
    if not wins and not losses:
        warn(f"{run}: no judged query went better or worse, or there is no per_query.jsonl")
    return StudentSide(
        run.resolve().name,
        str(student.note.get("kind") or ""),
        student.encode_queries,
        searched,
        _point(evaluation, "student", measure),
        wins,
        losses,
    )


def _encoder(teacher: VectorTeacher) -> Callable[[list[str]], np.ndarray]:
    if not teacher.can_encode_queries:
        raise InputError("the teacher has vectors on disk and no model that could encode a new query")
    return lambda texts: teacher.encode(texts, "query")


def _examples(path: Path, measure: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Queries that gained and lost most, largest first."""
    if not path.is_file():
        return [], []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        measures = row.get("measures") or {}
        values = [(measures.get(system) or {}).get(measure) for system in ("teacher", "student")]
        if None not in values:
            rows.append({"id": row["query_id"], "text": row["text"], "teacher": values[0], "student": values[1]})
    rows.sort(key=lambda row: row["teacher"] - row["student"])
    wins = [row for row in rows[:_EXAMPLES] if row["student"] > row["teacher"]]
    losses = [row for row in rows[::-1][:_EXAMPLES] if row["student"] < row["teacher"]]
    return wins, losses


def _point(evaluation: dict[str, Any], system: str, measure: str) -> Point:
    value = evaluation.get("systems", {}).get(system, {}).get(measure)
    interval = evaluation.get("intervals", {}).get(system, {}).get(measure, {})
    cost = (evaluation.get("cost") or {}).get(system, {})
    return Point(value, interval.get("low"), interval.get("high"), cost.get("query_ms_p50"), cost.get("bytes"))


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
