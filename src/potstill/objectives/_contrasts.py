"""Each text against a bank of teacher vectors, its own teacher vector the one that fits."""

from __future__ import annotations

import torch
from torch import Tensor

from ._tensors import Reduction, full_precision, reduce_rows, require_mask, require_positive, require_shape


@full_precision
def bank_contrast(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    scale: float | Tensor,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log softmax of the text's own teacher vector among it and the bank's (DisCo, DistilCSE: arXiv 2112.05638).

    Args:
        student: (n, d).
        teacher: (n, d), the vector that fits each.
        bank: (m, d) teacher vectors of other texts: those of the batch, and a queue.
        scale: what inner products are multiplied by: a number, or a scalar that is learned.
        mask: (n, m) bool, True where a bank row counts: without the text itself and its repeats.
        reduction: "mean" or "none".

    Returns:
        A scalar, or (n,), in nats.
    """
    own, others = _scores(student, teacher, bank, mask)
    own, others = own * scale, others * scale
    if mask is not None:
        others = others.masked_fill(~mask, -torch.inf)
    return reduce_rows(torch.cat([own, others], dim=1).logsumexp(dim=1) - own.squeeze(1), None, reduction)


@full_precision
def noise_contrast(
    student: Tensor,
    teacher: Tensor,
    bank: Tensor,
    temperature: float = 0.07,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Contrastive representation distillation (CRD, arXiv 1910.10699, Eq. 15-18), student against teacher vectors.

    -log h(own) - sum over the bank of log(1 - h), h = P / (P + m / M), P = exp(s / T) / Z. Z is the mean of exp(s / T)
    over the bank, times M, of this batch, without gradient; the released code keeps the first batch's. M then cancels.
    This is one of the paper's two directions: the other needs a bank of student vectors, which age.

    Args:
        student: (n, d) unit vectors.
        teacher: (n, d) unit vectors.
        bank: (m, d) unit teacher vectors of other texts.
        temperature: T > 0.
        mask: (n, m) bool, True where a bank row counts.
        reduction: "mean" over texts that have a bank row, or "none".

    Returns:
        A scalar, or (n,).
    """
    require_positive(temperature=temperature)
    own, others = _scores(student, teacher, bank, mask)
    own, others = own / temperature, others / temperature
    kept = torch.ones_like(others, dtype=torch.bool) if mask is None else mask
    counts = kept.sum(dim=1)
    noise = others.detach()[kept]
    level = noise.logsumexp(dim=0) - noise.new_tensor(float(max(len(noise), 1))).log()
    shift = (level + counts.clamp(min=1).log()).unsqueeze(1)
    logsigmoid = torch.nn.functional.logsigmoid
    away = torch.where(kept, -logsigmoid(shift - others), 0.0).sum(dim=1)
    rows = away - logsigmoid(own - shift).squeeze(1)
    return reduce_rows(rows, None if mask is None else counts > 0, reduction)


def _scores(student: Tensor, teacher: Tensor, bank: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The (n, 1) scores of the own vectors and (n, m) of the bank."""
    require_shape("student", student, "n", "d")
    require_shape("teacher", teacher, *student.shape)
    require_shape("bank", bank, "m", student.shape[1])
    require_mask(mask, student.shape[0], bank.shape[0])
    ours = student.float()
    own = (ours * teacher.detach().float()).sum(dim=1, keepdim=True)
    return own, ours @ bank.detach().to(device=student.device, dtype=torch.float32).T
