"""What a recipe trains for when it does not say."""

from __future__ import annotations

from ..recipe import ObjectiveSpec, Recipe


def with_defaults(recipe: Recipe) -> Recipe:
    """A copy with objectives filled in: matching of queries, and of documents where the student encodes them."""
    if recipe.objectives:
        return recipe
    chosen = (ObjectiveSpec(family="match", form="l2", role="query" if recipe.towers == "asymmetric" else "both"),)
    return recipe.model_copy(update={"objectives": chosen})
