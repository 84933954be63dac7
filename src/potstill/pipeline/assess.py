"""Teacher and student on the same queries, documents and search; what each costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_json, write_text
from ..collection import Collection, open_collection
from ..errors import InputError
from ..evaluation import Evaluation, evaluate_pair, evaluate_unjudged, measure_costs, parse_measures
from ..progress import warn
from ..recipe import EvaluateSpec, TeacherSpec
from ..students import Student, load
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import CompressedTeacher, with_head
from .checks import check_prefixes, check_reference
from .judged import judgments_of
from .reranking import rerank_with
from .scorers import Panel
from .vectors import Vectors, document_vectors, query_vectors, through

_SNIPPET = 160
_BLOCK = 1024


def assess(
    collection: str,
    teacher: TeacherSpec,
    student: str,
    out: Path,
    *,
    spec: EvaluateSpec,
    signals: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a student against a teacher on a judged split; writes and returns `evaluation.json`'s content.

    Args:
        collection: where queries, documents and judgments come from.
        teacher: the reference.
        student: a run, a student's folder or a model id. One that Potstill made for the teacher's index searches that;
            any other encodes documents of its own.
        out: JSON file to write; `per_query.jsonl` lands beside it as `<name>.per_query.jsonl`.
        spec: split, measures and depth.
        signals: folder of the signal store.

    Raises:
        InputError: anything that is wrong with the input.
    """
    parse_measures(spec.measures)
    opened = open_collection(collection)
    split = spec.split or "test"
    opened.qrels(split)
    pupil = load(student)
    model = open_teacher(teacher)
    searched = with_head(model, pupil.index_head)
    own = pupil.note.get("towers", "shared") != "asymmetric"
    check_reference(opened, model, split)
    check_prefixes(spec.prefixes, pupil.dimensions)
    if not own and pupil.dimensions != searched.dimensions:
        raise InputError(
            f"the student's vectors have {pupil.dimensions} dimensions, and those of the index that it is to search"
            f" {searched.dimensions}",
            where=student,
            fix="give the teacher that the student was distilled from",
        )
    known = pupil.note.get("teacher_identity")
    if not own and known and known != searched.fingerprint("query").digest():
        warn(
            f"{student} was distilled from another teacher ({pupil.note.get('teacher_name')}) than {model.name},"
            " or from other settings of it: if their spaces differ, its figures will be low"
        )
    if (
        split in pupil.note.get("trained_on", ())
        and Path(str(pupil.note.get("collection"))).name == Path(collection).name
    ):
        warn(
            f"queries of the split {split} were among the texts that {student} was trained on (without judgments):"
            " its figures say little about new queries"
        )
    documents = document_vectors(model, opened, signals)
    index = through(searched, documents) if isinstance(searched, CompressedTeacher) else None
    assessment = Assessment(spec, opened, model, documents, signals, index=index)
    return assessment.of(pupil, own_documents=own, split=split, held_out=None, file=out)


class Assessment:
    """Evaluates students of one teacher on one collection.

    `index` are the documents that asymmetric students search where these are not `documents`, the teacher's own.
    """

    def __init__(
        self,
        spec: EvaluateSpec,
        collection: Collection,
        teacher: VectorTeacher,
        documents: Vectors,
        signals: Path | None,
        panel: Panel | None = None,
        index: Vectors | None = None,
    ) -> None:
        self.panel = panel or Panel()
        self.spec, self.collection, self.teacher = spec, collection, teacher
        self.documents, self.signals, self.index = documents, signals, index

    def of(
        self,
        student: Student,
        *,
        own_documents: bool,
        split: str | None,
        held_out: tuple[list[str], Vectors] | None,
        run: Path | None = None,
        file: Path | None = None,
        cost: bool = True,
    ) -> dict[str, Any]:
        """Evaluate one student; writes `run/evaluation.json` and its companions, or `file`.

        Args:
            student: whose queries are searched.
            own_documents: whether it searches document vectors of its own.
            split: judged split, or None to measure agreement on `held_out` alone.
            held_out: generated queries kept out of training, and the teacher's vectors of them.
            run: folder for `evaluation.json`, `per_query.jsonl` and `documents.json`.
            file: another place for the JSON.
            cost: whether costs are measured, where the recipe wants it.
        """
        ids: list[str] = []
        if split is None:
            assert held_out is not None
            texts, targets = held_out
        else:
            judged = judgments_of(self.collection, split, answered=self.spec.answered)
            ids = [i for i in judged.grades if i in self.collection.queries]
            texts = [self.collection.queries[i] for i in ids]
            targets = query_vectors(self.teacher, texts, self.signals, f"teacher: {split} queries", ids)
        own = self._student_documents(student) if own_documents else None
        if own is None and self.index is not None:
            own = self.index.all()
        compared: dict[str, Any] = {
            "document_ids": self.collection.document_ids,
            "documents": self.documents,
            "teacher_queries": targets.all(),
            "student_queries": student.encode_queries(texts),
            "student_documents": own,
            "metric": self.teacher.metric,
            "prefixes": self.spec.prefixes,
        }
        if split is None:
            evaluation = evaluate_unjudged(self.collection, texts, **compared)
        else:
            evaluation = evaluate_pair(
                judged,
                split,
                query_ids=ids,
                measures=self.spec.measures,
                exclude_self=self.spec.exclude_self,
                candidates=self.spec.candidates,
                depth=max(self.spec.depth, self.spec.rerank if self.panel.scorers else 0),
                **compared,
            )
        evaluation.cost = self._costs(student, texts) if cost and self.spec.cost else {}
        more = {}
        if split is not None and self.panel.scorers and self.spec.rerank:
            more["reranking"] = rerank_with(
                self.panel,
                evaluation,
                judged,
                self.spec,
                query_ids=ids,
                texts=texts,
                student_queries=compared["student_queries"],
                student_documents=self.documents.gather if own is None else own.__getitem__,
                metric=self.teacher.metric,
                signals=self.signals,
                run=run,
            )
        return self.write(evaluation, more, run, file)

    def _student_documents(self, student: Student) -> np.ndarray:
        vectors = np.empty((self.collection.document_count, student.dimensions), dtype=np.float32)
        block: list[str] = []
        done = 0
        for document in self.collection.documents():
            block.append(document.full)
            if len(block) == _BLOCK:
                vectors[done : done + _BLOCK] = student.encode_documents(block)
                done, block = done + _BLOCK, []
        if block:
            vectors[done:] = student.encode_documents(block)
        return vectors

    def _costs(self, student: Student, texts: Sequence[str]) -> dict[str, Any]:
        systems: dict[str, Any] = {"student": student.queries}
        if self.teacher.can_encode_queries:
            systems = {"teacher": _TeacherQueries(self.teacher), **systems}
        return dict(measure_costs(systems, list(texts)))

    def write(
        self, evaluation: Evaluation, more: dict[str, Any], run: Path | None, file: Path | None
    ) -> dict[str, Any]:
        """Write what was found, and `more` beside it, as `of` does."""
        whole = evaluation.as_json() | more
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.per_query)
        if run is not None:
            write_text(run / "per_query.jsonl", rows)
            write_json(run / "documents.json", self._snippets(evaluation.per_query))
            write_json(run / "evaluation.json", whole)
        if file is not None:
            write_text(file.with_suffix(".per_query.jsonl"), rows)
            write_json(file, whole)
        return whole

    def _snippets(self, rows: Sequence[Any]) -> dict[str, str]:
        """Title and beginning of every document that the report may show."""
        wanted: set[str] = set()
        for row in rows:
            for ranked in (row["teacher_top"], row["student_top"]):
                wanted.update(document_id for document_id, _ in ranked)
            wanted.update(row.get("relevant") or {})
        found = {}
        for document in self.collection.documents():
            if document.id in wanted:
                title = f"{document.title} — " if document.title else ""
                found[document.id] = (title + " ".join(document.text.split())[:_SNIPPET]).strip()
        return found


class _TeacherQueries:
    """A teacher's query side, as what costs are measured of: the model's own `encode` where it has one."""

    def __init__(self, teacher: VectorTeacher) -> None:
        self.teacher = teacher
        self.parameters, self.bytes = teacher.parameters, teacher.bytes

    def encode(self, texts: list[str]) -> np.ndarray:
        return self.teacher.encode(texts, "query")
