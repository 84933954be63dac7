"""The head that makes an index smaller: fitted on the teacher's vectors, kept with the student, written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from ..atomic import write_json
from ..collection import Collection
from ..errors import InputError
from ..objectives.functional import sphere_neighbours
from ..progress import meter
from ..recipe import IndexSpec, Recipe
from ..teachers import VectorTeacher
from ..teachers.compressed import HEAD, CompressedTeacher, read_head, write_head
from .vectors import Vectors

INDEX = "index"
_SEEN = 50_000  # documents that a head is fitted on at most


def check_index(recipe: Recipe, teacher: VectorTeacher, documents: int) -> None:
    """See that a smaller index makes sense.

    Raises:
        InputError: the width is not smaller, or there is too little to fit a head on.
    """
    spec = recipe.index
    if spec is None:
        return
    if not spec.width < teacher.dimensions:
        raise InputError(
            f"an index of {spec.width} numbers a document is not smaller than the teacher's {teacher.dimensions}",
            where="index.width",
            fix=f"give less than {teacher.dimensions}",
        )
    if documents < 2 * spec.width:
        raise InputError(
            f"{documents:,} documents are too few to fit a head of {spec.width} numbers on",
            where="index.width",
            fix=f"give at most {documents // 2}",
        )


def compressed(
    spec: IndexSpec, teacher: VectorTeacher, documents: Vectors, run: Path, *, seed: int, resume: bool
) -> tuple[CompressedTeacher, list[str]]:
    """The teacher through its head, and what to tell of it; the head lands in the run's folder.

    Args:
        spec: how it is fitted.
        teacher: the whole one.
        documents: its vectors of every document.
        run: folder of the run; a run that goes on takes the head that is there.
        seed: of the draws.
        resume: whether the run goes on.
    """
    path = run / HEAD
    if resume and path.is_file():
        return CompressedTeacher(teacher, read_head(path)), []
    random = np.random.default_rng([seed, 7])
    rows = np.sort(random.permutation(len(documents))[:_SEEN])
    vectors = normalize(torch.from_numpy(documents.gather(rows)), dim=1)
    head, told = fitted(spec, vectors, random)
    write_head(path, head)
    return CompressedTeacher(teacher, head), told


def fitted(spec: IndexSpec, vectors: torch.Tensor, random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """The head `(width, D)` for unit vectors `(n, D)`, and what to tell of it."""
    moments = vectors.T.double() @ vectors.double() / len(vectors)
    values, directions = torch.linalg.eigh(moments)
    weight = directions[:, -spec.width :].flip(1).T.float().contiguous()
    kept = float(values[-spec.width :].sum() / values.sum())
    told = [f"{spec.width} numbers hold {kept:.1%} of the documents' second moments"]
    if spec.by == "pca":
        return weight.numpy(), told

    def loss(head: torch.Tensor, some: np.ndarray) -> torch.Tensor:
        seen = vectors[some]
        return sphere_neighbours(seen @ head.T, seen, spec.temperatures)

    size = min(spec.batch, len(vectors))
    probe = random.permutation(len(vectors))[:size]
    head = weight.clone().requires_grad_()
    optimiser = torch.optim.Adam([head], lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, spec.updates)
    with meter("index: head", total=spec.updates, unit="updates") as shown:
        for _ in range(spec.updates):
            optimiser.zero_grad()
            loss(head, random.permutation(len(vectors))[:size]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            shown.advance(1)
    with torch.no_grad():
        before, after = (loss(each, probe).item() for each in (weight, head))
    told.append(f"neighbourhoods are {after:.4f} nats from the teacher's, and {before:.4f} by those numbers alone")
    return head.detach().numpy(), told


def write_index(run: Path, documents: Vectors, collection: Collection) -> None:
    """The documents through the head: `index/vectors.npy` (float16) and the ids beside it."""
    folder = run / INDEX
    folder.mkdir(exist_ok=True)
    shape = (len(documents), documents.dimensions)
    held = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float16, shape=shape)
    start = 0
    for block in documents:
        held[start : start + len(block)] = block
        start += len(block)
    held.flush()
    write_json(folder / "vectors.ids.json", list(collection.document_ids))
