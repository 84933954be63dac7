"""What a run works with before the teacher does: the split, the training queries, the untrained student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..collection import Collection
from ..errors import InputError
from ..progress import say
from ..queries import TrainingQueries, open_generator, training_queries
from ..recipe import Recipe, Role
from ..teachers import VectorTeacher
from .augmenting import augmentation
from .live import open_rankers
from .objectives import settled
from .scorers import Panel

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


def judged_positives(collection: Collection, recipe: Recipe, split: str | None) -> dict[str, list[int]] | None:
    """Rows of the documents judged to fit, by query id, of the split that `queries.judgments` names; None: of none.

    Args:
        collection: where the judgments are.
        recipe: the run.
        split: the one that is evaluated.

    Raises:
        InputError: there is no such split, or it is one that a run must not learn from.
    """
    name = recipe.queries.judgments
    if name is None:
        return None
    uses = {"test": "it is for testing alone", split: "the run is evaluated on it"}
    if recipe.training.select == "dev":
        uses.setdefault("dev", "training.select chooses the student by it")
    if name in uses:
        raise InputError(
            f"judgments of the split {name} must not be learned from: {uses[name]}",
            where="queries.judgments",
            fix="name another split, such as train",
        )
    qrels = collection.qrels(name)
    pairs = [(query, document) for query, grades in qrels.items() for document, grade in grades.items() if grade > 0]
    found: dict[str, list[int]] = {query: [] for query in qrels}
    rows = collection.document_ids.rows([document for _, document in pairs])
    for (query, _), row in zip(pairs, rows.tolist(), strict=True):
        if row >= 0:
            found[query].append(row)
    return found


def gather_queries(
    recipe: Recipe, collection: Collection, split: str | None, signals: Path | None = None, *, generate: bool = True
) -> TrainingQueries:
    """The training queries of a run.

    Args:
        recipe: the run.
        collection: documents, queries and judgments.
        split: the one that is evaluated.
        signals: folder of the signal store, where generated queries are kept.
        generate: False leaves out those that a model would have to write.

    Raises:
        InputError: see `training_queries`, `judged_positives` and `open_generator`.
    """
    never = never_trained(collection, recipe, split)
    judged = judged_positives(collection, recipe, split)
    spec, seed = recipe.queries, recipe.training.seed
    generator = None
    if generate and spec.generator is not None and spec.generated > 0:
        generator = open_generator(spec.generator, seed, signals)
    return training_queries(
        collection,
        spec,
        seed=seed,
        exclude_ids=never,
        real_ids=[query_id for query_id in collection.queries if query_id not in never],
        judged=judged,
        generator=generator,
    )


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
    rankers = open_rankers(recipe, teacher, panel or Panel())
    terms = build_terms(
        settled(recipe, collection.document_count),
        unit=tower.normalize or teacher.metric == "cosine",
        live={name: ranker.reads_pairs for name, ranker in rankers.items()},
    )
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
        heads=_heads(recipe, panel, tower.dimensions),
        augmentation=augmentation(recipe, teacher, towers, terms, seed),
        rankers=rankers,
        detach=recipe.joint is not None and recipe.joint.detach,
        teacher_rate=None if recipe.joint is None else recipe.joint.learning_rate,
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
