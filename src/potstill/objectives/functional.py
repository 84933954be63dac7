"""Pure objectives: tensors in, a float32 tensor out; usable in any training loop.

Inputs are used as given, never normalised; all arithmetic is float32, autocast or not. `mask` is True where an entry
counts; a row with none is left out of the mean. `reduction="none"` gives one value a row instead of their mean, 0 for a
row that is left out. A gradient flows to every argument unless the function says otherwise: a teacher that is not
trained passes constants, as vectors from a store are. Wrong shapes, temperatures and options raise ValueError.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ._contrasts import bank_contrast, noise_contrast
from ._correlation import Correlation, score_cmkd, score_correlation, soft_ranks
from ._covariance import covariance_match, document_root
from ._geometry import (
    comparative,
    edge_graph,
    information_flow,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
    sphere_neighbours,
)
from ._maxsim import maxsim
from ._relations import Mask, RelationSummary, relation_cross_entropy, relation_summary
from ._scores import keep_wrong, margin_mse, score_mse
from ._tensors import (
    Reduction,
    full_precision,
    kl_rows,
    log_probabilities,
    positive_columns,
    reduce_rows,
    require_mask,
    require_positive,
    require_shape,
)
from ._votes import list_vote_weights, soft_vote_weights, vote_weights
from ._weighing import confidence_weights, labelled_weights, list_labelled_weights, min_norm_weights

__all__ = [
    "Correlation",
    "Mask",
    "MatchMetric",
    "Reduction",
    "RelationSummary",
    "bank_contrast",
    "comparative",
    "confidence_weights",
    "contrastive",
    "covariance_match",
    "document_root",
    "edge_graph",
    "embedding_match",
    "information_flow",
    "keep_wrong",
    "labelled_weights",
    "layer_kl",
    "layer_weights",
    "list_labelled_weights",
    "list_vote_weights",
    "margin_mse",
    "maxsim",
    "min_norm_weights",
    "noise_contrast",
    "relation_cross_entropy",
    "relation_summary",
    "rkd_angle",
    "rkd_distance",
    "score_cmkd",
    "score_correlation",
    "score_kl",
    "score_mse",
    "similarity_preserving",
    "soft_ranks",
    "soft_vote_weights",
    "sphere_neighbours",
    "vote_weights",
]

MatchMetric = Literal["l2", "squared", "cosine"]


@full_precision
def embedding_match(
    student: Tensor, teacher: Tensor, metric: MatchMetric = "l2", *, reduction: Reduction = "mean"
) -> Tensor:
    """Distance of each student vector from the teacher's: EmbedDistill (arXiv 2301.12005), Eq. 7 and 8.

    Args:
        student: (n, d), already mapped to the teacher's width.
        teacher: (n, d), the target of each row.
        metric: "l2" is the paper's Euclidean norm, not squared: every row pulls with a gradient of length one however
            far off it is, and with none where the two are equal. "squared" is the sum over dimensions of its square
            (not the mean). "cosine" is 1 - cos.
        reduction: "mean" over rows, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_shape("student", student, "n", "d")
    require_shape("teacher", teacher, *student.shape)
    if metric == "cosine":
        rows = 1.0 - torch.nn.functional.cosine_similarity(student.float(), teacher.float(), dim=-1)
    elif metric == "l2":
        rows = torch.linalg.vector_norm(student.float() - teacher.float(), dim=-1)
    elif metric == "squared":
        rows = (student.float() - teacher.float()).square().sum(dim=-1)
    else:
        raise ValueError(f'metric must be "l2", "squared" or "cosine", not {metric!r}')
    return reduce_rows(rows, None, reduction)


@full_precision
def score_kl(
    student: Tensor,
    teacher: Tensor,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL(softmax(teacher / T_t) || softmax(student / T_s)) over each query's candidates, in nats.

    EmbedDistill, Eq. 11, less the teacher's entropy: teacher first, so 0 where the two agree. No factor T squared: the
    gradient scales with 1 / T_s. Adding a constant to a row of either side changes nothing. Swap the two arguments for
    the reverse direction (LEAD's second response term).

    Args:
        student: (n, c) scores.
        teacher: (n, c) scores of the same candidates.
        student_temperature: T_s > 0.
        teacher_temperature: T_t > 0.
        mask: (n, c) bool, True where a candidate counts.
        reduction: "mean" over the rows that have a candidate, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_shape("student", student, "n", "c")
    require_shape("teacher", teacher, *student.shape)
    require_mask(mask, *student.shape)
    require_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    if student.shape[1] == 0:
        raise ValueError("score_kl needs at least one candidate a query")
    rows = kl_rows(
        log_probabilities(teacher, teacher_temperature, mask),
        log_probabilities(student, student_temperature, mask),
        mask,
    )
    return reduce_rows(rows, None if mask is None else mask.any(dim=-1), reduction)


@full_precision
def contrastive(
    scores: Tensor,
    positives: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log softmax(scores / temperature)[positive]: the one-hot loss (EmbedDistill, Eq. 9), in nats.

    Args:
        scores: (n, c).
        positives: (n,) integer column of each query's positive; -1 leaves the row out.
        temperature: > 0.
        mask: (n, c) bool, True where a candidate counts; a positive must count.
        reduction: "mean" over the rows with a positive, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_shape("scores", scores, "n", "c")
    require_mask(mask, *scores.shape)
    require_positive(temperature=temperature)
    column, counted = positive_columns(positives, mask, *scores.shape)
    rows = -log_probabilities(scores, temperature, mask).gather(1, column).squeeze(1)
    return reduce_rows(rows, counted, reduction)


@torch.no_grad()
@full_precision
def layer_weights(teacher_losses: Tensor, temperature: float = 10.0) -> Tensor:
    """LEAD's layer weights (arXiv 2212.05225): softmax(-loss / temperature), summing to 1, without gradient.

    Args:
        teacher_losses: (k,) the contrastive loss of each chosen teacher layer on this batch, in nats.
        temperature: tau_layer; 10 nats of loss between two layers make a ratio of e at 10.

    Returns:
        (k,), larger where the teacher layer ranks the positive better.
    """
    require_shape("teacher_losses", teacher_losses, "k")
    require_positive(temperature=temperature)
    return torch.softmax(-teacher_losses.float() / temperature, dim=0)


@full_precision
def layer_kl(
    student: Tensor, teacher: Tensor, weights: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Sum over layer pairs of weight x KL(teacher layer || student layer), mean over queries: LEAD's layer term.

    Args:
        student: (k, n, c) scores of each chosen student layer.
        teacher: (k, n, c) scores of its teacher layer over the same candidates.
        weights: (k,) from `layer_weights`, or 1/k each for a scale-matched comparison without re-weighting.
        mask: (n, c) bool, True where a candidate counts; the same for all layers.
        reduction: "mean" over the queries that have a candidate, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_shape("student", student, "k", "n", "c")
    require_shape("teacher", teacher, *student.shape)
    require_shape("weights", weights, student.shape[0])
    require_mask(mask, *student.shape[1:])
    if student.shape[2] == 0:
        raise ValueError("layer_kl needs at least one candidate a query")
    layers = kl_rows(log_probabilities(teacher, 1.0, mask), log_probabilities(student, 1.0, mask), mask)
    rows = (weights.float().unsqueeze(1) * layers).sum(dim=0)
    return reduce_rows(rows, None if mask is None else mask.any(dim=-1), reduction)
