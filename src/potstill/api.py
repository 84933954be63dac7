"""The same in Python: `potstill.distill(...)` does what `potstill distill` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .recipe import load_recipe

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
    if isinstance(settings, Mapping):
        settings = [f"{key}={json.dumps(value, default=str, ensure_ascii=False)}" for key, value in settings.items()]
    resolved = load_recipe(source, flags=flags, settings=settings)
    from . import pipeline

    found = pipeline.distill(resolved, path, resume=resume, signals=None if signals is None else Path(signals))
    return Run(path, found)
