"""The same in Python: `potstill.distill(...)` does what `potstill distill` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .recipe import TeachGeneratorSpec, TeachSpec, load_recipe, load_spec

if TYPE_CHECKING:
    from .students import Student


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder, with `student/`, `evaluation.json` and `report.html`.
        evaluation: what `evaluation.json` holds.
    """

    path: Path
    evaluation: dict[str, Any]

    def load(self) -> Student:
        """Open the student: `encode_queries(texts)` and `encode_documents(texts)` give float32 arrays (n, d)."""
        from .students import load

        return load(self.path)


@dataclass(frozen=True)
class Taught:
    """A teacher that was trained.

    Attributes:
        path: the folder of its run, with `model/`, `metrics.jsonl` and `teach.json`.
        record: what `teach.json` holds: data, counts, validation before and after.
    """

    path: Path
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The teacher's folder: give it as a scorer's `model`."""
        return self.path / "model"


def distill(
    collection: str | Path | None = None,
    teacher: str | Path | Mapping[str, Any] | None = None,
    student: str | Mapping[str, Any] | None = None,
    *,
    out: str | Path,
    towers: str | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    signals: str | Path | None = None,
) -> Run:
    """Distil a student from a teacher on a collection, evaluate both, and write a run folder.

    Args:
        collection: a folder, a file of documents, `hf:NAME` or `ir_datasets:NAME`.
        teacher: a model id or folder, or a mapping of the recipe's teacher keys.
        student: `static`, `static:128`, `layers:0,5`, `tiny:2x128`, a model id, or a mapping of the recipe's keys.
        out: the folder of the run; new, or empty.
        towers: `asymmetric` (the default), `shared` or `separate`.
        recipe: a YAML file that the arguments above override.
        settings: any other key by its dotted path, e.g. `{"training.epochs": 2}` or `["training.epochs=2"]`.
        resume: go on with the run in `out`.
        signals: folder of the signal store; None: POTSTILL_HOME or the user's cache.

    Raises:
        PotstillError: says what is wrong, where, and what to do.
    """
    flags = {
        "collection": None if collection is None else str(collection),
        "teacher": dict(teacher) if isinstance(teacher, Mapping) else None if teacher is None else str(teacher),
        "student": dict(student) if isinstance(student, Mapping) else student,
        "towers": towers,
    }
    path = Path(out)
    source = recipe
    if resume and recipe is None:
        from .pipeline.runfolder import RECIPE, recorded

        recorded(path)
        source = path / RECIPE
    resolved = load_recipe(source, flags=flags, settings=_lines(settings))
    from . import pipeline

    found = pipeline.distill(resolved, path, resume=resume, signals=None if signals is None else Path(signals))
    return Run(path, found)


def teach(
    kind: str,
    collection: str | Path | None = None,
    base: str | Path | None = None,
    *,
    out: str | Path,
    split: str | None = None,
    negatives: int | None = None,
    depth: int | None = None,
    miner: str | Sequence[str] | None = None,
    max_length: int | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    signals: str | Path | None = None,
) -> Taught:
    """Train a teacher, or a generator of queries, on the judgments of a collection.

    Args:
        kind: `cross-encoder`, `dual-pooled`, `dual-encoder`, `late-interaction`, or `generator`, which writes a query
            for a document and mines nothing.
        collection: a folder, `hf:NAME` or `ir_datasets:NAME`, with judgments.
        base: the encoder (or, for a generator, the sequence-to-sequence model) to start from: an id or a folder.
        out: the folder of the run; new, or empty.
        split: judgments to learn from (None: `train`); never the test split.
        negatives: how many of a list (None: 7).
        depth: mined documents of a query (None: 100).
        miner: models of vectors, or `bm25` (None: the base where it is one, else `bm25`).
        max_length: tokens of a pair, or of a document where texts are read apart (None: 128).
        settings: any other key by its dotted path, e.g. `{"training.epochs": 2, "positives": 1}`.
        resume: go on with the run in `out`; what is not given is as it was.
        signals: folder of the signal store; None: POTSTILL_HOME or the user's cache.

    Raises:
        PotstillError: says what is wrong, where, and what to do.
    """
    flags = {
        "kind": kind,
        "collection": None if collection is None else str(collection),
        "base": None if base is None else str(base),
        "split": split,
        "negatives": negatives,
        "depth": depth,
        "miner": [miner] if isinstance(miner, str) else miner or None,
        "max_length": max_length,
    }
    path = Path(out)
    from .pipeline import teach as pipeline
    from .pipeline.teach_record import SPEC

    if resume:
        from .pipeline.runfolder import recorded

        recorded(path, SPEC)
    source = path / SPEC if resume else None
    if kind == "generator":
        from .pipeline.teach_generator import teach_generator

        how = load_spec(TeachGeneratorSpec, source, flags=flags, settings=_lines(settings))
        return Taught(path, teach_generator(how, path, resume=resume))
    spec = load_spec(TeachSpec, source, flags=flags, settings=_lines(settings))
    found = pipeline.teach(spec, path, resume=resume, signals=None if signals is None else Path(signals))
    return Taught(path, found)


def _lines(settings: Mapping[str, Any] | Sequence[str]) -> Sequence[str]:
    if isinstance(settings, Mapping):
        return [f"{key}={json.dumps(value, default=str, ensure_ascii=False)}" for key, value in settings.items()]
    return settings


def ensemble(
    collection: str | Path,
    teachers: Sequence[str | Mapping[str, Any]],
    *,
    split: str = "test",
    student: str | Path | None = None,
    candidates: str = "auto",
    measures: Sequence[str] | None = None,
    settings: Mapping[str, Any] | Sequence[str] | None = None,
    out: str | Path | None = None,
    signals: Path | None = None,
) -> dict[str, Any]:
    """Evaluate teachers, the mean, median and vote of them, and a student, on the same candidates with judgments.

    Args:
        collection: folder, file, hf:NAME or ir_datasets:NAME.
        teachers: each `[NAME=][KIND:]WHAT`, or a mapping as `MemberSpec` has it.
        split: judged split.
        student: a run, or a folder of a ranker or of a model of vectors.
        candidates: see `EnsembleSpec`.
        measures: as ir_measures prints them; None: nDCG@10, RR@10 and AP.
        settings: further keys of `EnsembleSpec`.
        out: JSON file to write.
        signals: folder of the signal store.

    Returns:
        What the file holds: `systems`, `intervals`, `comparisons` with the reference, `cost`, `student`.

    Raises:
        InputError: something in the input is wrong; names it and the remedy.
    """
    from .pipeline.ensemble import compare
    from .recipe.comparing import EnsembleSpec, short_member
    from .teachers.kinds import kind_of

    flags: dict[str, Any] = {"collection": str(collection), "split": split, "candidates": candidates}
    flags["teachers"] = [short_member(each, kind_of) for each in teachers]
    folder = None
    if student is not None:
        name, equals, rest = str(student).partition("=")
        folder = Path(rest if equals else name)
        folder = folder / "student" if (folder / "student").is_dir() else folder
        flags["student"] = short_member(f"{name if equals else 'student'}={folder}", kind_of)
    if measures:
        flags["measures"] = list(measures)
    spec = load_spec(EnsembleSpec, None, flags=flags, settings=_lines(settings or ()))
    return compare(spec, None if out is None else Path(out), student=folder, signals=signals)
