"""The task: a model learns to write the query that a document was judged to fit, token by token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..students.tokens import Tokens
from ..training.identity import tokens_digest
from ..training.trainable import Losses, Trainable

TERM = "cross-entropy"
_NO_TOKEN = -100
_BATCH_TOKENS = 8_192


@dataclass
class WritingSet:
    """Pairs of a document, which is read, and a query, which is to be written.

    What is drawn in an epoch depends on `(seed, epoch)` alone.

    Args:
        documents: tokens of documents, as the model reads them.
        queries: tokens of queries, as it is to write them: the one that ends a text stands last.
        pairs: `(p, 2)` int64 (query, document), rows of the two.
        per_query: most pairs of a query in an epoch; None: all.
        most: most pairs in an epoch; None: all.
        seed: of all draws.
    """

    documents: Tokens
    queries: Tokens
    pairs: np.ndarray
    per_query: int | None = None
    most: int | None = None
    seed: int = 0
    _drawn: tuple[int, np.ndarray] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        counts = np.bincount(self.pairs[:, 0])
        held = int(np.minimum(counts, self.per_query or counts.max(initial=0)).sum())
        self._count = held if self.most is None else min(held, self.most)

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return self._count

    def drawn(self, epoch: int) -> np.ndarray:
        """The pairs (n, 2) of an epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
            if self.per_query is not None:  # the first so many of each query, in this order
                query = self.pairs[order, 0]
                by_query = np.argsort(query, kind="stable")
                place = np.arange(len(order)) - np.searchsorted(query[by_query], query[by_query])
                order = order[np.sort(by_query[place < self.per_query])]
            self._drawn = (epoch, self.pairs[np.sort(order[: len(self)])])
        return self._drawn[1]

    def lengths(self, pairs: np.ndarray) -> np.ndarray:
        """Tokens `(n, 2)` of the document and of the query of each pair."""
        return np.stack([self.documents.lengths[pairs[:, 1]], self.queries.lengths[pairs[:, 0]]], axis=1)


@dataclass
class WritingBatch:
    """What is read, `(n, s)` ids and mask; and what is to be written, `(n, t)` labels, -100 where there is no token."""

    ids: Tensor
    mask: Tensor
    labels: Tensor


class GeneratorTask(Trainable[WritingSet]):
    """Trains a model that writes: cross-entropy of each token of a query given the document and the tokens before it.

    Args:
        model: a sequence-to-sequence model of transformers whose generation config says how a text starts.
    """

    unit = "pairs"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.start, self.pad = (getattr(model.generation_config, f"{n}_token_id") for n in ("decoder_start", "pad"))

    @property
    def kind(self) -> str:
        """Its row of the loop's defaults."""
        return "generator"

    @property
    def term_names(self) -> tuple[str, ...]:
        """One term."""
        return (TERM,)

    def lengths(self, data: WritingSet, epoch: int) -> np.ndarray:
        """Tokens of both sides, which are padded apart."""
        return data.lengths(data.drawn(epoch))

    def prepare(self, data: WritingSet, rows: np.ndarray, step: int, epoch: int) -> WritingBatch:
        """Pad the texts of these pairs."""
        return self.batch(data, data.drawn(epoch)[rows])

    def batch(self, data: WritingSet, pairs: np.ndarray) -> WritingBatch:
        """Pairs `(n, 2)` as tensors."""
        ids, mask = data.documents.select(pairs[:, 1]).padded(self.pad)
        written, there = data.queries.select(pairs[:, 0]).padded(0)
        labels = np.where(there == 1, written, _NO_TOKEN)
        return WritingBatch(*(torch.from_numpy(array).to(self.device) for array in (ids, mask, labels)))

    def forward(self, batch: WritingBatch) -> Tensor:
        """Logits `(n, t, v)` float32; each token is told from the true ones before it (teacher forcing)."""
        start = batch.labels.new_full((len(batch.labels), 1), self.start)
        before = torch.cat([start, batch.labels[:, :-1]], dim=1)
        before = before.masked_fill(before == _NO_TOKEN, self.pad)
        out = self.model(input_ids=batch.ids, attention_mask=batch.mask, decoder_input_ids=before, use_cache=False)
        logits: Tensor = out.logits.float()
        return logits

    def losses(self, outputs: Tensor, batch: WritingBatch) -> Losses:
        """The mean over tokens."""
        value = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), batch.labels.flatten(), ignore_index=_NO_TOKEN)
        return Losses(value, {TERM: value})

    def gradient_norms(self, losses: Losses, outputs: Tensor) -> dict[str, float]:
        """Norm of the gradient with respect to the logits of the batch."""
        (gradient,) = torch.autograd.grad(losses.terms[TERM], [outputs], retain_graph=True)
        return {TERM: float(gradient.double().norm())}

    def identity(self, data: WritingSet) -> dict[str, Any]:
        """What is read and written, and which pairs can be drawn."""
        pairs = hashlib.blake2b(np.ascontiguousarray(data.pairs, dtype=np.int64).data, digest_size=16).hexdigest()
        return {
            "tokens": tokens_digest(data.documents, data.queries),
            "pairs": pairs,
            "drawn": [data.per_query, data.most, data.seed],
            "model": type(self.model).__name__,
        }


@dataclass
class WritingValidation:
    """Callable by the loop: the mean loss of a token of held-out queries, given their documents; lower is better.

    Args:
        data: all its pairs are measured.
    """

    data: WritingSet

    def __call__(self, task: GeneratorTask) -> Mapping[str, float]:
        """`loss` in nats a token, `perplexity`, and `score`, which is the loss with its sign changed."""
        pairs = self.data.pairs
        lengths = self.data.lengths(pairs).sum(axis=1)
        order = np.argsort(-lengths, kind="stable")
        total = tokens = 0.0
        at = 0
        with torch.inference_mode():
            while at < len(order):
                rows = order[at : at + max(1, _BATCH_TOKENS // int(lengths[order[at]]))]
                batch = task.batch(self.data, pairs[rows])
                count = int((batch.labels != _NO_TOKEN).sum())
                total += float(task.losses(task(batch), batch).total) * count
                tokens += count
                at += len(rows)
        loss = total / tokens
        return {"loss": loss, "perplexity": float(np.exp(min(loss, 700.0))), "score": -loss}
