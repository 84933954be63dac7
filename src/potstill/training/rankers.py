"""Teachers in the training process that rank a batch's candidates, at their end and after chosen blocks.

LEAD (arXiv 2212.05225) learns from three kinds: dual encoders (inner products), late interaction (MaxSim) and
cross-encoders (one head). A ranker tokenises its texts once, gives the passes of a batch, and turns what these came to
into scores. Frozen ones run without gradient, trained ones are part of the task; dropout stays off in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..teachers.blocks import Tap
from .passes import Pass, Values


class Texts(Protocol):
    """Texts in a ranker's own form."""

    def __len__(self) -> int: ...

    def select(self, rows: np.ndarray) -> Any:
        """These texts."""


@dataclass(frozen=True)
class ReadTexts:
    """Texts as one ranker reads them.

    Attributes:
        queries: of all training queries.
        documents: of the documents in question.
        rows: `(n,)` their numbers, sorted.
    """

    queries: Texts
    documents: Texts
    rows: np.ndarray


@dataclass(frozen=True)
class Asked:
    """What a ranker is asked in one batch.

    Attributes:
        queries: q of them.
        documents: u distinct ones.
        rows: `(u,)` their numbers, sorted.
        columns: `(q, c)` places among them of each query's own candidates, -1 padded; for readers of pairs.
        taps: where it is read on the way, without repetition.
    """

    queries: Any
    documents: Any
    rows: np.ndarray
    columns: np.ndarray
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Ranked:
    """Scores of one batch: `last (q, u)` and `layers (k, q, u)`, k the taps; u is c where pairs are read."""

    last: Tensor
    layers: Tensor


def asked(texts: ReadTexts, queries: np.ndarray, rows: np.ndarray, own: np.ndarray, taps: Sequence[Tap]) -> Asked:
    """Look up a batch's texts: `queries (q,)`, documents `rows (u,)` sorted, `own (q, c)` document numbers or -1."""
    places = np.searchsorted(texts.rows, rows)
    if len(rows) and (places.max() >= len(texts.rows) or (texts.rows[places] != rows).any()):
        raise ValueError("a document of the batch was not read")
    columns = np.where(own >= 0, np.searchsorted(rows, np.maximum(own, 0)), -1)
    return Asked(texts.queries.select(queries), texts.documents.select(places), rows, columns, tuple(taps))


class Ranker(torch.nn.Module, ABC):
    """A teacher in the training process.

    Attributes:
        name: what objectives call it.
        kind: `dual-encoder`, `late-interaction` or `cross-encoder`.
        reads_pairs: whether it scores each query's own candidates alone, not every query with every document.
        depth: its blocks.
        trained: whether it is trained; else it is never given a gradient.
        cut: texts or pairs that were longer than it reads.
    """

    kind: str
    reads_pairs: bool = False

    def __init__(self, name: str, *, trained: bool) -> None:
        super().__init__()
        self.name, self.trained, self.cut = name, trained, 0

    @property
    @abstractmethod
    def depth(self) -> int:
        """See the class."""

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    @abstractmethod
    def read(self, queries: Sequence[str], documents: Sequence[str], rows: np.ndarray) -> ReadTexts:
        """Tokenise; `rows` are the documents' numbers, sorted."""

    @abstractmethod
    def passes(self, batch: Asked) -> list[Pass]:
        """What is to be encoded; slots begin with its name."""

    @abstractmethod
    def ranked(self, values: Values, batch: Asked) -> Ranked:
        """Scores, float32, of what its passes gave."""

    @abstractmethod
    def save(self, folder: Path, note: Mapping[str, Any]) -> None:
        """Write it as it is now, to be loaded by sentence-transformers."""

    def settle(self) -> Ranker:
        """Freeze its weights unless it is trained; dropout is off either way."""
        self.requires_grad_(self.trained)
        return self.eval()

    def train(self, mode: bool = True) -> Ranker:
        """Dropout stays off whatever is asked: the student and its teacher are to agree about one text."""
        super().train(False)
        return self
