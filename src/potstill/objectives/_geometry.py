"""How the vectors of a batch lie to one another: the family that relational distillation belongs to.

All compare the n texts of a batch with each other and hold n x n numbers (angles, n^3 within a group).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from ._tensors import full_precision, require_shape

Kernel = Literal["cosine", "student-t"]


def _require_batches(student: Tensor, teacher: Tensor, *, one_width: bool, least: int = 2) -> None:
    require_shape("student", student, "n", "d")
    require_shape("teacher", teacher, *(student.shape if one_width else (student.shape[0], "d")))
    if len(student) < least:
        raise ValueError(f"relations within a batch need at least {least} texts, not {len(student)}")


@full_precision
def information_flow(
    student: Tensor, teacher: Tensor, kernels: tuple[Kernel, ...] = ("cosine",), *, symmetric: bool = False
) -> Tensor:
    """Probabilistic knowledge transfer (PKT, arXiv 1803.10837), and its form with two kernels (arXiv 2005.00727).

    p(j | i) = K(i, j) / sum_j K(i, j) for each side, the text itself included, where K is (cos + 1) / 2 or
    1 / (1 + distance). The value is KL(teacher || student), or with `symmetric` the sum of both directions (Jeffreys):
    summed over j and kernels, mean over i. The papers take the mean over j as well, which is n times smaller.

    Args:
        student: (n, d_s).
        teacher: (n, d_t).
        kernels: those to add up.
        symmetric: both directions.
    """
    _require_batches(student, teacher, one_width=False)
    total = student.new_zeros((), dtype=torch.float32)
    for kernel in kernels:
        log_p, log_q = _log_conditional(teacher.detach().float(), kernel), _log_conditional(student.float(), kernel)
        weight = log_p.exp() - log_q.exp() if symmetric else log_p.exp()
        total = total + (weight * (log_p - log_q)).sum(dim=1).mean()
    return total


def _log_conditional(vectors: Tensor, kernel: Kernel) -> Tensor:
    if kernel == "cosine":
        unit = normalize(vectors, dim=1)
        similarity = ((unit @ unit.T + 1) / 2).clamp(min=1e-7)
    elif kernel == "student-t":
        similarity = 1 / (1 + _distances(vectors))
    else:
        raise ValueError(f'a kernel is "cosine" or "student-t", not {kernel!r}')
    return (similarity / similarity.sum(dim=1, keepdim=True)).log()


def _distances(vectors: Tensor) -> Tensor:
    """(n, n) Euclidean distances, exactly 0 and without gradient on the diagonal."""
    squares = vectors.square().sum(dim=1)
    apart = (squares.unsqueeze(1) + squares - 2 * vectors @ vectors.T).clamp(min=0)
    diagonal = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    return torch.where(diagonal, 0.0, apart.clamp(min=1e-12).masked_fill(diagonal, 1.0).sqrt())


@full_precision
def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Relational knowledge distillation by distance (RKD-D, arXiv 1904.05068, Eq. 4-6).

    Huber loss between pairwise distances, each side divided by its own mean distance: widths and scales may differ.

    Args:
        student: (n, d_s).
        teacher: (n, d_t).
    """
    _require_batches(student, teacher, one_width=False)
    return smooth_l1_loss(_relative(student.float()), _relative(teacher.detach().float()))


def _relative(vectors: Tensor) -> Tensor:
    """Distances over their mean, that of texts from themselves and their copies left out."""
    apart = _distances(vectors)
    return apart / (apart.sum() / max(int((apart > 1e-6).sum()), 1)).clamp(min=1e-12)


@full_precision
def rkd_angle(student: Tensor, teacher: Tensor, group: int = 64) -> Tensor:
    """Relational knowledge distillation by angle (RKD-A, arXiv 1904.05068, Eq. 7-9).

    Huber loss between the cosines of the angles at j in every triple i, j, k.

    Args:
        student: (n, d_s).
        teacher: (n, d_t).
        group: triples are taken within consecutive groups of so many rows, since a group holds its cube of them.
    """
    _require_batches(student, teacher, one_width=False, least=3)
    total, count = student.new_zeros((), dtype=torch.float32), 0
    for start in range(0, len(student), group):
        ours, theirs = student[start : start + group].float(), teacher[start : start + group].detach().float()
        total = total + smooth_l1_loss(_angles(ours), _angles(theirs), reduction="sum")
        count += len(ours) ** 3
    return total / count


def _angles(vectors: Tensor) -> Tensor:
    edges = normalize(vectors.unsqueeze(0) - vectors.unsqueeze(1), dim=2, eps=1e-6)
    return edges @ edges.transpose(1, 2)


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation (SP, arXiv 1907.09682, Eq. 2-4).

    ||G_T - G_S||_F^2 / n^2, where the rows of G = A A^T are brought to length one.

    Args:
        student: (n, d_s).
        teacher: (n, d_t).
    """
    _require_batches(student, teacher, one_width=False)
    ours, theirs = student.float(), teacher.detach().float()
    difference = normalize(theirs @ theirs.T, dim=1) - normalize(ours @ ours.T, dim=1)
    return difference.square().mean()


@full_precision
def edge_graph(student: Tensor, teacher: Tensor, node: float = 0.8, edge: float = 0.24) -> Tensor:
    """Embedding graph alignment (EGA, 2022): w_node ||N - I||_F + w_edge ||E_T - E_S||_F.

    E and N are row-wise Pearson correlations within and between the sides; so a common rotation changes the value.

    Args:
        student: (n, d).
        teacher: (n, d).
        node: weight of the correlations between the sides, whose diagonal alone should be 1.
        edge: weight of the correlations within each.
    """
    _require_batches(student, teacher, one_width=True)
    both = torch.cat([teacher.detach().float(), student.float()])
    both = both - both.mean(dim=1, keepdim=True)
    both = both / (both.norm(dim=1, keepdim=True) + 1e-6)
    correlation, n = both @ both.T, len(student)
    nodes = correlation[:n, n:] - torch.eye(n, device=both.device)
    return node * _frobenius(nodes) + edge * _frobenius(correlation[:n, :n] - correlation[n:, n:])


def _frobenius(matrix: Tensor) -> Tensor:
    """Its norm, with a gradient of 0 where it is 0."""
    square = matrix.square().sum()
    return torch.where(square > 0, square.clamp(min=1e-20).sqrt(), 0.0 * square)


@full_precision
def comparative(student: Tensor, teacher: Tensor, metric: Literal["squared", "cosine"] = "squared") -> Tensor:
    """Comparative knowledge distillation (2023): differences between texts are matched, not the texts.

    "squared": (1 / n^2) sum_ij ||(s_i - s_j) - (t_i - t_j)||^2, computed as twice the variance of s - t. "cosine": the
    mean over i != j of 1 - cos(s_i - s_j, t_i - t_j), which holds n x n differences.

    Args:
        student: (n, d).
        teacher: (n, d).
        metric: which.
    """
    _require_batches(student, teacher, one_width=True)
    ours, theirs = student.float(), teacher.detach().float()
    if metric == "squared":
        residual = ours - theirs
        return 2 * (residual - residual.mean(dim=0)).square().sum(dim=1).mean()
    if metric != "cosine":
        raise ValueError(f'metric must be "squared" or "cosine", not {metric!r}')
    first, second = torch.triu_indices(len(ours), len(ours), offset=1, device=ours.device)
    cosines = torch.nn.functional.cosine_similarity(ours[first] - ours[second], theirs[first] - theirs[second], dim=1)
    return 1 - cosines.mean()


@full_precision
def sphere_neighbours(head: Tensor, teacher: Tensor, temperatures: tuple[float, ...] = (0.01, 0.1, 1.0)) -> Tensor:
    """CosPress's loss of a head on the teacher (arXiv 2411.15239): neighbourhoods survive a narrower sphere.

    Mean over rows and temperatures of KL(softmax_j(cos(t_i, t_j) / T) || softmax_j(cos(h_i, h_j) / T)), the text itself
    included.

    Args:
        head: (n, d) what the head makes of the teacher's vectors.
        teacher: (n, D).
        temperatures: T of each.
    """
    _require_batches(head, teacher, one_width=False)
    ours, theirs = normalize(head.float(), dim=1), normalize(teacher.detach().float(), dim=1)
    own, target = ours @ ours.T, theirs @ theirs.T
    total = head.new_zeros((), dtype=torch.float32)
    for temperature in temperatures:
        log_p, log_q = torch.log_softmax(target / temperature, dim=1), torch.log_softmax(own / temperature, dim=1)
        total = total + (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
    return total / len(temperatures)
