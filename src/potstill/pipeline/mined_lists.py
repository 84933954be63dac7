"""For each judged query the documents that a model or BM25 finds: negatives to learn from, lists to re-rank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..candidates import Bm25Index, Candidates, Search, by_vectors, by_words, merge, mine
from ..collection import Collection
from ..progress import say
from ..recipe import TeacherSpec, TeachSpec
from ..teachers import open_teacher
from ..teachers.sentence_encoder import find_model
from ..teaching.judged import Judged
from .vectors import document_vectors, query_vectors

BM25 = "bm25"


@dataclass(frozen=True)
class Mined:
    """Candidates by the collection's document rows.

    Attributes:
        negatives: of the training queries, none of them a known positive.
        lists: of the held-out queries, as found.
        reach: of the training queries, as found, positives too; None where nothing depends on it.
        miners: what found them.
    """

    negatives: Candidates
    lists: Candidates
    reach: Candidates | None
    miners: tuple[str, ...]


def miners_of(spec: TeachSpec) -> tuple[str, ...]:
    """What finds candidates: as asked, or the base where it is a model of vectors, or BM25."""
    if spec.miner:
        return tuple(dict.fromkeys(spec.miner))
    if _gives_vectors(spec.base):
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
    miners = miners_of(spec)
    negatives, lists, reach = [], [], []
    for miner in miners:
        searches = _searches(miner, collection, texts, len(train), signals)
        settings = {"miner": Path(miner).name, "depth": spec.depth, "skip": spec.skip}
        source = BM25 if miner == BM25 else "vectors"
        found = mine(
            searches[0],
            train,
            collection.document_ids,
            min(spec.depth + spec.skip, collection.document_count),
            source=source,
            settings=settings,
            positives=judged.train,
        )
        negatives.append(_after(found, spec.skip))
        depth = min(spec.rerank, collection.document_count)
        lists.append(mine(searches[1], held_out, collection.document_ids, depth, source=source, settings=settings))
        if spec.found_only:
            deep = min(spec.depth, collection.document_count)
            reach.append(mine(searches[0], train, collection.document_ids, deep, source=source, settings=settings))
    return Mined(
        merge(negatives, spec.depth), merge(lists, spec.rerank), merge(reach, spec.depth) if reach else None, miners
    )


def _searches(
    miner: str, collection: Collection, texts: Sequence[str], train: int, signals: Path | None
) -> tuple[Search, Search]:
    """Searches for the first `train` of the texts, and for the others."""
    if miner == BM25:
        index = Bm25Index(document.full for document in collection.documents())
        return by_words(texts[:train], index), by_words(texts[train:], index)
    teacher = open_teacher(TeacherSpec(model=miner))
    documents = document_vectors(teacher, collection, signals)
    vectors = query_vectors(teacher, texts, signals, "miner: judged queries").all()
    return (
        by_vectors(vectors[:train], documents, teacher.metric),
        by_vectors(vectors[train:], documents, teacher.metric),
    )


def _after(found: Candidates, skip: int) -> Candidates:
    if not skip:
        return found
    return Candidates(
        found.query_ids,
        found.rows[:, skip:].copy(),
        found.scores[:, skip:].copy(),
        found.source[:, skip:].copy(),
        found.provenance,
        found.documents,
        found.document_digest,
    )


def _gives_vectors(model: str) -> bool:
    """Whether a model is a sentence-transformers model of vectors, by its `modules.json`."""
    name, local = find_model(model)
    try:
        if local:
            path = Path(name) / "modules.json"
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(name, "modules.json"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in json.loads(path.read_text(encoding="utf-8"))]
    except Exception:  # not there, not reachable, not whole: opening the base says what is wrong with it
        return False
    return "Pooling" in kinds
