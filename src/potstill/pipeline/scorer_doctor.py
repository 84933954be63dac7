"""What a recipe's scorers will cost, and what cannot work with them, seen before work starts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..collection import Collection
from ..progress import duration
from ..queries import TrainingQueries
from ..recipe import Recipe
from ..signals import pair_text
from .list_scorers import ListScorer
from .lists import wanted
from .scorers import Panel

_PAIRS = 16  # read to know the speed


def scorers_cost(
    recipe: Recipe,
    panel: Panel,
    collection: Collection,
    queries: TrainingQueries,
    split: str | None,
    documents: Sequence[str],
) -> list[str]:
    """A sentence for each scorer: how many pairs it will read, and about how long that takes.

    Args:
        recipe: the run.
        panel: its scorers, open.
        collection: its judged queries are re-ranked.
        queries: the training queries.
        split: the judged split; None: nothing is re-ranked.
        documents: a few texts to try.
    """
    said = []
    for name, scorer in panel.scorers.items():
        listened = any(spec.listens_to(name) for spec in recipe.objectives)
        pairs = len(queries.texts) * (1 + recipe.candidates.count) if listened and wanted(recipe) else 0
        if split is not None:
            pairs += len(collection.qrels(split)) * min(recipe.evaluate.rerank, collection.document_count)
        some = [pair_text(queries.texts[i % len(queries.texts)], text) for i, text in enumerate(documents[:_PAIRS])]
        if isinstance(scorer, ListScorer):
            said.append(f"{name} ({scorer.kind}): at most {pairs:,} scores, which are looked up")
            continue
        source = scorer.source("scores")
        before = time.perf_counter()
        source.encode(some, "pair")
        each = (time.perf_counter() - before) / max(len(some), 1)
        why = "" if listened else "; no objective listens to it, so it is only measured"
        said.append(
            f"{name} ({scorer.kind}): at most {pairs:,} pairs to read, about {duration(pairs * each)} on this machine,"
            f" from a short trial{why}"
        )
    return said
