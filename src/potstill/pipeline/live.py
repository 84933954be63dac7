"""What LEAD needs of a run's teachers: their blocks, as a stored signal or in the training process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..progress import say
from ..recipe import VECTORS, Recipe, Role
from ..signals import SignalStore, fill
from ..teachers import VectorTeacher, open_scorer
from ..teachers.blocks import Place
from .lists import positives_of
from .material import Material
from .pair_scores import candidate_texts
from .scorers import Panel

if TYPE_CHECKING:
    from ..training.data import StoredLayers
    from ..training.rankers import Ranker, ReadTexts
    from ..training.task import Task

TEACHER = "teacher"  # folder of a run, where a teacher was trained too


def open_rankers(recipe: Recipe, teacher: VectorTeacher, panel: Panel) -> dict[str, Ranker]:
    """Copies of the teachers that a recipe brings into the training process, by name.

    Raises:
        InputError: one of them cannot be there.
    """
    trained = recipe.joint.teacher if recipe.joint is not None else None
    found: dict[str, Ranker] = {}
    for name in recipe.live:
        if name == VECTORS:
            from ..training.live_dual_encoder import LiveDualEncoder

            found[name] = LiveDualEncoder(teacher, trained=True)
            continue
        scorer: Any = panel.scorers[name]
        if scorer.kind == "cross-encoder":
            from ..training.live_cross_encoder import LiveCrossEncoder

            found[name] = LiveCrossEncoder(scorer, trained=name == trained)
        elif scorer.kind == "late-interaction":
            from ..training.live_late_interaction import LiveLateInteraction

            found[name] = LiveLateInteraction(scorer, trained=name == trained)
        else:
            raise InputError(
                f"{name} is a {scorer.kind} teacher: its layers cannot be read",
                where="objectives",
                fix="learn from the layers of a cross-encoder, a late-interaction model, or the teacher of vectors",
            )
    return found


def with_trained(recipe: Recipe, panel: Panel, run: Path) -> Panel:
    """The panel with a scorer that was trained in this run beside the one it was: both re-rank the same lists."""
    if recipe.joint is None or recipe.joint.teacher == VECTORS:
        return panel
    name = f"{recipe.joint.teacher} (trained)"
    spec = panel.specs[recipe.joint.teacher].model_copy(update={"name": name, "model": str(run / TEACHER)})
    return Panel({**panel.specs, name: spec}, {**panel.scorers, name: open_scorer(spec)})


def with_layers(material: Material, task: Task, teacher: VectorTeacher, signals: Path | None) -> Material:
    """The material with what layer terms and live teachers read."""
    stored = {term.spec.place for term in task.layer_terms if term.teacher is None}
    if not stored and not task.ranked.rankers:
        return material
    rows = in_question(task, material)
    texts = candidate_texts(material.collection, rows[None, :])
    layers, said = {}, material.teacher
    for place in sorted(stored):
        layers[place], digest = _stored(teacher, place, material, rows, texts, signals)
        said = f"{said} {digest}"
    read: dict[str, ReadTexts] = {}
    for name, ranker in task.ranked.rankers.items():
        read[name] = ranker.read(material.queries.texts, [texts[row] for row in rows.tolist()], rows)
        if ranker.cut:
            say(f"{name}: {ranker.cut:,} texts are longer than its maximum length and are read up to it")
    return replace(material, layers=layers, read=read, teacher=said)


def in_question(task: Task, material: Material) -> np.ndarray:
    """Sorted numbers of the documents that layer terms and live teachers can meet."""
    queries = material.queries
    if any(term.documents == "sample" for term in task.comparing_terms):
        return np.arange(len(material.documents))
    parts = [np.empty(0, dtype=np.int64), queries.documents]
    parts += [part.ravel() for part in (material.lists, positives_of(queries)) if part is not None]
    rows = np.unique(np.concatenate(parts))
    return rows[rows >= 0]


def _stored(
    teacher: VectorTeacher,
    place: Place,
    material: Material,
    rows: np.ndarray,
    texts: Mapping[int, str],
    signals: Path | None,
) -> tuple[StoredLayers, str]:
    """The blocks of the teacher of vectors, from the store; encodes what it lacks."""
    from ..teachers.layer_vectors import LayerVectors
    from ..training.data import SomeVectors, StoredLayers, StoredVectors

    source = LayerVectors(teacher, place)
    queries = material.queries.texts

    def rows_of(role: Role, stream: Callable[[], Iterator[str]], total: int) -> tuple[Any, np.ndarray]:
        table = SignalStore(signals).vectors(source.fingerprint(role))
        fill(table, source, stream(), role, label=f"teacher: layers of {role} texts", total=total)
        return table, table.rows(list(stream()))

    documents = rows_of("document", lambda: (texts[row] for row in rows.tolist()), len(rows))
    asked = rows_of("query", lambda: iter(queries), len(queries))
    held = StoredLayers(
        StoredVectors(*asked), SomeVectors(documents[0], rows, documents[1]), source.depth, source.width
    )
    return held, " ".join(source.fingerprint(role).digest() for role in _ROLES)


_ROLES: tuple[Role, Role] = ("query", "document")
