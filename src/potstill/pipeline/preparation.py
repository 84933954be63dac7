"""What a run works with before the teacher does: the split, the training queries, the untrained student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..collection import Collection
from ..errors import InputError
from ..progress import say
from ..queries import TrainingQueries, training_queries
from ..recipe import Recipe
from ..teachers import VectorTeacher
from .objectives import settled

if TYPE_CHECKING:
    from ..training.task import Task
    from .scorers import Panel


def judged_split(collection: Collection, recipe: Recipe) -> str | None:
    """The split to evaluate on, or None for a collection without judgments.

    Raises:
        InputError: the named split does not exist, or selection wants a dev split that is not there.
    """
    if recipe.training.select == "dev":
        collection.qrels("dev")
    split = recipe.evaluate.split or ("test" if collection.splits else None)
    if split is not None:
        collection.qrels(split)
        return split
    say("collection: there are no judgments, so agreement with the teacher is measured, not retention")
    return None


def never_trained(collection: Collection, recipe: Recipe, split: str | None) -> set[str]:
    """Ids of the queries that must not enter training: those evaluated or selected by, and the test split's always."""
    splits = {split, "test" if "test" in collection.splits else None}
    if recipe.training.select == "dev":
        splits.add("dev")
    return {query_id for name in splits if name is not None for query_id in collection.qrels(name)}


def gather_queries(recipe: Recipe, collection: Collection, split: str | None) -> TrainingQueries:
    """The training queries of a run; `split` is the one that is evaluated."""
    never = never_trained(collection, recipe, split)
    real = [query_id for query_id in collection.queries if query_id not in never]
    return training_queries(collection, recipe.queries, seed=recipe.training.seed, exclude_ids=never, real_ids=real)


def build_task(
    recipe: Recipe, collection: Collection, teacher: VectorTeacher, queries: TrainingQueries, panel: Panel | None = None
) -> Task:
    """Towers and terms, untrained; `panel` holds the open scorers of the recipe.

    Raises:
        InputError: the student does not fit the teacher.
    """
    from ..students import build_tower
    from ..training.task import Task
    from ..training.terms import build_terms

    seed = recipe.training.seed
    texts = representative(collection, queries)
    tower = build_tower(recipe.student, teacher, texts, seed)
    other = None
    if recipe.towers == "separate":
        other = build_tower(recipe.student, teacher, texts, seed, role="document")
    return Task(
        tower,
        build_terms(settled(recipe, collection.document_count), unit=tower.normalize or teacher.metric == "cosine"),
        mode=recipe.towers,
        document_tower=other,
        metric=teacher.metric,
        seed=seed,
        heads=_heads(recipe, panel, tower.dimensions),
    )


def _heads(recipe: Recipe, panel: Panel | None, width: int) -> dict[str, int]:
    """Width of each matched scorer's vectors that is not the student's."""
    heads: dict[str, int] = {}
    for number, spec in enumerate(recipe.objectives):
        if spec.family != "match" or spec.teacher is None or panel is None:
            continue
        scorer = panel.scorers[spec.teacher]
        if scorer.dimensions is None or "pair_vectors" not in scorer.signals:
            raise InputError(
                f"{spec.teacher} is a {scorer.kind} teacher: it gives scores, and no vectors to match",
                where=f"objectives.{number}.teacher",
                fix="match a dual-pooled teacher (`potstill teach dual-pooled`), or learn from its scores: scores:kl",
            )
        if scorer.dimensions != width:
            heads[spec.teacher] = scorer.dimensions
    return heads


def unit_space(task: Task) -> bool:
    """Whether vectors are of length 1, or compared as if they were."""
    return task.query_tower.normalize or task.metric == "cosine"


def representative(collection: Collection, queries: TrainingQueries) -> Callable[[], Iterator[str]]:
    """Texts that a vocabulary is counted on: every document, and the training queries."""

    def texts() -> Iterator[str]:
        for document in collection.documents():
            yield document.full
        yield from queries.texts

    return texts
