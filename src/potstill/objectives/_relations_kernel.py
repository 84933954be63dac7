"""What stands between the two matrix products of a chunk, in one Triton kernel: scores are read twice, written once.

Imported on CUDA alone, where torch brings Triton with it.
"""

# ruff: noqa: ANN001, ANN202 - Triton reads annotations as types of its own
# mypy: ignore-errors

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048


def fused_step(scores: Tensor, highest: Tensor, total: Tensor, weighed: Tensor) -> Tensor:
    """As `_relations.chunk_step`, on contiguous float32 tensors."""
    shrink = torch.empty_like(highest)
    n = weighed.shape[1]
    with torch.cuda.device_of(scores):
        _step[(n,)](scores, highest, total, weighed, shrink, n, scores.shape[1], BLOCK=_BLOCK, num_warps=8)
    return shrink


@triton.jit
def _step(scores, highest, total, weighed, shrink, n, c, BLOCK: tl.constexpr):
    """One program a text: row i holds the student's scores, row n + i the teacher's."""
    i = tl.program_id(0).to(tl.int64)
    student = scores + i * c
    teacher = scores + (n + i) * c
    best_s = tl.full((BLOCK,), float("-inf"), tl.float32)
    best_t = tl.full((BLOCK,), float("-inf"), tl.float32)
    for start in range(0, c, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < c
        best_s = tl.maximum(best_s, tl.load(student + place, inside, float("-inf")))
        best_t = tl.maximum(best_t, tl.load(teacher + place, inside, float("-inf")))
    old_s = tl.load(highest + i)
    old_t = tl.load(highest + n + i)
    new_s = tl.maximum(old_s, tl.max(best_s, 0))
    new_t = tl.maximum(old_t, tl.max(best_t, 0))
    sum_s = tl.zeros((BLOCK,), tl.float32)
    sum_t = tl.zeros((BLOCK,), tl.float32)
    of_s = tl.zeros((BLOCK,), tl.float32)
    of_t = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, c, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < c
        s = tl.load(student + place, inside, 0.0) - new_s
        t = tl.load(teacher + place, inside, 0.0) - new_t
        p_s = tl.where(inside, tl.exp(s), 0.0)
        p_t = tl.where(inside, tl.exp(t), 0.0)
        sum_s += p_s
        sum_t += p_t
        of_s += p_t * s
        of_t += p_t * t
        tl.store(student + place, p_s, inside)
        tl.store(teacher + place, p_t, inside)
    drop_s = old_s - new_s
    drop_t = old_t - new_t
    shrink_s = tl.exp(drop_s)
    shrink_t = tl.exp(drop_t)
    total_t = tl.load(total + n + i)
    tl.store(weighed + i, (tl.load(weighed + i) + drop_s * total_t) * shrink_t + tl.sum(of_s, 0))
    tl.store(weighed + n + i, (tl.load(weighed + n + i) + drop_t * total_t) * shrink_t + tl.sum(of_t, 0))
    tl.store(total + i, tl.load(total + i) * shrink_s + tl.sum(sum_s, 0))
    tl.store(total + n + i, total_t * shrink_t + tl.sum(sum_t, 0))
    tl.store(highest + i, new_s)
    tl.store(highest + n + i, new_t)
    tl.store(shrink + i, shrink_s)
    tl.store(shrink + n + i, shrink_t)
