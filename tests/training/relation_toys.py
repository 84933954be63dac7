"""A whole task of relations in memory: a small transformer student, banks of every kind, queries with documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from layer_toys import texts

from potstill.candidates.copies import text_groups
from potstill.recipe import BankSpec, ObjectiveSpec, StudentSpec, TeacherSpec
from potstill.students import build_tower
from potstill.teachers import open_teacher
from potstill.training.data import ArrayVectors, TrainingSet
from potstill.training.relation_terms import Relating
from potstill.training.task import Task
from potstill.training.terms import build_terms
from tiny import make_tiny_encoder

QUERIES, DOCUMENTS = 20, 17
QUEUE = {"rows": "queue", "size": 9}


def related(form: str = "bank", role: str = "both", **more: object) -> ObjectiveSpec:
    bank = BankSpec(**more.pop("bank", {}))
    return ObjectiveSpec(family="relations", form=form, role=role, bank=bank, **more)


def relation_task(folder: Path, *specs: ObjectiveSpec) -> tuple[Task, TrainingSet]:
    base = folder / "base"
    if not base.exists():
        make_tiny_encoder(base, layers=2, seed=3)
    bi = open_teacher(TeacherSpec(model=str(base)))
    tower = build_tower(StudentSpec(kind="layers", layers=(0,)), bi, lambda: iter(texts(9, 1)), 0)
    asked, read = texts(QUERIES, 2), texts(DOCUMENTS, 3)
    read[5] = read[4]  # one text twice
    vectors, documents = bi.encode(asked, "query"), bi.encode(read, "document")
    order = np.argsort(-documents @ documents.T, axis=1)
    data = TrainingSet(
        query_tokens=tower.tokens(asked),
        query_targets=ArrayVectors(vectors),
        documents=ArrayVectors(documents),
        document_tokens=tower.tokens(read, "document"),
        sources=np.where(np.arange(QUERIES) % 4, np.arange(QUERIES) % DOCUMENTS, -1),
        trained_documents=np.arange(DOCUMENTS),
        relating=Relating(
            groups={"query": text_groups(asked), "document": text_groups(read)},
            neighbours={"query": np.argsort(-vectors @ documents.T, axis=1)[:, :4], "document": order[:, :5]},
            centroids={3: documents[:3]},
        ),
    )
    return Task(tower, build_terms(specs), mode="shared").train(), data
