"""Stages: one distillation after another, each from the student of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..progress import say
from ..recipe import Recipe, StudentSpec
from .checks import check_recipe
from .objectives import with_defaults
from .one import distill_one
from .run import outcome
from .runfolder import RECIPE, claimed
from .single import STUDENT, STUDENT_DOCUMENTS

FOLDER = "stages"


def distill_stages(recipe: Recipe, run: Path, *, resume: bool, signals: Path | None) -> dict[str, Any]:
    """Run every stage; the last one in `run`, which is claimed already, the others below it.

    A stage that is done is not run again when the whole is resumed.

    Returns:
        What the last stage's `evaluation.json` holds.

    Raises:
        InputError: as `distill`; what can be seen of any stage is told before the first begins.
    """
    last = len(recipe.stages) - 1
    stages = [with_defaults(recipe.stage(number)) for number in range(len(recipe.stages))]
    for stage in stages:
        check_recipe(stage)
    told: list[str] = []
    seen: set[str] = set()
    student = recipe.student
    for number, stage in enumerate(stages):
        folder = run if number == last else run / FOLDER / str(number + 1)
        stage = stage.model_copy(update={"student": student})
        say(f"stage {number + 1} of {len(stages)}")
        more: dict[str, Any] = {"signals": signals, "before": told, "seen": sorted(seen)}
        if number == last:
            again = resume and (folder / "checkpoints").is_dir()
            return distill_one(stage, folder, resume=again, **more)
        if _done(folder, stage):
            found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
            say("stage: it is done already")
        else:
            again = (folder / RECIPE).is_file()
            with claimed(folder, stage, resume=again):
                found = distill_one(stage, folder, resume=again, **more)
        told.append(f"stage {number + 1}: {outcome(found)}")
        note = json.loads((folder / STUDENT / "potstill.json").read_text(encoding="utf-8"))
        seen |= set(note["trained_on"])
        student = StudentSpec(kind="model", model=str(folder / STUDENT), prompts=recipe.student.prompts)
        student = student.model_copy(update={"reads": recipe.student.reads, "max_length": recipe.student.max_length})
        if recipe.towers == "separate":
            student = student.model_copy(update={"document_model": str(folder / STUDENT_DOCUMENTS)})
    raise AssertionError("a recipe with stages has a last one")


def _done(folder: Path, stage: Recipe) -> bool:
    """Whether this very stage was run to its end there."""
    return (folder / "run.json").is_file() and (folder / RECIPE).read_text(encoding="utf-8") == stage.to_yaml()
