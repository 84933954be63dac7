"""Will this student do on this index? The index against its teacher, then the student against the teacher on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_json
from ..collection import Collection, open_collection
from ..errors import InputError
from ..evaluation import Ranking, mean_interval, measure, overlap
from ..index import Index, IndexMetric, Probe, climb, exact_ranking, extra_effort, open_index, probe
from ..index.probing import missing
from ..progress import warn
from ..recipe import TeacherSpec
from ..students import Student, load
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import with_head
from .vectors import query_vectors

_BATCH = 32
_MEASURE = "nDCG@{k}"
_STRANGER = 0.05  # overlap of rankings below which a student is of another space
_MANY = 20  # documents for each that is ranked: with fewer, chance alone makes rankings overlap


def check(
    index: Path,
    teacher: TeacherSpec,
    *,
    student: str | None = None,
    collection: str | None = None,
    queries: Mapping[str, str] | None = None,
    split: str | None = None,
    sample: int = 64,
    k: int = 10,
    ids: Path | None = None,
    metric: IndexMetric | None = None,
    seed: int = 0,
    signals: Path | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Compare an index with the teacher that is claimed for it, and a student's queries with the teacher's on it.

    Args:
        index: anything that `index.open_index` opens.
        teacher: the teacher whose documents the index is said to hold.
        student: a run, a student's folder or a model id; None: only the index is checked.
        collection: the documents' texts, by id; without it none can be encoded again.
        queries: id -> text; None: those of the split.
        split: judged queries; None: `test`, or all queries of the collection where it has no such split.
        sample: vectors that are encoded again.
        k: how deep rankings are compared.
        ids: ids of a file of vectors.
        metric: see `index.open_index`; None: the teacher's, where the index does not say.
        seed: of the sample and of the bootstrap.
        signals: folder of the signal store, for the teacher's queries.
        out: JSON file to write.

    Returns:
        `compatible`, the verdict; `index`, `teacher`, `probe`; and, where there is a student and the probe has found no
        problem, `student` with `overlap`, `rungs`, `extra`, `problem` and, with judgments, `measures`.

    Raises:
        InputError: what is asked for cannot be opened, or there are no queries to compare a student by.
    """
    if sample < 1 or k < 1:
        raise InputError(
            "sample and k count from 1", where=f"--sample {sample}, -k {k}", fix="give whole numbers from 1"
        )
    pupil = load(student) if student is not None else None
    model = with_head(open_teacher(teacher), pupil.index_head if pupil else None)
    seen = f"{model.name}, through the student's head" if pupil and pupil.index_head is not None else model.name
    opened = open_index(index, ids=ids, metric=metric, fallback=model.metric)
    documents = open_collection(collection) if collection is not None else None
    asked, judged = _asked(documents, queries, split) if pupil else ({}, None)
    found = _probed(opened, model, documents, sample, seed)
    if pupil is not None:
        found = _with_student(found, opened, model, pupil)
    result: dict[str, Any] = {
        "index": {
            "path": str(index),
            "kind": opened.kind,
            "metric": opened.metric,
            "dimensions": opened.dimensions,
            "documents": len(opened),
            "effort_name": opened.effort_name,
            "effort": opened.effort,
            "settings": opened.about.get("settings", {}),
        },
        "teacher": {"name": seen, "metric": model.metric, "dimensions": model.dimensions},
        "compatible": found.compatible,
        "probe": found.as_json(),
        "k": k,
        "student": None,
    }
    if pupil is not None and found.compatible:
        first = query_vectors(model, list(asked.values()), signals, "teacher: queries", list(asked)).all()
        second = pupil.encode_queries(list(asked.values()))
        result["student"] = {"name": student, **_compared(opened, first, second, list(asked), judged, k, seed)}
        result["compatible"] = result["student"]["problem"] is None
    if out is not None:
        write_json(out, result)
    return result


def _asked(
    documents: Collection | None, queries: Mapping[str, str] | None, split: str | None
) -> tuple[dict[str, str], dict[str, dict[str, int]] | None]:
    """The queries to compare by, and their judgments where there are any."""
    if queries is not None:
        return dict(queries), None
    if documents is None or not documents.queries:
        raise InputError(
            "there are no queries to compare student and teacher by",
            where="--queries",
            fix="give --queries FILE, or --collection with queries",
        )
    if split is None and "test" not in documents.splits:
        return dict(documents.queries), None
    judged = documents.qrels(split or "test")
    known = {query: grades for query, grades in judged.items() if query in documents.queries}
    if len(known) < len(judged):
        warn(f"{len(judged) - len(known):,} of {len(judged):,} judged queries have no text and are left out")
    return {query: documents.queries[query] for query in known}, known


def _probed(index: Index, model: VectorTeacher, documents: Collection | None, sample: int, seed: int) -> Probe:
    if model.dimensions != index.dimensions:
        return probe(index, np.zeros(1, dtype=np.int64), np.zeros((1, model.dimensions), np.float32), model.metric)
    if documents is None:
        note = "no vector was encoded again: give --collection to prove that the vectors are the teacher's"
        return Probe(notes=[note])
    if not model.can_encode_documents:
        raise InputError(
            "this teacher cannot encode documents, so nothing can be encoded again",
            where=model.name,
            fix="give the model that made the vectors",
        )
    places = documents.document_ids.rows(list(index.ids))
    there = np.flatnonzero(places >= 0)
    lacking = missing(index.ids, places)
    if not len(there):
        return Probe(problems=[lacking or "the index is empty"])
    drawn = np.sort(np.random.default_rng(seed).choice(there, min(sample, len(there)), replace=False))
    order = np.argsort(places[drawn], kind="stable")  # texts come in the collection's order
    texts = list(documents.texts(places[drawn].tolist()))
    encoded = np.zeros((len(drawn), model.dimensions), dtype=np.float32)
    for start in range(0, len(texts), _BATCH):
        encoded[order[start : start + _BATCH]] = model.encode(texts[start : start + _BATCH], "document")
    found = probe(index, drawn, encoded, model.metric)
    unindexed = documents.document_count - len(there)
    said = index.about.get("teacher") or {}
    notes = list(found.notes)
    if unindexed:
        notes.append(f"{unindexed:,} of {documents.document_count:,} documents are not in the index: none finds them")
    if said and said.get("digest") != model.fingerprint("document").digest():
        notes.append(f"the index was built with {said.get('name')}, by another model, setting or place than this")
    return replace(found, problems=[*([lacking] if lacking else []), *found.problems], notes=notes)


def _with_student(found: Probe, index: Index, model: VectorTeacher, pupil: Student) -> Probe:
    problems, notes = list(found.problems), list(found.notes)
    if pupil.dimensions != index.dimensions:
        problems.append(f"the student gives {pupil.dimensions} numbers a query, the index holds {index.dimensions}")
    if pupil.note and pupil.note.get("towers", "asymmetric") != "asymmetric":
        notes.append("the student encodes documents itself: it was made for an index of its own, not for a teacher's")
    known = pupil.note.get("teacher_identity")
    if known and known != model.fingerprint("query").digest():
        notes.append(
            f"the student was distilled from {pupil.note.get('teacher_name')}, by another model, setting or place than"
            f" {model.name}"
        )
    return replace(found, problems=problems, notes=notes)


def _compared(
    index: Index,
    teacher: np.ndarray,
    student: np.ndarray,
    names: list[str],
    judged: Mapping[str, Mapping[str, int]] | None,
    k: int,
    seed: int,
) -> dict[str, Any]:
    exact = exact_ranking(index, teacher, k), exact_ranking(index, student, k)
    rungs = climb(index, teacher, student, exact, k, seed)
    extra = extra_effort(index, student, exact[1], rungs, k)
    shared = mean_interval(overlap(exact[0], exact[1], k), seed=seed)
    stranger = shared.value < _STRANGER and len(index) >= _MANY * k
    result: dict[str, Any] = {
        "queries": len(names),
        "overlap": shared.as_json(),
        "problem": f"the student is of another space: its rankings and the teacher's share {shared.value:.1%}"
        if stranger
        else None,
        "rungs": [rung.as_json() for rung in rungs],
        "extra": None if extra is None else asdict(extra),
        "measures": None,
    }
    if judged:
        systems: dict[str, Ranking] = {"teacher, exact": exact[0], "student, exact": exact[1]}
        if index.effort is not None or index.lossy:
            systems |= {"teacher, index": index.search(teacher, k), "student, index": index.search(student, k)}
        if extra is not None and extra.effort is not None:
            systems["student, extra effort"] = index.search(student, k, extra.effort)
        name = _MEASURE.format(k=k)
        values = {
            system: list(measure(ranking.run(names, index.ids), judged, [name])[name].values())
            for system, ranking in systems.items()
        }
        result["measures"] = {
            name: {system: mean_interval(np.array(each), seed=seed).as_json() for system, each in values.items()}
        }
    return result
