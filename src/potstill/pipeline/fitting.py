"""Training set, validation and the loop, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..candidates import list_scores
from ..candidates.vectors import unit
from ..collection import Collection
from ..evaluation import exact_search, measure, overlap
from ..evaluation.search import Documents
from ..objectives.functional import document_root
from ..progress import say
from ..recipe import Recipe
from ..students import Tokens, Tower
from ..students.counting import chunks
from ..training.data import StoredVectors, TrainingSet
from ..training.loop import train
from ..training.task import Task
from ..training.terms import build_terms
from .hearing import of_all
from .lists import positives_of
from .logged import last_logged
from .material import Material
from .naming import without_key
from .objectives import settled
from .preparation import unit_space
from .relating import calibrated, lines, relate, warnings

_VALIDATION_DOCUMENTS = 20_000  # searched at each validation; more say little more about the student
_OWN_VALIDATION_DOCUMENTS = 1_000  # the same where the student must encode them
_BATCH_TOKENS = 16_384
_TEXTS_AT_ONCE = 4_096
_COLLAPSED = 0.9  # mean cosine between vectors of different texts, from which nothing can be told apart


@dataclass(frozen=True)
class Fitted:
    """What training came to, and what the user should know about it: `told` by topic, as its last update has it."""

    summary: dict[str, Any]
    warnings: list[str]
    told: dict[str, list[str]] = field(default_factory=dict)
    temperatures: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)
    """What was told before training, by topic."""


def fit(recipe: Recipe, task: Task, material: Material, run: Path, resume: bool) -> Fitted:
    """Train the task on the queries (and documents, where the student encodes them); it ends with the best weights."""
    objectives = material.heard.settled(settled(recipe, len(material.documents)))
    task.set_terms(build_terms(objectives, unit=unit_space(task), live=task.ranked.live))
    data = training_set(recipe, task, material)
    objectives, temperatures = calibrated(objectives, recipe, task, data)
    objectives, heard = of_all(objectives, task, data)
    if temperatures or heard:
        task.set_terms(build_terms(objectives, unit=unit_space(task), live=task.ranked.live))
        for line in (*(f"relations: {each}" for each in lines(temperatures)), *(f"teachers: {each}" for each in heard)):
            say(line)
    if any(term.objective.form == "covariance" for term in task.match_terms):
        task.document_root = document_root(map(torch.from_numpy, material.documents)).to(task.device)
    validation = Validation(recipe, task, material)
    public = recipe.model_copy(update={"teacher": without_key(recipe.teacher)})
    identity = {"recipe": public.model_dump_json(exclude={"training", "evaluate", "output"}), **material.identity()}
    last = recipe.training.select == "last"
    validate = None if last else validation
    result = train(task, data, recipe.training, run, validate=validate, resume=resume, digest=identity)
    if last:
        with torch.no_grad():
            validation(task)  # for the warnings
    summary = asdict(result) | {"truncated": data.query_tokens.truncated, "unknown": data.query_tokens.unknown}
    before = {"relations": lines(temperatures), "teachers": heard}
    doubts = [*warnings_of(data, validation, task), *warnings(task)]
    return Fitted(summary, doubts, last_logged(run), temperatures, before)


def training_set(recipe: Recipe, task: Task, material: Material) -> TrainingSet:
    """All that the loop reads, by row."""
    queries, documents, targets = material.queries, material.documents, material.targets
    tokens = task.query_tower.tokens(queries.texts, "query")
    trained = np.empty(0, dtype=np.int64)
    matched = task.document_terms
    if any(term.teacher is None for term in matched):
        trained = np.arange(len(documents))
    elif matched:  # only documents that a scorer has read
        trained = np.unique(np.concatenate([material.heard.targets[str(term.teacher)].rows for term in matched]))
    return TrainingSet(
        query_tokens=tokens,
        query_targets=StoredVectors(targets.table, targets.rows),
        documents=StoredVectors(documents.table, documents.rows),
        document_tokens=material.document_tokens,
        sources=queries.documents,
        mined=material.lists,
        positives=positives_of(queries),
        pair_scores=material.heard.scores,
        pair_targets=material.heard.targets,
        trained_documents=trained,
        layers=material.layers,
        read=material.read,
        relating=relate(task, material),
        whole=material.whole,
    )


class Validation:
    """Cosine with the teacher and top-10 overlap on held-out queries; dev measures where the recipe selects by them."""

    def __init__(self, recipe: Recipe, task: Task, material: Material) -> None:
        collection, documents = material.collection, material.documents
        most = _VALIDATION_DOCUMENTS if task.document_tower is None else _OWN_VALIDATION_DOCUMENTS
        count = len(documents)
        chosen = np.arange(count)
        by_dev = recipe.training.select == "dev"
        if count > most and not by_dev:
            chosen = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
        self.metric = task.metric
        self.tokens = task.query_tower.tokens(material.queries.held_out, "query")
        self.targets = material.held_out.all()
        # All documents of a large corpus are read chunk by chunk at every search, not held.
        self.documents = documents if len(chosen) > _VALIDATION_DOCUMENTS else documents.gather(chosen)
        self.document_tokens = material.document_tokens
        if self.document_tokens is not None and len(chosen) < count:
            self.document_tokens = self.document_tokens.select(chosen)
        self.teacher = exact_search(self.targets, self.documents, 10, metric=self.metric)
        self.dev: tuple[list[str], Tokens, Any, Sequence[str]] | None = None
        if by_dev:
            qrels = collection.qrels("dev")
            ids = [query_id for query_id in qrels if query_id in collection.queries]
            tokens = task.query_tower.tokens([collection.queries[i] for i in ids], "query")
            self.dev = (ids, tokens, qrels, collection.document_ids)
        self.heard = material.heard.held_out
        self.heard_documents: np.ndarray | None = None
        self.heard_tokens: Tokens | None = None
        if self.heard is not None:
            self.wanted = np.unique(self.heard.rows[self.heard.rows >= 0])
            if material.document_tokens is not None:
                self.heard_tokens = material.document_tokens.select(self.wanted)
            else:
                self.heard_documents = documents.gather(self.wanted)
        self.last_similarity = 0.0

    def __call__(self, task: Task) -> Mapping[str, float]:
        """Measures by name; `score` decides."""
        student = encode(task.query_tower, self.tokens)
        documents: Documents = self.documents
        if self.document_tokens is not None:
            assert task.document_tower is not None
            documents = encode(task.document_tower, self.document_tokens)
        found = exact_search(student, documents, 10, metric=self.metric)
        shared = float(overlap(self.teacher, found, min(10, found.rows.shape[1])).mean())
        direction = unit(student)
        mean = direction.mean(axis=0)
        self.last_similarity = float(mean @ mean)
        measures = {
            "cosine": float((direction * unit(self.targets)).sum(axis=1).mean()),
            "overlap@10": shared,
            "score": shared,
        }
        if self.heard is not None:
            measures["agreement with scorers"] = measures["score"] = self._agreement(task, student)
        if self.dev is not None:
            ids, tokens, qrels, document_ids = self.dev
            ranking = exact_search(encode(task.query_tower, tokens), documents, 100, metric=self.metric)
            values = measure(ranking.run(ids, document_ids), qrels, ["nDCG@10"])["nDCG@10"]
            measures["dev nDCG@10"] = measures["score"] = float(np.mean(list(values.values())))
        return measures

    def _agreement(self, task: Task, student: np.ndarray) -> float:
        """With the scorers that are learned from, on lists of held-out queries."""
        assert self.heard is not None
        vectors = self.heard_documents
        if self.heard_tokens is not None:
            assert task.document_tower is not None
            vectors = encode(task.document_tower, self.heard_tokens)
        assert vectors is not None
        held = vectors
        gather = lambda rows: held[np.searchsorted(self.wanted, rows).clip(max=len(held) - 1)]  # noqa: E731
        return self.heard.agreement(list_scores(student[: len(self.heard.rows)], gather, self.heard.rows, self.metric))


def encode(tower: Tower, tokens: Tokens) -> np.ndarray:
    """Vectors (n, d) float32 of texts in length-ordered batches; the tower is left in eval mode."""
    tower.eval()
    lengths = tokens.lengths
    order = np.argsort(-lengths, kind="stable")
    out = np.empty((len(tokens), tower.dimensions), dtype=np.float32)
    start = 0
    with torch.inference_mode():
        while start < len(order):
            size = max(1, _BATCH_TOKENS // max(1, int(lengths[order[start]])))
            rows = order[start : start + size]
            out[rows] = tower(tokens.select(rows)).float().cpu().numpy()
            start += size
    return out


def document_tokens(task: Task, collection: Collection) -> Tokens | None:
    """Every document as the student reads it, in the collection's order; None where the documents are the teacher's."""
    tower = task.document_tower
    if tower is None:
        return None
    return Tokens.join(tower.tokens(block, "document") for block in chunks(collection.texts(), _TEXTS_AT_ONCE))


def warnings_of(data: TrainingSet, validation: Validation, task: Task) -> list[str]:
    """What looks wrong about a finished training."""
    said = []
    count = len(data.query_tokens)
    if data.query_tokens.truncated:
        said.append(
            f"{data.query_tokens.truncated:,} of {count:,} training queries are cut at the student's maximum length"
        )
    if data.document_tokens is not None and data.document_tokens.truncated:
        cut, whole = data.document_tokens.truncated, len(data.document_tokens)
        said.append(f"{cut:,} of {whole:,} documents are cut at the student's maximum length")
    if data.query_tokens.unknown:
        said.append(f"{data.query_tokens.unknown:,} of {count:,} training queries hold no token that the student knows")
    if validation.last_similarity > _COLLAPSED:
        said.append(
            f"the student's vectors have collapsed: different texts have a mean cosine of "
            f"{validation.last_similarity:.2f}; lower training.learning_rate or check the teacher's vectors"
        )
    return said
