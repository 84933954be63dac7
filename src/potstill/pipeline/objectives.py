"""What a recipe trains for when it does not say, and on which documents."""

from __future__ import annotations

from typing import Any

from ..recipe import VECTORS, ObjectiveSpec, Recipe

# Chosen on SciFact's and NFCorpus's training judgments: 3 was no worse than 1 there, and better for small students.
_SCORES = 3.0
_LIVE_TEMPERATURE = 1.0  # of a scorer in the training process, which nobody could calibrate: as LEAD publishes it
_ALL = 20_000  # documents up to which every query is compared with all of them at every step


def with_defaults(recipe: Recipe) -> Recipe:
    """A copy with objectives filled in.

    Asymmetric: matching of queries beside score distillation over the teacher's own documents; the scores say which
    differences between query vectors matter. Otherwise matching of queries and documents.
    """
    if recipe.objectives or recipe.student.reads == "pairs":
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
    kinds = {str(scorer.name): scorer.kind for scorer in recipe.scorers}
    found = []
    for spec in (*recipe.objectives, *_of_teacher(recipe)):
        if spec.family == "relations":
            found.append(_related(spec, documents))
            continue
        live = spec.teacher in recipe.live
        more: dict[str, Any] = {}
        if spec.documents == "auto":
            pooled = spec.family == "layers" or (live and spec.form != "margin-mse")
            pairs = live and kinds.get(str(spec.teacher)) == "cross-encoder"
            more["documents"] = (
                "mined" if pairs or (spec.needs_lists and not pooled) else "pooled" if pooled else choice
            )
        if live and spec.teacher in kinds and spec.wants_temperature:
            more["teacher_temperature"] = _LIVE_TEMPERATURE
        found.append(spec.model_copy(update=more))
    return tuple(found)


def _related(spec: ObjectiveSpec, documents: int) -> ObjectiveSpec:
    """A relation with its bank decided: all documents where they are few, else some of the store."""
    if spec.form != "bank" or spec.bank.rows != "auto" or spec.bank.preset is not None:
        return spec
    rows = "store" if documents > _ALL or spec.bank.corrected else "all"
    return spec.model_copy(update={"bank": spec.bank.model_copy(update={"rows": rows})})


def _of_teacher(recipe: Recipe) -> tuple[ObjectiveSpec, ...]:
    """The contrastive term of a teacher that is trained too: as LEAD has it, on what it is compared on anyway."""
    joint = recipe.joint
    if joint is None or not joint.contrastive:
        return ()
    temperature = None if joint.teacher == VECTORS else _LIVE_TEMPERATURE
    beside = next((spec for spec in recipe.objectives if spec.family == "contrastive"), None)
    count = None if beside is None else beside.count
    return (
        ObjectiveSpec(
            family="contrastive",
            teacher=joint.teacher,
            weight=joint.contrastive,
            student_temperature=temperature,
            count=count,
        ),
    )
