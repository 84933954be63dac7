"""The task: retrievers trained to tell each query's positive from its negatives and from all else in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import PotstillError
from ..objectives.functional import contrastive
from ..recipe import Role
from ..students.tokens import Tokens
from ..training.identity import tokens_digest
from ..training.passes import Parts, Pass, Values, encoded, joined
from ..training.trainable import Losses, Trainable
from .lists import TeachingSet
from .listwise import rows_digest
from .retrievers import Retriever
from .validation import Validation

TERM = "contrastive"
_BATCH_TOKENS = 16_384
_QUERIES_AT_ONCE = 16


@dataclass
class ContrastiveBatch:
    """The n lists of a batch as their distinct queries and documents.

    Attributes:
        queries, documents: rows of the data's tables, `(q,)` and `(u,)`, and the tables.
        positives: `(q,)` column of each query's positive among the documents.
        mask: `(q, u)` False at other documents that are known to fit.
    """

    queries: np.ndarray
    documents: np.ndarray
    data: TeachingSet
    positives: Tensor
    mask: Tensor


class ContrastiveTask(Trainable[TeachingSet]):
    """-log softmax of the positive's score among all documents of the batch, the mean over lists, in nats.

    A list's positive and its mined negatives are candidates of every query of the batch (in-batch negatives). Documents
    that a query was judged to fit beside the positive of its list are left out of its comparison, by id; every distinct
    text is encoded once.
    """

    unit = "lists"

    def __init__(self, retriever: Retriever) -> None:
        super().__init__()
        self.retriever = retriever

    @property
    def model(self) -> Retriever:
        """What is trained."""
        return self.retriever

    @property
    def kind(self) -> str:
        """The retriever's."""
        return self.retriever.kind

    @property
    def term_names(self) -> tuple[str, ...]:
        """One term."""
        return (TERM,)

    def lengths(self, data: TeachingSet, epoch: int) -> np.ndarray:
        """Tokens of each list."""
        return data.lengths(epoch)

    def prepare(self, data: TeachingSet, rows: np.ndarray, step: int, epoch: int) -> ContrastiveBatch:
        """Look up the lists; what else is known to fit their queries does not count against them."""
        lists = data.drawn(epoch)
        queries, chosen = lists.queries[rows], lists.documents[rows]
        documents = np.unique(chosen[chosen >= 0])
        positives = np.searchsorted(documents, chosen[:, 0])
        known = queries[:, None] * len(data.documents) + documents[None, :]
        mask = ~np.isin(known, data.positives[:, 0] * len(data.documents) + data.positives[:, 1])
        mask[np.arange(len(rows)), positives] = True
        tensors = (torch.from_numpy(one).to(self.device) for one in (positives, mask))
        return ContrastiveBatch(queries, documents, data, *tensors)

    def passes(self, batch: ContrastiveBatch) -> list[Pass]:
        """Queries, and documents."""
        sides: tuple[tuple[Role, Tokens, np.ndarray], ...] = (
            ("query", batch.data.queries, batch.queries),
            ("document", batch.data.documents, batch.documents),
        )
        return [Pass(role, len(rows), partial(self._encode, tokens, rows, role)) for role, tokens, rows in sides]

    def _encode(self, tokens: Tokens, rows: np.ndarray, role: Role, start: int, stop: int) -> Parts:
        return self.retriever.encode([tokens[row] for row in rows[start:stop].tolist()], role)

    def assembled(self, values: Values, batch: ContrastiveBatch) -> Tensor:
        """Scores `(q, u)` float32."""
        return self.retriever.scores(values["query"], values["document"]) * self.retriever.scale

    def forward(self, batch: ContrastiveBatch) -> Tensor:
        """Scores `(q, u)` float32, times the scale."""
        return self.assembled(encoded(self.passes(batch)), batch)

    def losses(self, outputs: Tensor, batch: ContrastiveBatch) -> Losses:
        """The one term."""
        value = contrastive(outputs, batch.positives, mask=batch.mask)
        return Losses(value, {TERM: value})

    def gradient_norms(self, losses: Losses, outputs: Tensor) -> dict[str, float]:
        """Norm of the gradient with respect to the scores of the batch."""
        (gradient,) = torch.autograd.grad(losses.terms[TERM], [outputs], retain_graph=True)
        return {TERM: float(gradient.double().norm())}

    def identity(self, data: TeachingSet) -> Mapping[str, Any]:
        """What is read, and which lists can be drawn from it."""
        return {
            "tokens": tokens_digest(data.queries, data.documents),
            "pairs": rows_digest(data.positives, data.negatives),
            "model": self.kind,
        }


class RetrieverValidation(Validation):
    """The lists of held-out queries, re-ranked by a retriever: every distinct text is encoded once."""

    def logits(self, ranker: Any) -> np.ndarray:
        """`(n, c)` float32, -inf where there is no candidate."""
        retriever: Retriever = ranker
        rows, places = np.unique(np.maximum(self.candidates, 0), return_inverse=True)
        places = places.reshape(self.candidates.shape)
        table = np.full(self.candidates.shape, -np.inf, dtype=np.float32)
        with torch.inference_mode():
            documents = _encoded(retriever, self.documents, rows, "document")
            queries = _encoded(retriever, self.queries, np.arange(len(self.ids)), "query")
            for start in range(0, len(self.ids), _QUERIES_AT_ONCE):
                some = slice(start, start + _QUERIES_AT_ONCE)
                wanted, own = np.unique(places[some], return_inverse=True)
                scores = retriever.scores(tuple(part[some] for part in queries), tuple(p[wanted] for p in documents))
                table[some] = np.take_along_axis(scores.float().cpu().numpy(), own.reshape(places[some].shape), axis=1)
        if not np.isfinite(table).all():
            raise PotstillError("the model gives NaN or infinite scores", fix="lower training.learning_rate")
        return np.where(self.candidates >= 0, table, -np.inf).astype(np.float32)


def _encoded(retriever: Retriever, tokens: Tokens, rows: np.ndarray, role: Role) -> Parts:
    """All these texts, in batches of like length, in their order."""
    lengths = np.maximum(tokens.lengths[rows], 1)
    order = np.argsort(-lengths, kind="stable")
    parts, start = [], 0
    while start < len(order):
        longest = min(int(lengths[order[start]]), retriever.pairs.limits[role])
        some = order[start : start + max(1, _BATCH_TOKENS // longest)]
        parts.append(retriever.encode([tokens[row] for row in rows[some].tolist()], role))
        start += len(some)
    back = torch.from_numpy(np.argsort(order))
    return tuple(part[back.to(part.device)] for part in joined(parts))
