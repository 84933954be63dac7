"""What a run works with before the teacher does: the split, the training queries, the untrained student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..collection import Collection
from ..progress import say
from ..queries import TrainingQueries, training_queries
from ..recipe import Recipe, Role
from ..teachers import VectorTeacher
from .augmenting import augmentation
from .objectives import settled

if TYPE_CHECKING:
    from ..students import Tower
    from ..training.task import Task


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


def build_task(recipe: Recipe, collection: Collection, teacher: VectorTeacher, queries: TrainingQueries) -> Task:
    """Towers and terms, untrained.

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
    terms = build_terms(settled(recipe, collection.document_count), unit=tower.normalize or teacher.metric == "cosine")
    towers: dict[Role, Tower] = {"query": tower}
    if recipe.towers != "asymmetric":
        towers["document"] = other or tower
    return Task(
        tower,
        terms,
        mode=recipe.towers,
        document_tower=other,
        metric=teacher.metric,
        seed=seed,
        augmentation=augmentation(recipe, teacher, towers, terms, seed),
    )


def representative(collection: Collection, queries: TrainingQueries) -> Callable[[], Iterator[str]]:
    """Texts that a vocabulary is counted on: every document, and the training queries."""

    def texts() -> Iterator[str]:
        for document in collection.documents():
            yield document.full
        yield from queries.texts

    return texts
