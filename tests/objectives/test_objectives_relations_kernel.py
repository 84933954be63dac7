"""The fused kernel in Triton's interpreter, which runs it without a GPU, against the plain step."""

import importlib.util
import os
import subprocess
import sys

import pytest

CODE = """
import torch
from potstill.objectives._relations import chunk_step, scan
from potstill.objectives._relations_kernel import fused_step

def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

for n, c in [(1, 1), (2, 5), (3, 2048), (4, 5000)]:
    scores = 5 * normal(2 * n, c, seed=n)
    before = (5 * normal(2 * n, seed=1), normal(2 * n, seed=2).exp(), normal(2, n, seed=3))
    ours, plain = ([scores.clone(), *(t.clone() for t in before)] for _ in range(2))
    for mine, theirs in zip((fused_step(*ours), *ours), (chunk_step(*plain), *plain)):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)

mask = torch.rand(5, 37, generator=torch.Generator().manual_seed(4)) < 0.5
mask[2] = False
given = (normal(5, 8, seed=5), normal(5, 8, seed=6), normal(37, 8, seed=7), mask, normal(37, seed=8), 10)
mine, theirs = (scan(*given, means=True, step=step) for step in (fused_step, chunk_step))
for name in ("cross_entropy", "teacher_entropy", "mean_difference"):
    kept = mine.counted
    torch.testing.assert_close(getattr(mine, name)[kept], getattr(theirs, name)[kept], atol=1e-5, rtol=1e-5)
assert mine.counted.tolist() == [True, True, False, True, True]
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: CUDA builds bring it")
def test_equals_the_plain_step():
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=False,
    )
    assert told.returncode == 0, told.stderr
