"""Weights of several teachers by confidence, by labels and by opposed gradients: what GOVERN-CA and its rivals need."""

from __future__ import annotations

import torch
from torch import Tensor

from ._tensors import full_precision, require_mask, require_shape

_SWEEPS = 1_000


@torch.no_grad()
@full_precision
def confidence_weights(base: Tensor, errors: Tensor) -> Tensor:
    """CA-MKD's weights inside those that are given: base_k (1 - softmax_k(CE_k)), brought to the sum of the base.

    The softmax runs over the teachers that have a base weight. Equal base weights of all K teachers make this CA-MKD's
    own (1 - softmax_k(CE_k)) / (K - 1) (arXiv 2201.00007), those of a vote's winners are GOVERN-CA's (our reading a).
    One teacher alone keeps its weight.

    Args:
        base: (k, n) weights, 0 for teachers that are not heard.
        errors: (k, n) cross-entropy of each teacher with the label; NaN where a sample has no label: its base stays.

    Returns:
        (k, n); columns sum as those of `base`. No gradient.
    """
    require_shape("base", base, "k", "n")
    require_shape("errors", errors, *base.shape)
    heard = base > 0
    known = ~(errors.isnan() & heard).any(dim=0) & (heard.sum(dim=0) > 1)
    doubts = errors.float().nan_to_num().masked_fill(~heard, -torch.inf)
    doubts = doubts.masked_fill(~heard.any(dim=0), 0.0)
    weighed = base * (1.0 - torch.softmax(doubts, dim=0))
    total = weighed.sum(dim=0)
    weighed = weighed * (base.sum(dim=0) / total.clamp(min=1e-12))
    return torch.where(known & (total > 0), weighed, base)


@torch.no_grad()
@full_precision
def min_norm_weights(gradients: Tensor, cap: float = 0.6) -> Tensor:
    """AE-KD's weights, of the shortest sum of gradients: argmin |sum_k a_k g_k|^2 over sum a = 1, 0 <= a_k <= cap.

    "Agree to Disagree" (NeurIPS 2020) solves this as a one-class SVM with nu = 1 / (cap K); here mass moves between the
    two teachers that gain most by it until none does (exact on small problems). Teachers that pull apart cancel.

    Args:
        gradients: (k, m) gradient of each teacher's loss with respect to the student's outputs.
        cap: largest weight, at least 1/K (which is the mean).

    Raises:
        ValueError: a cap that cannot hold.

    Returns:
        (k,) weights that sum to 1. No gradient.
    """
    require_shape("gradients", gradients, "k", "m")
    count = len(gradients)
    if not 1.0 / count - 1e-9 <= cap <= 1.0:
        raise ValueError(f"cap must be between 1/{count}, the mean of {count} teachers, and 1, not {cap}")
    flat = gradients.double()
    gram = (flat @ flat.T).tolist()
    weights = [1.0 / count] * count
    slope = [sum(row) / count for row in gram]
    tolerance = 1e-12 * max(1e-300, max(gram[k][k] for k in range(count)))
    for _ in range(_SWEEPS):
        more = min((k for k in range(count) if weights[k] < cap), key=slope.__getitem__, default=None)
        less = max((k for k in range(count) if weights[k] > 0), key=slope.__getitem__)
        if more is None or slope[less] - slope[more] <= tolerance:
            break
        curve = gram[more][more] + gram[less][less] - 2 * gram[more][less]
        room = min(cap - weights[more], weights[less])
        step = min(room, (slope[less] - slope[more]) / curve) if curve > 0 else room
        weights[more] += step
        weights[less] -= step
        slope = [each + step * (gram[k][more] - gram[k][less]) for k, each in enumerate(slope)]
    return torch.tensor(weights, dtype=torch.float32, device=gradients.device)


@torch.no_grad()
@full_precision
def labelled_weights(student: Tensor, teachers: Tensor, labels: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Teachers on the label's side of the student, alike: (z_k - z_S)(2y - 1) > 0 (GOVERN-CA, our reading b).

    Args:
        student: (n,).
        teachers: (k, n).
        labels: (n,) between 0 and 1; NaN where there is none: no teacher is kept there.
        mask: (k, n) bool, True where a teacher has an output.

    Returns:
        (k, n) 1 / (number kept); columns sum to 1, or to 0 where none is: the label alone teaches. No gradient.
    """
    require_shape("student", student, "n")
    require_shape("teachers", teachers, "k", *student.shape)
    require_shape("labels", labels, *student.shape)
    require_mask(mask, *teachers.shape)
    toward = (teachers.float() - student.float()) * (2 * labels.float() - 1)
    kept = toward > 0 if mask is None else (toward > 0) & mask
    return kept / kept.sum(dim=0).clamp(min=1)


@torch.no_grad()
@full_precision
def list_labelled_weights(student: Tensor, teachers: Tensor, label: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The same for lists: teachers whose descent direction agrees with the label's, <p_k - p_S, y - p_S> > 0.

    Args:
        student: (n, c) probabilities.
        teachers: (k, n, c) probabilities.
        label: (n, c) distribution over the relevant candidates; all 0 where none is known.
        mask: (k, n) bool, True where a teacher says anything about the query.
    """
    require_shape("student", student, "n", "c")
    require_shape("teachers", teachers, "k", *student.shape)
    require_shape("label", label, *student.shape)
    require_mask(mask, *teachers.shape[:2])
    toward = torch.einsum("knc,nc->kn", teachers.float() - student.float(), label.float() - student.float())
    kept = (toward > 0) & (label.sum(dim=1) > 0)
    kept = kept if mask is None else kept & mask
    return kept / kept.sum(dim=0).clamp(min=1)


def relevant_distribution(labels: Tensor, mask: Tensor | None) -> Tensor:
    """(n, c) distribution that is even over candidates whose label is above 0; zeros where no such one counts."""
    relevant = labels.nan_to_num() > 0
    relevant = relevant if mask is None else relevant & mask
    return relevant / relevant.sum(dim=1, keepdim=True).clamp(min=1)
