"""Each training query's own list of documents, for objectives that compare on `documents: mined`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..candidates import Candidates, assemble, lists, padded, with_sources
from ..collection import Collection
from ..evaluation.search import Metric
from ..queries import TrainingQueries
from ..recipe import Recipe
from ..texts import digest
from .vectors import Vectors

FOLDER = "candidates"


def wanted(recipe: Recipe) -> bool:
    """Whether some objective reads lists."""
    named = any(spec.documents in ("mined", "pooled") or spec.needs_lists for spec in recipe.objectives)
    return named or bool(recipe.live) or any(spec.family == "layers" for spec in recipe.objectives)


def positives_of(queries: TrainingQueries) -> np.ndarray | None:
    """`(q, p)` documents that each training query was judged to fit, padded with -1; None: nothing was judged."""
    return padded(queries.positives) if any(map(len, queries.positives)) else None


def query_names(collection: Collection, texts: Sequence[str]) -> list[str]:
    """An id for each query text: the collection's own where it is one of its queries, else one made of the text.

    So that candidates that were saved, or a run file, are those of the same query in any other run.
    """
    own = {" ".join(text.split()): query_id for query_id, text in collection.queries.items()}
    return [own.get(" ".join(text.split())) or f"text:{digest(text).hex()}" for text in texts]


def judged_lists(collection: Collection) -> dict[str, dict[str, int]]:
    """Which documents were judged for each query of any split; of them all that is used is that they are candidates."""
    found: dict[str, dict[str, int]] = {}
    for split in collection.splits:
        for query, grades in collection.qrels(split).items():
            found.setdefault(query, {}).update(dict.fromkeys(grades, 0))
    return found


def training_lists(
    recipe: Recipe,
    collection: Collection,
    queries: TrainingQueries,
    documents: Vectors,
    targets: Vectors,
    metric: Metric,
    teacher: str,
) -> tuple[Candidates, np.ndarray] | None:
    """Candidates with their provenance, and lists of them; None where no objective reads lists.

    Lists are `(q, 1 + candidates.count)` document rows: a positive where one is known, then the best candidates; -1
    padded. A query that was cut from a document, or written for one, has that document as its positive here.

    Args:
        recipe: the run.
        collection: its documents.
        queries: the training queries.
        documents: the teacher's vectors of all documents.
        targets: the teacher's vectors of the training queries.
        metric: how the teacher compares.
        teacher: its name.
    """
    if not wanted(recipe):
        return None
    ids = query_names(collection, queries.texts)
    names = collection.document_ids
    judged = {i: {names[row] for row in rows.tolist()} for i, rows in zip(ids, queries.positives, strict=True)}
    found = assemble(
        recipe.candidates,
        query_ids=ids,
        query_texts=queries.texts,
        query_vectors=targets.all(),
        documents=documents,
        document_ids=names,
        document_texts=collection.texts,
        positives=with_sources(ids, queries.documents, names, judged),
        metric=metric,
        seed=recipe.training.seed,
        teacher=teacher,
        judged=judged_lists(collection) if "judged" in recipe.candidates.sources else None,
    )
    rows: np.ndarray = lists(found, queries.documents, recipe.candidates.count)
    if recipe.candidates.judged_only:
        rows[[not len(known) for known in queries.positives]] = -1
    return found, rows
