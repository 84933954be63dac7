"""What relations need of a run: identities of texts, the teacher's neighbours, centroids, and temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn.functional import normalize

from ..candidates.copies import text_groups
from ..errors import InputError
from ..evaluation import exact_search
from ..objectives import calibrate_temperature
from ..progress import say
from ..recipe import ObjectiveSpec, Recipe, Role
from .material import Material

if TYPE_CHECKING:
    from ..training.data import TrainingSet
    from ..training.relation_terms import Relating, RelationTerm
    from ..training.task import Task

ANCHORS = 1_000  # texts that a temperature is calibrated on
_AT_ONCE = 128  # of them share a bank, as the texts of a batch do
_SAMPLE = 20_000  # rows of a bank that a temperature is calibrated against at most


def relate(task: Task, material: Material) -> Relating:
    """All that the task's relation terms read; nothing where it has none."""
    from ..training.relation_terms import CENTROIDS, Relating

    terms = task.relations.terms
    if not terms:
        return Relating()
    groups: dict[Role, np.ndarray] = {
        "query": text_groups(material.queries.texts),
        "document": text_groups(material.collection.texts()),
    }
    neighbours: dict[Role, np.ndarray] = {}
    for role in cast("tuple[Role, ...]", ("query", "document")):
        wanted = [term.bank.neighbours for term in terms if term.rows == "store" and role in term.roles]
        if not wanted:
            continue
        texts = material.targets if role == "query" else material.documents
        say(f"relations: the {max(wanted):,} documents nearest to each of {len(texts):,} {_many(role)}")
        depth = min(max(wanted) + (role == "document"), len(material.documents))
        neighbours[role] = exact_search(texts.all(), material.documents, depth, metric=task.metric).rows
    sizes = {term.bank.size or CENTROIDS for term in terms if term.rows == "centroids"}
    return Relating(groups, neighbours, {size: _centroids(material, size, task.seed) for size in sizes})


def _centroids(material: Material, size: int, seed: int) -> np.ndarray:
    """Centres of the documents' vectors."""
    from sklearn.cluster import MiniBatchKMeans

    if size > len(material.documents):
        raise InputError(
            f"{size:,} centroids of {len(material.documents):,} documents",
            where="objectives: bank.size",
            fix="give fewer, or rows: all",
        )
    say(f"relations: {size:,} centroids of {len(material.documents):,} documents")
    means = MiniBatchKMeans(size, random_state=seed, n_init=1, batch_size=4_096)
    found: np.ndarray = means.fit(material.documents.all()).cluster_centers_
    return found.astype(np.float32)


def calibrated(
    objectives: Sequence[ObjectiveSpec], recipe: Recipe, task: Task, data: TrainingSet
) -> tuple[tuple[ObjectiveSpec, ...], list[dict[str, Any]]]:
    """The objectives with the temperatures that they left open, and what these came from.

    Args:
        objectives: in the order of the task's terms.
        recipe: decides the size of a batch.
        task: with its terms.
        data: with what relations read.

    Raises:
        InputError: so many effective neighbours cannot be had.
    """
    found, told = [], []
    for number, (spec, term) in enumerate(zip(objectives, task.terms, strict=False)):
        if not spec.wants_calibration:
            found.append(spec)
            continue
        relation = cast("RelationTerm", term)
        scores, mask = _planned(relation, task, data, recipe.training.max_texts_per_batch or _AT_ONCE)
        try:
            got = calibrate_temperature(scores, spec.bank.perplexity, mask)
        except ValueError as error:
            raise InputError(
                str(error), where=f"objectives.{number}.bank.perplexity", fix="set one in reach, or temperatures"
            ) from None
        student = spec.student_temperature or spec.bank.ratio * got.temperature
        told.append(
            {
                "term": term.name,
                "teacher_temperature": got.temperature,
                "student_temperature": student,
                "effective_neighbours": got.perplexity,
                "first_neighbour": got.top1_mass,
                "texts": got.rows,
                "rows": int(mask.sum(dim=1).max()),
            }
        )
        found.append(spec.model_copy(update={"teacher_temperature": got.temperature, "student_temperature": student}))
    return tuple(found), told


def lines(told: Sequence[dict[str, Any]]) -> list[str]:
    """What temperatures came from, for people."""
    return [
        f"{each['term']}: teacher temperature {each['teacher_temperature']:.4g} gives the median of {each['texts']:,} "
        f"texts {each['effective_neighbours']:.3g} effective neighbours among {each['rows']:,} (the first has "
        f"{each['first_neighbour']:.2f} of the mass); student {each['student_temperature']:.4g}"
        for each in told
    ]


def warnings(task: Task) -> list[str]:
    """Settings that are known to lose something."""
    said = []
    for term in task.relations.terms:
        student, teacher = (getattr(term.inner, f"{side}_temperature", 0.0) for side in ("student", "teacher"))
        if student < teacher:
            said.append(
                f"{term.name}: the student's temperature ({student:.4g}) is below the teacher's ({teacher:.4g}), which "
                "wastes the length of its vectors on directions in which the bank hardly varies"
            )
    return said


def _planned(term: RelationTerm, task: Task, data: TrainingSet, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's scores (n, m) of some texts with what they will be related to, and which of them count."""
    random = np.random.default_rng([task.seed, 3])
    parts = [part for role in term.roles for part in _parts(term, role, task, data, batch, random)]
    widest = max(scores.shape[1] for scores, _ in parts)
    pad = torch.nn.functional.pad
    return (
        torch.cat([pad(scores, (0, widest - scores.shape[1])) for scores, _ in parts]),
        torch.cat([pad(mask, (0, widest - mask.shape[1])) for _, mask in parts]),
    )


def _parts(
    term: RelationTerm, role: Role, task: Task, data: TrainingSet, batch: int, random: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    from ..training.relations import NOBODY

    held = np.arange(data.queries) if role == "query" else data.trained_documents
    source = data.query_targets if role == "query" else data.documents
    assert source is not None
    anchors = random.permutation(held)[: ANCHORS // len(term.roles)]
    for start in range(0, len(anchors), _AT_ONCE):
        texts = anchors[start : start + _AT_ONCE]
        vectors, ids = _unit(task, source.gather(texts)), data.relating.ids(role, texts)
        if term.rows in ("queue", "batch"):
            size = batch if term.rows == "batch" else task.relations.queue_size(term)
            others = random.permutation(held)[: min(size, _SAMPLE)]
            rows, row_ids = _unit(task, source.gather(others)), data.relating.ids(role, others)
        else:
            bank = task.relations.bank(term, data, role, texts, random, task.device)
            kept = slice(None) if len(bank.rows) <= _SAMPLE else random.permutation(len(bank.rows))[:_SAMPLE]
            rows, row_ids = _unit(task, bank.rows[kept].cpu().numpy()), bank.ids[kept].cpu().numpy()
            ids = ids if role == "document" else np.full(len(texts), NOBODY)
        mask = torch.from_numpy(ids[:, None] != row_ids)
        yield vectors @ rows.T, mask


def _unit(task: Task, vectors: np.ndarray) -> torch.Tensor:
    found = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
    return normalize(found, dim=1) if task.metric == "cosine" else found


def _many(role: Role) -> str:
    return "training queries" if role == "query" else "documents"
