"""MaxSim: late interaction's score of a query and a document (ColBERT, arXiv 2004.12832), masks and all."""

from __future__ import annotations

import torch
from torch import Tensor

from ._tensors import full_precision, require_mask, require_shape

_ELEMENTS = 1 << 25  # similarities of tokens held at a time, where no chunk is named: 128 MiB


@full_precision
def maxsim(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Score every query with every document: the sum over query tokens of the largest inner product with a document's.

    What stands where no token counts does not matter. A document without a token scores 0 and gets no gradient. Of the
    token-by-token products, those of `chunk` documents are held at a time; for the backward pass only where the largest
    stood is kept.

    Args:
        queries: (q, s, d) token vectors.
        documents: (n, t, d).
        query_mask: (q, s) bool, True where a token counts; None: all do.
        document_mask: (n, t) bool, likewise.
        chunk: documents at a time; None: as many as keep the products below 128 MiB.

    Returns:
        (q, n).
    """
    require_shape("queries", queries, "q", "s", "d")
    require_shape("documents", documents, "n", "t", queries.shape[2])
    require_mask(query_mask, *queries.shape[:2])
    require_mask(document_mask, *documents.shape[:2])
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    count, width = documents.shape[:2]
    size = chunk or max(1, _ELEMENTS // max(1, queries.shape[0] * queries.shape[1] * width))
    found = [
        _scores(
            queries.float(),
            documents[start : start + size].float(),
            query_mask,
            None if document_mask is None else document_mask[start : start + size],
        )
        for start in range(0, count, size)
    ]
    return torch.cat(found, dim=1) if found else queries.new_zeros((len(queries), 0), dtype=torch.float32)


def _scores(queries: Tensor, documents: Tensor, query_mask: Tensor | None, document_mask: Tensor | None) -> Tensor:
    if documents.shape[1] == 0 or queries.shape[1] == 0:
        return queries.new_zeros((len(queries), len(documents)))
    similar = torch.einsum("qsd,ntd->qsnt", queries, documents)
    if document_mask is not None:
        similar = similar.masked_fill(~document_mask, torch.finfo(torch.float32).min)
    best = similar.max(dim=-1).values  # (q, s, n)
    if document_mask is not None:
        best = best.masked_fill(~document_mask.any(dim=1), 0.0)
    if query_mask is not None:
        best = best.masked_fill(~query_mask.unsqueeze(2), 0.0)
    return best.sum(dim=1)
