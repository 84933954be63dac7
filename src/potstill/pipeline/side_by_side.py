"""Runs brought together for the page that compares: one teacher, one collection, one or more students."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..collection import Collection, open_collection
from ..errors import InputError
from ..progress import say, warn
from ..recipe import Recipe, load_recipe
from ..report.runfiles import Rated, RunFiles, extremes, rated_queries, read_run
from ..report.summary import MAIN_MEASURE
from ..serving.sides import Point, Sides, StudentSide, TeacherSide
from ..students import load
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import with_head
from .vectors import Vectors, document_vectors, seen_by

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
    read = [read_run(run) for run in runs]
    measure = next((name for one in read for name in one.evaluation.get("retention", {})), MAIN_MEASURE)
    students = [_student(one, opened, teacher, whole, documents, measure) for one in read]
    titles, snippets = [], []
    for document in opened.documents():
        titles.append(document.title)
        snippets.append(document.text[:_SNIPPET] + ("…" if len(document.text) > _SNIPPET else ""))
    split = read[0].evaluation.get("split")
    judged: dict[str, dict[str, int]] = {}
    if split:
        for query_id, grades in opened.qrels(split).items():
            if query_id in opened.queries:
                judged[opened.queries[query_id].strip()] = dict(grades)
    say(f"comparing {len(students)} students with {teacher.name} on {opened.document_count:,} documents")
    return Sides(
        collection=opened.name,
        measure=measure,
        metric=teacher.metric,
        ids=opened.document_ids,
        titles=titles,
        snippets=snippets,
        teacher=TeacherSide(
            teacher.name, lambda: _encoder(teacher), documents, _point(read[0].evaluation, "teacher", measure)
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
    files: RunFiles,
    collection: Collection,
    teacher: VectorTeacher,
    whole: Vectors,
    documents: np.ndarray,
    measure: str,
) -> StudentSide:
    run = files.path
    student = load(run)
    searched = documents
    if student.note.get("towers") not in (None, "asymmetric"):
        say(f"{run.name}: encoding its own documents")
        searched = student.encode_documents(list(collection.texts()))
    elif student.index_head is not None:
        searched = seen_by(with_head(teacher, student.index_head), whole).all()
    losses, wins = ([_example(one) for one in side] for side in extremes(rated_queries(files, measure), _EXAMPLES))
    if not wins and not losses:
        warn(f"{run}: no judged query went better or worse, or there is no per_query.jsonl")
    return StudentSide(
        run.resolve().name,
        str(student.note.get("kind") or ""),
        student.encode_queries,
        searched,
        _point(files.evaluation, "student", measure),
        wins,
        losses,
    )


def _encoder(teacher: VectorTeacher) -> Callable[[list[str]], np.ndarray]:
    if not teacher.can_encode_queries:
        raise InputError("the teacher has vectors on disk and no model that could encode a new query")
    return lambda texts: teacher.encode(texts, "query")


def _example(rated: Rated) -> dict[str, Any]:
    row = rated.row
    return {"id": row["query_id"], "text": row["text"], "teacher": rated.teacher, "student": rated.student}


def _point(evaluation: dict[str, Any], system: str, measure: str) -> Point:
    value = evaluation.get("systems", {}).get(system, {}).get(measure)
    interval = evaluation.get("intervals", {}).get(system, {}).get(measure, {})
    cost = (evaluation.get("cost") or {}).get(system, {})
    return Point(value, interval.get("low"), interval.get("high"), cost.get("query_ms_p50"), cost.get("bytes"))
