"""One distillation, in a folder that is held for it: of a student that encodes texts, or of one that reads pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..recipe import Recipe
from .ranking import RankerRun
from .single import Distillation


def distill_one(
    recipe: Recipe,
    run: Path,
    *,
    resume: bool,
    signals: Path | None,
    before: Sequence[str] = (),
    seen: Sequence[str] = (),
) -> dict[str, Any]:
    """Distil in a folder that is claimed already.

    Args:
        recipe: with its objectives.
        run: the folder.
        resume: see `distill`.
        signals: see `distill`.
        before: what came of earlier stages, to be told.
        seen: splits that these were trained on.
    """
    kind = RankerRun if recipe.student.reads == "pairs" else Distillation
    return kind(recipe, run, resume, signals, before, seen).go()
