"""A dual-pooled cross-encoder's vectors for the texts of one batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .data import TrainingSet
from .terms import MatchTerm


@dataclass
class PairRows:
    """Which texts of a batch have a target, and the targets.

    Attributes:
        queries, query_targets: `(a,)` places among the batch's queries, and `(a, d)`.
        documents, document_targets: `(b,)` places among the documents that the student encodes, and `(b, d)`.
    """

    queries: Tensor
    query_targets: Tensor
    documents: Tensor
    document_targets: Tensor


def pair_rows(
    term: MatchTerm, data: TrainingSet, queries: np.ndarray, encoded: np.ndarray | None, device: torch.device
) -> PairRows:
    """Look up what a term needs.

    Args:
        term: one with a `teacher`; its `role` says which side.
        data: holds the scorer's targets.
        queries: `(q,)` query numbers of the batch.
        encoded: `(u,)` sorted numbers of the documents that the student encodes; None: it encodes none.
        device: of the tensors.
    """
    assert term.teacher is not None
    held = data.pair_targets[term.teacher]
    targets = np.empty((0, held.dimensions), dtype=np.float32)
    places = np.empty(0, dtype=np.int64)
    document_places, document_targets = places, targets
    if term.role in ("query", "both"):
        found = held.queries[queries]
        places = np.flatnonzero(~np.isnan(found[:, 0]))
        targets = found[places]
    if term.role in ("document", "both") and encoded is not None and len(held.rows):
        at = np.searchsorted(held.rows, encoded).clip(max=len(held.rows) - 1)
        document_places = np.flatnonzero(held.rows[at] == encoded)
        document_targets = held.documents[at[document_places]]
    parts = (places, targets, document_places, document_targets)
    return PairRows(*(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts))
