"""`potstill export`: write a student in other forms, and measure all of them beside the original in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..atomic import write_json
from ..collection import Collection, open_collection
from ..errors import InputError
from ..evaluation import measure_costs
from ..export.exporting import Exported, export_onnx
from ..export.precision import Precision
from ..export.samples import TEXTS
from ..export.source import student_folder
from ..export.static_int8 import export_static
from ..progress import say, warn
from ..recipe import EvaluateSpec, TeacherSpec
from ..report import write_report
from ..report.deployment import FILE
from ..students import Student, load, read_note
from ..students.loading import cut_vectors, teacher_of
from ..teachers import open_teacher
from ..teachers.compressed import with_head
from .assess import Assessment
from .judged import judgments_of
from .runfolder import RECIPE
from .vectors import document_vectors, seen_by

Format = Literal["onnx", "static"]
MEASURE = "nDCG@10"
_SAMPLES = 256  # queries and documents each that an export is checked with
_EXCERPT = 2000  # characters of a checked document


def export(
    run: str | Path,
    *,
    formats: Sequence[Format] = ("onnx",),
    precisions: Sequence[Precision] = ("fp32",),
    out: str | Path | None = None,
    dimensions: int | None = None,
    collection: str | None = None,
    split: str = "test",
    signals: Path | None = None,
) -> list[dict[str, Any]]:
    """Export a student, once for every form and precision, and check each against the original.

    With a collection every target is also measured beside the original, in turn, in this one run: size, latency and
    throughput of queries, nDCG@10 and retention on the index that the run searches. `deployment.json` in the run's
    folder holds the rows.

    Args:
        run: a run's folder, a student's folder, or a model's id.
        formats: `onnx`: one graph; `static`: an int8 table for numpy.
        precisions: fp32, fp16, int8; `static` is written in int8.
        out: the folder to write; None: `RUN/export/<format>-<precision>`. Only where one target is asked for.
        dimensions: cut vectors there.
        collection: a folder, `hf:NAME` or `ir_datasets:NAME`.
        split: judged split.
        signals: folder of the signal store.

    Returns:
        A row for each target, the original first where it was measured: `target`, `precision`, `file` (seen
        from the run's folder where it lies there), `bytes`,
        `cosine_min` (of a ranker `score_difference`) and, measured, `query_ms_p50`, `query_ms_p99`, `queries_per_s`,
        `nDCG@10` and `retention`, `retention_low`, `retention_high` of it.

    Raises:
        PotstillError: says what is wrong, where, and what to do.
    """
    student = student_folder(run)
    pairs = _reads_pairs(student)
    targets = _targets(Path(run), formats, precisions, None if out is None else Path(out))
    opened = None if collection is None else open_collection(collection)
    if opened is not None:
        opened.qrels(split)
        if pairs:
            warn("a ranker's exports are checked on the collection's texts; their retention is not measured")
    texts = TEXTS if opened is None else _samples(opened, split)
    written: list[Exported] = []
    graphs = [(precision, folder) for form, precision, folder in targets if form == "onnx"]
    if graphs:
        written += export_onnx(student, graphs, dimensions=dimensions, texts=texts)
    for form, _, folder in targets:
        if form == "static":
            written.append(export_static(student, folder, dimensions=dimensions, texts=texts))
    home = Path(run)
    rows = [_row(each, home) for each in written]
    if opened is None or pairs:
        return rows
    measured = _measured(run, student, written, opened, split, signals)
    original: dict[str, Any] = {"target": "student", "precision": "fp32", "file": None, "cosine_min": 1.0}
    whole = [{**row, **found} for row, found in zip([original, *rows], measured, strict=True)]
    for row, each in zip(whole[1:], written, strict=True):
        row["bytes"] = each.bytes
    if home.is_dir():
        write_json(home / FILE, whole)
        say(f"{home / FILE}: {len(whole)} rows")
        if (home / "report.html").is_file():
            write_report(home)  # it shows them
    return whole


def _targets(
    run: Path, formats: Sequence[Format], precisions: Sequence[Precision], out: Path | None
) -> list[tuple[Format, Precision, Path]]:
    """Every form and precision asked for, and the folder of each."""
    found: list[tuple[Format, Precision]] = []
    for form in dict.fromkeys(formats):
        for precision in dict.fromkeys(precisions):
            if form == "static" and precision != "int8":
                if "int8" in precisions:
                    continue  # the other precisions are for the other form
                raise InputError(
                    f"a static student is not written in {precision}: its folder is that already, or a graph can be",
                    where="--precision",
                    fix="give --precision int8, or --format onnx",
                )
            found.append((form, precision))
    if out is not None and len(found) > 1:
        raise InputError(
            f"{len(found)} exports do not fit into one folder",
            where=f"--out {out}",
            fix="leave --out out, or ask for one format and one precision",
        )
    if out is None and not run.is_dir():
        raise InputError("there is no output folder", where="--out", fix="add --out FOLDER: a model's id has no folder")
    return [(form, p, out or run / "export" / f"{form}-{p}") for form, p in found]


def _reads_pairs(student: str | Path) -> bool:
    folder = Path(student)
    return folder.is_dir() and (read_note(folder) or {}).get("reads") == "pairs"


def _samples(collection: Collection, split: str) -> list[str]:
    """Queries of the split and documents, as far as an export is checked with them; one text without a word."""
    queries = [collection.queries[i] for i in judgments_of(collection, split).grades if i in collection.queries]
    documents = []
    for document in collection.documents():
        documents.append(document.full[:_EXCERPT])
        if len(documents) == _SAMPLES:
            break
    return [*queries[:_SAMPLES], *documents, ""]


def _row(exported: Exported, home: Path) -> dict[str, Any]:
    found, file = exported.checked, exported.file
    if file.is_relative_to(home):
        file = file.relative_to(home)
    told = {"cosine_min": found.cosine_min} if found.cosine_min is not None else {}
    if found.score_difference is not None:
        told = {"score_difference": found.score_difference}
    return {
        "target": exported.target,
        "precision": exported.precision,
        "file": str(file),
        "bytes": exported.bytes,
        **told,
    }


def _measured(
    run: str | Path,
    student: str | Path,
    written: Sequence[Exported],
    collection: Collection,
    split: str,
    signals: Path | None,
) -> list[dict[str, Any]]:
    """Cost and retention of the original and of every export, in that order."""
    original = load(student)
    students = [original, *(load(each.folder) for each in written)]
    names = ["student", *(f"{each.target}-{each.precision}" for each in written)]
    spec, teacher = _settings(run, student, original)
    texts = [collection.queries[i] for i in judgments_of(collection, split).grades if i in collection.queries]
    costs = measure_costs({name: each.queries for name, each in zip(names, students, strict=True)}, texts)
    kept = [{} for _ in names] if teacher is None else _retention(spec, teacher, students, collection, split, signals)
    columns = ("query_ms_p50", "query_ms_p99", "queries_per_s")
    return [
        {"bytes": each.queries.bytes} | {column: costs[name][column] for column in columns} | found
        for name, each, found in zip(names, students, kept, strict=True)
    ]


def _settings(run: str | Path, student: str | Path, original: Student) -> tuple[EvaluateSpec, TeacherSpec | None]:
    """How the run was evaluated, and its teacher; of a lone student, the teacher in its note."""
    file = Path(run) / RECIPE
    if file.is_file():
        from ..recipe import load_recipe

        recipe = load_recipe(file)
        return recipe.evaluate, recipe.teacher
    said = original.note.get("teacher")
    if not said:
        warn(f"{student} names no teacher: what is kept of it is not measured")
        return EvaluateSpec(), None
    return EvaluateSpec(), teacher_of(said)


def _retention(
    spec: EvaluateSpec,
    teacher: TeacherSpec,
    students: Sequence[Student],
    collection: Collection,
    split: str,
    signals: Path | None,
) -> list[dict[str, Any]]:
    """nDCG@10 of each student, and how much of the teacher's it is: exact search, as `potstill evaluate` does it."""
    model = open_teacher(teacher)
    first = students[0]
    searched = with_head(model, first.index_head)
    documents = document_vectors(model, collection, signals)
    index: Any = seen_by(searched, documents)
    own = first.note.get("towers", "shared") != "asymmetric"
    how = spec.model_copy(update={"measures": (MEASURE,), "cost": False, "prefixes": (), "rerank": 0})
    rows = []
    for student in students:
        seen = index
        if student.note.get("cut") and not own:
            seen = _Cut(index, student.dimensions, normalize=bool(student.note["cut"]["normalize"]))
        assessment = Assessment(how, collection, model, documents, signals, index=None if seen is documents else seen)
        found = assessment.of(student, own_documents=own, split=split, held_out=None)
        kept = found["retention"][MEASURE]
        rows.append(
            {
                MEASURE: found["systems"]["student"][MEASURE],
                "retention": kept["value"],
                "retention_low": kept["low"],
                "retention_high": kept["high"],
            }
        )
    return rows


class _Cut:
    """The index as a student of fewer dimensions searches it."""

    def __init__(self, vectors: Any, dimensions: int, *, normalize: bool) -> None:
        self.vectors, self.dimensions, self.normalize = vectors, dimensions, normalize

    def all(self) -> np.ndarray:
        """The first dimensions of all vectors, of unit length again where the student's are."""
        return cut_vectors(self.vectors.all(), self.dimensions, normalize=self.normalize)
