"""Validation: the lists of held-out queries, re-ranked, against their judgments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import PotstillError
from ..evaluation import measure
from ..evaluation.measures import mean
from ..students.tokens import Tokens
from .lists import joined

MEASURES = ("nDCG@10", "RR@10")
_BATCH_TOKENS = 16_384


@dataclass
class Validation:
    """Callable by the loop: nDCG@10 (the `score`) and RR@10 of the re-ranked lists.

    Args:
        ids: the n held-out queries.
        queries: their tokens.
        documents: tokens of all documents in question.
        pairs: joins them.
        candidates: `(n, c)` rows of `documents` to rank, in the order in which they were found, -1 where fewer.
        names: id of each row of `documents`.
        grades: query id -> document id -> grade.
        bf16: whether the model computes in bfloat16.
    """

    ids: Sequence[str]
    queries: Tokens
    documents: Tokens
    pairs: Any
    candidates: np.ndarray
    names: Sequence[str]
    grades: Mapping[str, Mapping[str, int]]
    bf16: bool = False

    def __call__(self, task: Any) -> dict[str, float]:
        """Measures by name; `score` decides."""
        measures = self.of(self.logits(task.model))
        return measures | {"score": measures["nDCG@10"]}

    def logits(self, ranker: Any) -> np.ndarray:
        """`(n, c)` float32, -inf where there is no candidate."""
        there = self.candidates >= 0
        query, _ = np.nonzero(there)
        document = self.candidates[there]
        lengths = self.pairs.lengths(self.queries.lengths[query], self.documents.lengths[document])
        order = np.argsort(-lengths, kind="stable")
        values = np.empty(len(order), dtype=np.float32)
        start = 0
        device = next(ranker.parameters()).device.type
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16) if self.bf16 else nullcontext():
            while start < len(order):
                rows = order[start : start + max(1, _BATCH_TOKENS // int(lengths[order[start]]))]
                pairs = joined(self.queries, self.documents, self.pairs, query[rows], document[rows])
                values[rows] = ranker.logits(pairs).cpu().numpy()
                start += len(rows)
        if not np.isfinite(values).all():
            raise PotstillError("the model gives NaN or infinite logits", fix="lower training.learning_rate")
        table = np.full(there.shape, -np.inf, dtype=np.float32)
        table[there] = values
        return table

    def found(self) -> dict[str, float]:
        """The measures of the lists as they were found: what re-ranking starts from."""
        places = np.arange(self.candidates.shape[1], dtype=np.float32)
        return self.of(np.where(self.candidates >= 0, -places, -np.inf))

    def best(self) -> dict[str, float]:
        """The measures of the best order of these lists: what re-ranking could reach."""
        grades = np.full(self.candidates.shape, -np.inf, dtype=np.float32)
        for row, query in enumerate(self.ids):
            for place, document in enumerate(self.candidates[row].tolist()):
                if document >= 0:
                    grades[row, place] = self.grades[query].get(self.names[document], 0)
        return self.of(grades)

    def of(self, scores: np.ndarray) -> dict[str, float]:
        """Measures of the order that scores `(n, c)` give; ties stay as found."""
        order = np.argsort(-scores, axis=1, kind="stable")
        run = {
            query: [
                (self.names[self.candidates[row, place]], float(scores[row, place]))
                for place in order[row].tolist()
                if self.candidates[row, place] >= 0
            ]
            for row, query in enumerate(self.ids)
        }
        values = measure(run, {query: self.grades[query] for query in self.ids}, MEASURES)
        return {name: mean(values[name]) for name in MEASURES}
