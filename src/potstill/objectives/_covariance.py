"""Matching where it matters: an error of the query's vector costs what it does to the scores of the documents.

EmbedDistill's bound on the loss, (2K / tau) || s - t ||, is loose: what lies across the span of the documents moves no
score at all (arXiv 2301.12005, after Theorem 3.1; the weighted residual is our reading of it).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ._tensors import Reduction, full_precision, reduce_rows, require_shape

ROWS = 65_536
"""Documents turned to float64 at once."""


@full_precision
def covariance_match(student: Tensor, teacher: Tensor, root: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """|| root (s - t) ||, not squared; with `document_root`, a mean score error in place of a distance.

    Where the two are equal the gradient is 0, as for `embedding_match` "l2"; elsewhere its length differs between rows.

    Args:
        student: (n, d), already mapped to the teacher's width.
        teacher: (n, d), the target of each row.
        root: (k, d), k = d from `document_root`; any matrix with root^T root = C serves.
        reduction: "mean" over rows, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_shape("student", student, "n", "d")
    require_shape("teacher", teacher, *student.shape)
    require_shape("root", root, "k", student.shape[1])
    errors = student.float() - teacher.float()
    return reduce_rows(torch.linalg.vector_norm(errors @ root.float().T, dim=-1), None, reduction)


@torch.no_grad()
def document_root(documents: Tensor | Iterable[Tensor], *, centred: bool = False) -> Tensor:
    """C^(1/2) of the documents' second moments C = mean of x x^T, scaled to trace C = d; in float64 until the end.

    At this scale documents that point all ways alike give the identity, and `covariance_match` is plain L2. For
    documents of length one a row's value is then sqrt(d) times the root mean square of its score errors. The root is
    symmetric and may be singular: directions that no document has are free.

    Args:
        documents: (m, d) vectors, or an iterable of such chunks: any number of documents in one pass.
        centred: take the mean document off first (their covariance). An error that moves all scores alike, which no
            ranking sees, is then free.

    Returns:
        (d, d) float32, on the documents' device.

    Raises:
        ValueError: no documents, chunks of several widths, NaN or infinite values, or documents without any spread.
    """
    total = moments = None
    count = 0
    for chunk in [documents] if isinstance(documents, Tensor) else documents:
        require_shape("documents", chunk, "m", "d" if total is None else len(total))
        for rows in chunk.split(ROWS):
            rows = rows.double()
            total = rows.sum(dim=0) if total is None else total + rows.sum(dim=0)
            moments = rows.T @ rows if moments is None else moments + rows.T @ rows
        count += len(chunk)
    if total is None or moments is None or count == 0:
        raise ValueError("there are no documents to take second moments of")
    moments = moments / count
    if not moments.isfinite().all():
        raise ValueError("documents hold NaN or infinite values")
    size = moments.trace()
    if centred:
        mean = total / count
        moments = moments - mean.outer(mean)
    trace = moments.trace()
    if not trace > 1e-12 * size:
        raise ValueError("the documents are all alike" if centred else "the documents are all zero")
    values, vectors = torch.linalg.eigh(moments * (len(moments) / trace))
    root: Tensor = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    return root.float()
