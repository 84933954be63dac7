"""A whole task of LEAD in memory: a student of blocks, a teacher of one of the three kinds, queries with lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from potstill.recipe import LayersSpec, ObjectiveSpec, ScorerSpec, StudentSpec, TeacherSpec
from potstill.students import build_tower
from potstill.teachers import open_scorer, open_teacher
from potstill.training.data import ArrayVectors, TrainingSet
from potstill.training.rankers import Ranker
from potstill.training.task import Task
from potstill.training.terms import build_terms
from tiny import make_tiny_cross_encoder, make_tiny_encoder, words

QUERIES, DOCUMENTS, LIST = 6, 17, 4
KINDS = ("dual-encoder", "cross-encoder", "late-interaction")


def texts(count: int, seed: int) -> list[str]:
    """Texts of 1 to 9 known words, so that stretches of a batch differ in length."""
    random = np.random.default_rng(seed)
    known = words()
    return [" ".join(random.choice(known, size=int(random.integers(1, 10)))) for _ in range(count)]


def open_ranker(kind: str, folder: Path, *, trained: bool, depth: int = 3) -> Ranker:
    """A tiny live teacher, made in the folder unless it is there."""
    if kind == "dual-encoder":
        from potstill.training.live_dual_encoder import LiveDualEncoder

        there = folder / "bi"
        model = there if there.exists() else make_tiny_encoder(there, layers=depth, seed=5)
        return LiveDualEncoder(open_teacher(TeacherSpec(model=str(model))), trained=trained)
    if kind == "cross-encoder":
        from potstill.training.live_cross_encoder import LiveCrossEncoder

        there = folder / "cross"
        model = there if there.exists() else make_tiny_cross_encoder(there, layers=depth, scale=2.0, seed=5)
        scorer: Any = open_scorer(ScorerSpec(kind="cross-encoder", name="teacher", model=str(model)))
        return LiveCrossEncoder(scorer, trained=trained)
    from potstill.training.live_late_interaction import LiveLateInteraction
    from tiny import make_tiny_late_interaction

    there = folder / "late"
    model = there if there.exists() else make_tiny_late_interaction(there, layers=depth, seed=5)
    scorer = open_scorer(ScorerSpec(kind="late-interaction", name="teacher", model=str(model)))
    return LiveLateInteraction(scorer, trained=trained)


def layer_task(
    folder: Path,
    kind: str = "dual-encoder",
    *,
    trained: bool = True,
    detach: bool = False,
    layers: dict[str, Any] | None = None,
    student: StudentSpec | None = None,
    form: str = "adaptive",
    temperature: float = 1.0,
) -> tuple[Task, TrainingSet]:
    """LEAD's four terms (three where the teacher is frozen), all of weight 1 and temperature 1, and data for them."""
    ranker = open_ranker(kind, folder, trained=trained)
    base = folder / "base"
    if not base.exists():
        make_tiny_encoder(base, layers=3, normalize=False, similarity="dot", seed=3)
    bi = open_teacher(TeacherSpec(model=str(base)))
    tower = build_tower(student or StudentSpec(kind="layers", layers=(0, 2)), bi, lambda: iter(texts(9, 1)), 0)
    documents = "mined" if ranker.reads_pairs else "pooled"
    common: dict[str, Any] = {"documents": documents, "student_temperature": temperature}
    specs = [
        ObjectiveSpec(family="contrastive", **common),
        ObjectiveSpec(family="scores", form="kl", teacher="teacher", teacher_temperature=temperature, **common),
        ObjectiveSpec(
            family="layers",
            form=form,
            teacher="teacher",
            documents=documents,
            layers=LayersSpec(**({"place": "mean"} | (layers or {}))),
        ),
    ]
    if trained:
        specs.append(ObjectiveSpec(family="contrastive", teacher="teacher", **common))
    ranker.name = "teacher"
    terms = build_terms(specs, live={"teacher": ranker.reads_pairs})
    task = Task(tower, terms, mode="shared", rankers={"teacher": ranker}, detach=detach)
    asked, read = texts(QUERIES, 2), texts(DOCUMENTS, 3)
    random = np.random.default_rng(4)
    lists = np.stack([random.choice(DOCUMENTS, LIST, replace=False) for _ in range(QUERIES)])
    lists[1, -1] = -1
    rows = np.arange(DOCUMENTS)
    data = TrainingSet(
        query_tokens=tower.tokens(asked),
        query_targets=ArrayVectors(bi.encode(asked, "query")),
        documents=ArrayVectors(bi.encode(read, "document")),
        document_tokens=tower.tokens(read, "document"),
        mined=lists,
        positives=lists[:, :1],
        read={"teacher": ranker.read(asked, read, rows)},
    )
    return task.train(), data


def gradients(task: Task) -> dict[str, torch.Tensor]:
    """Copies of the gradients there are, by name."""
    return {name: p.grad.clone() for name, p in task.named_trainable() if p.grad is not None}
