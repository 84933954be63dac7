"""Distil: a recipe in, a run folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..recipe import Recipe
from .objectives import with_defaults
from .one import distill_one
from .runfolder import claimed
from .stages import distill_stages


def distill(recipe: Recipe, run: Path, *, resume: bool = False, signals: Path | None = None) -> dict[str, Any]:
    """Distil a student as the recipe says, and prove what was kept.

    Writes into `run`: `recipe.yaml`, `metrics.jsonl`, `checkpoints/`, `student/` (and `student-documents/` where the
    towers are separate), `evaluation.json`, `per_query.jsonl`, `run.json` and `report.html`; `candidates/` where an
    objective reads lists, `reranking.json` where there are scorers. A teacher that is trained too is written to
    `teacher/`, and what became of it to `teacher.json` (or `reranking.json`, where it is a scorer). Of a recipe with
    stages the last one's run lies in `run`, the others' in `run/stages/1` and so on.

    Args:
        recipe: the whole run.
        run: folder to write; must be new or empty unless `resume`.
        resume: go on with the run in that folder.
        signals: folder of the signal store; None: POTSTILL_HOME or the user's cache.

    Returns:
        What `evaluation.json` holds.

    Raises:
        InputError: something in the input is wrong; told before work starts wherever it can be seen then.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    if not recipe.stages:
        recipe = with_defaults(recipe)
    with claimed(run, recipe, resume=resume):
        if recipe.stages:
            return distill_stages(recipe, run, resume=resume, signals=signals)
        return distill_one(recipe, run, resume=resume, signals=signals)
