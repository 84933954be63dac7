"""What a recipe trains for when it does not say, and on which documents."""

from __future__ import annotations

from ..recipe import ObjectiveSpec, Recipe

# Chosen on SciFact's and NFCorpus's training judgments: 3 was no worse than 1 there, and better for small students.
_SCORES = 3.0
_ALL = 20_000  # documents up to which every query is compared with all of them at every step


def with_defaults(recipe: Recipe) -> Recipe:
    """A copy with objectives filled in.

    Asymmetric: matching of queries beside score distillation over the teacher's own documents; the scores say which
    differences between query vectors matter. Otherwise matching of queries and documents.
    """
    if recipe.objectives:
        return recipe
    if recipe.towers == "asymmetric":
        chosen: tuple[ObjectiveSpec, ...] = (
            ObjectiveSpec(family="match", form="l2"),
            ObjectiveSpec(family="scores", form="kl", weight=_SCORES),
        )
    else:
        chosen = (ObjectiveSpec(family="match", form="l2", role="both"),)
    return recipe.model_copy(update={"objectives": chosen})


def settled(recipe: Recipe, documents: int) -> tuple[ObjectiveSpec, ...]:
    """The objectives with `documents: auto` decided for a corpus of this many documents."""
    choice = "batch" if recipe.towers != "asymmetric" else "all" if documents <= _ALL else "sample"
    return tuple(
        spec.model_copy(update={"documents": "mined" if spec.needs_lists else choice})
        if spec.documents == "auto"
        else spec
        for spec in recipe.objectives
    )
