"""For each judged query the documents that a model or BM25 finds: negatives to learn from, lists to re-rank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..candidates import (
    Candidates,
    Search,
    bm25_for,
    by_judgments,
    by_ranking,
    by_vectors,
    by_words,
    drawn_to_read,
    known_positives,
    merge,
    mine,
    skip_first,
)
from ..collection import Collection
from ..progress import say
from ..recipe import TeacherSpec, TeachSpec
from ..teachers import open_teacher
from ..teachers.loading import find_model
from ..teaching.judged import Judged
from .vectors import document_vectors, query_vectors

BM25, JUDGED = "bm25", "judged"


@dataclass(frozen=True)
class Mined:
    """Candidates by the collection's document rows.

    Attributes:
        negatives: of the training queries, none of them a known positive.
        lists: of the held-out queries, as found.
        met: `(q, c)` documents that the miners find for the training queries, positives among them; None: all will do.
        miners: what found them.
    """

    negatives: Candidates
    lists: Candidates
    met: np.ndarray | None
    miners: tuple[str, ...]


def miners_of(spec: TeachSpec) -> tuple[str, ...]:
    """What finds candidates: as asked, or the base where it is a model of vectors, or BM25."""
    if spec.miner:
        return tuple(dict.fromkeys(spec.miner))
    if _gives_vectors(spec.base, spec.revision):
        return (spec.base,)
    say(f"mining: {spec.base} is no model of vectors, so BM25 finds the negatives; --miner names another")
    return (BM25,)


def mine_lists(collection: Collection, judged: Judged, spec: TeachSpec, signals: Path | None) -> Mined:
    """Search the collection for every judged query.

    Raises:
        InputError: a miner that is no model of vectors.
    """
    train, held_out = list(judged.train), list(judged.held_out)
    texts = [collection.queries[query] for query in (*train, *held_out)]
    documents = collection.document_ids
    known = known_positives(train, documents, judged.train)
    # One search finds what the miner meets and, without the known positives among it, the negatives.
    depth, rerank = min(spec.depth + spec.skip, len(documents)), min(spec.rerank, len(documents))
    deep = min(spec.depth + spec.skip + known.most, len(documents))
    miners = miners_of(spec)
    negatives, lists, met = [], [], []
    for miner in miners:
        of_train, of_held_out, settings = _searches(miner, collection, judged, texts, spec, signals)
        settings = {"miner": Path(miner).name, "depth": spec.depth, "skip": spec.skip, **settings}
        source = miner if miner in (BM25, JUDGED) else "vectors"
        rows, scores = of_train(deep, [np.empty(0, dtype=np.int64)] * len(train))
        if spec.within_depth:
            met.append(rows[:, : spec.depth])
        found = mine(
            by_ranking(rows, scores), train, documents, depth, source=source, settings=settings, positives=known
        )
        negatives.append(skip_first(found, spec.skip))
        lists.append(mine(of_held_out, held_out, documents, rerank, source=source, settings=settings))
    found_rows = np.concatenate(met, axis=1) if met else None
    return Mined(merge(negatives, spec.depth), merge(lists, spec.rerank), found_rows, miners)


def _searches(
    miner: str,
    collection: Collection,
    judged: Judged,
    texts: Sequence[str],
    spec: TeachSpec,
    signals: Path | None,
) -> tuple[Search, Search, dict[str, Any]]:
    """Searches for the queries of `judged.train`, and for those held out; and what made them, for the provenance."""
    train = len(judged.train)
    if miner == JUDGED:
        names = collection.document_ids
        of_train = by_judgments(list(judged.train), names, collection.qrels(spec.split))
        return of_train, by_judgments(list(judged.held_out), names, judged.grades), {}
    if miner == BM25:
        read = drawn_to_read(collection.document_count, spec.training.seed)
        index = bm25_for(collection.texts(), collection.texts(read))
        return by_words(texts[:train], index), by_words(texts[train:], index), index.settings
    teacher = open_teacher(TeacherSpec(model=miner, revision=spec.revision if miner == spec.base else None))
    documents = document_vectors(teacher, collection, signals)
    vectors = query_vectors(teacher, texts, signals, "miner: judged queries").all()
    return (
        by_vectors(vectors[:train], documents, teacher.metric),
        by_vectors(vectors[train:], documents, teacher.metric),
        {},
    )


def _gives_vectors(model: str, revision: str | None) -> bool:
    """Whether a model is a sentence-transformers model of vectors, by its `modules.json`."""
    name, local = find_model(model)
    try:
        if local:
            path = Path(name) / "modules.json"
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(name, "modules.json", revision=revision))
        kinds = [str(module["type"]).rpartition(".")[2] for module in json.loads(path.read_text(encoding="utf-8"))]
    except Exception:  # not there, not reachable, not whole: opening the base says what is wrong with it
        return False
    return "Pooling" in kinds
