"""A dual encoder in the training process."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..objectives.scores import inner_scores
from ..recipe import Role
from ..students.anatomy import open_up
from ..students.tokens import Tokens
from ..students.tower import Tower
from ..students.transformer import TransformerTower
from ..teachers import VectorTeacher
from ..teachers.blocks import Tap
from .passes import Parts, Pass, Values
from .rankers import Asked, Ranked, Ranker, ReadTexts


class LiveDualEncoder(Ranker):
    """Inner products of vectors at its end (cosines where it compares so), and of blocks' vectors on the way.

    Args:
        teacher: a transformer on this machine; its weights are copied.
        name: what objectives call it.
        trained: see `Ranker`.

    Raises:
        InputError: the teacher is no transformer on this machine.
    """

    kind = "dual-encoder"

    def __init__(self, teacher: VectorTeacher, name: str = "teacher", *, trained: bool) -> None:
        super().__init__(name, trained=trained)
        self.cosine = teacher.metric == "cosine"
        self.query_tower = _tower(teacher, "query")
        shared = teacher.encoder("query") is teacher.encoder("document") and (
            teacher.fingerprint("query").digest() == teacher.fingerprint("document").digest() or _same_modules(teacher)
        )
        if shared:
            self.query_tower.prompts |= {"document": open_up(teacher, "document").prompt}
        self.other_tower = None if shared else _tower(teacher, "document")

    @property
    def document_tower(self) -> Tower:
        """The tower of documents."""
        return self.query_tower if self.other_tower is None else self.other_tower

    @property
    def depth(self) -> int:
        """Blocks."""
        return self.query_tower.depth

    def read(self, queries: Sequence[str], documents: Sequence[str], rows: np.ndarray) -> ReadTexts:
        """Tokenise."""
        tokens = self.query_tower.tokens(queries, "query"), self.document_tower.tokens(documents, "document")
        self.cut = sum(one.truncated for one in tokens)
        return ReadTexts(*tokens, rows)

    def passes(self, batch: Asked) -> list[Pass]:
        """Queries, and documents."""
        sides = ((".query", self.query_tower, batch.queries), (".document", self.document_tower, batch.documents))
        run = torch.no_grad()(layered) if not self.trained else layered
        return [
            Pass(self.name + side, len(tokens), partial(run, tower, tokens, batch.taps))
            for side, tower, tokens in sides
        ]

    def ranked(self, values: Values, batch: Asked) -> Ranked:
        """Inner products of both sides."""
        queries, documents = values[f"{self.name}.query"], values[f"{self.name}.document"]
        last = [F.normalize(one, dim=1) if self.cosine else one for one in (queries[0], documents[0])]
        layers = layer_scores(queries[1], documents[1]) if batch.taps else last[0].new_zeros(0)
        return Ranked(inner_scores(*last), layers)

    def save(self, folder: Path, note: Mapping[str, Any]) -> None:
        """A sentence-transformers model; two of them, `query` and `document`, where the towers differ."""
        if self.other_tower is None:
            self.query_tower.save(folder, note)
            return
        self.query_tower.save(folder / "query", note)
        self.other_tower.save(folder / "document", note)


def layered(tower: Tower, tokens: Tokens, taps: Sequence[Tap], start: int, stop: int) -> Parts:
    """Texts `start..stop`: vectors `(n, d)`, and with taps those of blocks `(n, k, w)`."""
    some = tokens if (start, stop) == (0, len(tokens)) else tokens.select(np.arange(start, stop))
    return tower.layered(some, taps) if taps else (tower(some).float(),)


def layer_scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Raw inner products `(k, q, u)` float32 of blocks' vectors `(q, k, w)` and `(u, k, w)`, as LEAD takes them."""
    with torch.autocast(queries.device.type, enabled=False):
        return torch.einsum("qkw,ukw->kqu", queries.float(), documents.float())


def _tower(teacher: VectorTeacher, role: Role) -> TransformerTower:
    anatomy = open_up(teacher, role)
    if anatomy.transformer is None:
        raise InputError(
            f"{teacher.name} is no transformer on this machine: it cannot be trained or read while a student trains",
            where="joint",
            fix="give a sentence-transformers model that runs here",
        )
    return TransformerTower(
        [copy.deepcopy(module) for module in anatomy.modules],
        kind="model",
        dimensions=anatomy.dimensions,
        normalize=anatomy.normalize,
        prompts={role: anatomy.prompt},
        max_length=teacher.max_length(role),
        seed=0,
    )


def _same_modules(teacher: VectorTeacher) -> bool:
    """Whether one stack of modules, cut at one length, serves both roles, with prompts of their own perhaps."""
    query, document = open_up(teacher, "query"), open_up(teacher, "document")
    same = all(a is b for a, b in zip(query.modules, document.modules, strict=False))
    return same and teacher.max_length("query") == teacher.max_length("document")
