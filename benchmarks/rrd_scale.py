"""Relations to a bank at scale: time and peak memory of the chunked form against the plain one and against the limit.

One measurement is value and gradient of `relation_cross_entropy` for a batch. Arms: `plain` holds batch x bank;
`chunked` does not; `limit` is the two matrix products that any form without batch x bank must do (scores of both
sides, and the two means of the bank that the gradient is made of), in the same chunks and the same precision. On CUDA
what lies between the products is fused too: `fused` by the package's Triton kernel, which it takes by itself, and
`compiled` by torch.compile, to be judged.

Every arm's value and gradient are compared with the plain form's where that fits, else with the chunked form's. Arms
take turns within a round; times are medians over rounds, with the fastest and the slowest. Peak memory is beyond what
is held before: of the allocator on CUDA, of a process of its own on the CPU.

    python benchmarks/rrd_scale.py --device cuda|cpu [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cells import Cells, cell
from potstill.objectives._relations import Step, chunk_step, scan
from potstill.objectives.functional import relation_cross_entropy

RESULTS = Path(__file__).parent / "results" / "rrd_scale.json"
TEMPERATURE = 0.05
CHUNKS = (4096, 16384)
ROUNDS = {"cuda": 7, "cpu": 3}

Outcome = tuple[Tensor, Tensor]
Form = Callable[[Tensor, Tensor, Tensor], Outcome]
"""(student, teacher, bank) -> value and gradient."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument(
        "--banks", type=int, nargs="*", help="rows; the default is all three, without the last on a CPU"
    )
    parser.add_argument("--widths", type=int, nargs="*", default=[384, 1024])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", nargs=4, metavar=("ARM", "BATCH", "BANK", "WIDTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak_of_process(args.peak[0], *map(int, args.peak[1:])))
        return
    banks = args.banks or [16_384, 65_536, 1_048_576][: 3 if args.device == "cuda" else 2]
    batch, widths = args.batch, args.widths
    if args.quick:
        batch, banks, widths = 64, [4_096, 16_384], [64]
    cells = Cells(args.out)
    for width in widths:
        for rows in banks:
            for precision in ("fp32", "tf32, bank in bf16") if args.device == "cuda" else ("fp32",):
                measure(cells, args.device, precision, batch, rows, width)


def measure(cells: Cells, device: str, precision: str, batch: int, rows: int, width: int) -> None:
    """All arms on one size, into the results."""
    torch.backends.cuda.matmul.allow_tf32 = precision.startswith("tf32")
    given = inputs(batch, rows, width, device, torch.bfloat16 if "bf16" in precision else torch.float32)
    name = f"bank {rows:,} x {width:,}, batch {batch:,}, {precision}, {machine(device)}"
    arms = forms(device)
    print(name, flush=True)
    reference: Outcome | None = None
    ready: dict[str, Form] = {}
    for arm, form in arms.items():
        try:
            outcome = form(*given)  # warm-up too: compiles what is compiled
        except Exception as error:
            if "out of memory" in str(error).lower():
                print(f"  {arm:<16} does not fit", flush=True)
            else:
                print(f"  {arm:<16} failed: {type(error).__name__}: {str(error)[:300]}", flush=True)
            release(device)
            continue
        ready[arm] = form
        if arm != "limit":
            reference = outcome if reference is None else reference
            cells.add(differences(name, arm, outcome, reference))
        del outcome
    seconds: dict[str, list[float]] = {arm: [] for arm in ready}
    for _ in range(ROUNDS[device]):
        for arm, form in ready.items():
            seconds[arm].append(timed(device, lambda form=form: form(*given)))
    for arm, form in ready.items():
        values = sorted(1000 * value for value in seconds[arm])
        middle = values[len(values) // 2]
        cells.add([cell(name, arm, 0, "milliseconds", middle, low=values[0], high=values[-1])])
        peak = peak_on_cuda(form, given) if device == "cuda" else peak_in_child(arm, batch, rows, width)
        cells.add([cell(name, arm, 0, "extra MiB at peak", peak)])
        print(f"  {arm:<16} {middle:10.2f} ms [{values[0]:.2f}, {values[-1]:.2f}]  {peak:10.1f} MiB", flush=True)
    for arm, values in seconds.items():
        for against in ("plain", f"chunked {CHUNKS[0]:,}", "limit"):
            if against in seconds and against != arm:
                ratios = sorted(mine / other for mine, other in zip(values, seconds[against], strict=True))
                middle = ratios[len(ratios) // 2]
                cells.add([cell(name, arm, 0, f"time / {against}", middle, low=ratios[0], high=ratios[-1])])
    release(device)


def forms(device: str) -> dict[str, Form]:
    """The arms, by name; the plain one first, which the others are compared with."""
    arms: dict[str, Form] = {"plain": plain}
    arms |= {f"chunked {chunk:,}": partial(in_chunks, chunk_step, chunk) for chunk in CHUNKS}
    if device == "cuda":
        from potstill.objectives._relations_kernel import fused_step

        arms |= {f"fused {chunk:,}": partial(in_chunks, fused_step, chunk) for chunk in CHUNKS}
        compiled: Step = torch.compile(chunk_step, dynamic=False)
        arms |= {f"compiled {chunk:,}": partial(in_chunks, compiled, chunk) for chunk in CHUNKS[:1]}
    return arms | {"limit": partial(products, CHUNKS[0])}


def plain(student: Tensor, teacher: Tensor, bank: Tensor) -> Outcome:
    """As the package computes it without chunks."""
    leaf = student.clone().requires_grad_()
    value = relation_cross_entropy(leaf, teacher, bank, TEMPERATURE, TEMPERATURE)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def in_chunks(step: Step, chunk: int, student: Tensor, teacher: Tensor, bank: Tensor) -> Outcome:
    """As the package computes it in chunks, with this step between the products."""
    n = len(student)
    found = scan(student / TEMPERATURE, teacher / TEMPERATURE, bank, None, None, chunk, means=True, step=step)
    assert found.mean_difference is not None
    return found.cross_entropy.mean(), found.mean_difference / (TEMPERATURE * n)


def products(chunk: int, student: Tensor, teacher: Tensor, bank: Tensor) -> Outcome:
    """The matrix products alone; what they come to means nothing."""
    queries = torch.cat([student, teacher])
    mean = torch.zeros_like(queries)
    for keys in bank.split(chunk):
        keys = keys.float()
        mean.addmm_(queries @ keys.T, keys)
    return mean[0, 0], mean


def inputs(batch: int, rows: int, width: int, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A student near a teacher near rows of a bank, all of unit length."""
    generator = torch.Generator(device).manual_seed(0)

    def unit(count: int) -> Tensor:
        found = torch.empty(count, width, device=device)
        for block in found.split(65_536):
            block.normal_(generator=generator)
            block /= block.norm(dim=1, keepdim=True)
        return found

    bank = unit(rows)
    teacher = torch.nn.functional.normalize(bank[:batch] + unit(batch), dim=1)
    student = torch.nn.functional.normalize(teacher + 0.5 * unit(batch), dim=1)
    return student, teacher, bank.to(dtype)


def differences(name: str, arm: str, outcome: Outcome, reference: Outcome) -> Iterator[dict[str, Any]]:
    """How far value and gradient are from the reference's; the gradient's in shares of its longest row."""
    value = (outcome[0] - reference[0]).abs().item()
    gradient = ((outcome[1] - reference[1]).norm(dim=1).max() / reference[1].norm(dim=1).max()).item()
    print(f"  {arm:<16} value off by {value:.1e}, gradient by {gradient:.1e} of its length", flush=True)
    yield cell(name, arm, 0, "difference of values", value)
    yield cell(name, arm, 0, "difference of gradients", gradient)


def timed(device: str, call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_on_cuda(form: Form, given: tuple[Tensor, Tensor, Tensor]) -> float:
    """MiB beyond the inputs."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    form(*given)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak_in_child(arm: str, *sizes: int) -> float:
    """MiB beyond the inputs, of a process that does nothing else."""
    if sys.platform != "linux":
        return math.nan
    command = [sys.executable, __file__, "--device", "cpu", "--peak", arm, *map(str, sizes)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def peak_of_process(arm: str, batch: int, rows: int, width: int) -> float:
    """MiB by which the arm raises the high-water mark of this process."""
    form = forms("cpu")[arm]
    given = inputs(batch, rows, width, "cpu", torch.float32)
    form(*(each[:16] for each in given))  # libraries and their buffers
    Path("/proc/self/clear_refs").write_text("5")  # the mark starts again from what is held now
    before = high_water()
    form(*given)
    return (high_water() - before) / 1024


def high_water() -> int:
    """KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def machine(device: str) -> str:
    """What it ran on."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} threads of a {platform.machine()}, torch {torch.__version__}"


def release(device: str) -> None:
    """Give freed memory back."""
    if device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
