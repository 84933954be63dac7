"""What LEAD's layer term costs: step time and peak memory beside the response term alone, on the same batches in turn.

    POTSTILL_DATA=DIR python benchmarks/lead_time.py [--collection nfcorpus] [--updates 40]

The models are those of `lead.py` before they are taught: what an update costs does not hang on what the weights know.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cells import Cells, cell
from given import data, teacher
from lead import ADAPTIVE, KINDS, LAYERS, LENGTH, RESPONSE, RESULTS, recipe_settings


def main() -> None:
    """Time one collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", default="nfcorpus")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/lead/untaught"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    timed(given.collection, given.updates, given.work, given.results)


def untaught(collection: str, kind: str, work: Path) -> None:
    """The same models before they are taught, where they are not there yet."""
    from potstill.recipe import TeachSpec, load_spec
    from potstill.teaching.retrievers import untrained_retriever

    folder = work / collection / kind / "model"
    if not folder.is_dir():
        flags = {"kind": KINDS[0], "collection": str(data() / collection), "base": teacher()}
        settings = [f"layers={list(LAYERS)}", f"max_length={LENGTH}"] if kind == "student" else ["max_length=128"]
        folder.parent.mkdir(parents=True, exist_ok=True)
        untrained_retriever(load_spec(TeachSpec, None, flags=flags, settings=settings)).save(folder)


def timed(collection: str, updates: int, work: Path, results: Path) -> None:
    """Step time and peak memory with the layer term (stored layers) and without, on the same batches in turn."""
    from potstill import pipeline
    from potstill.recipe import load_recipe
    from potstill.training import loop
    from potstill.training.layer_terms import LayerTerm

    for kind in ("student", KINDS[0]):  # what an update costs does not hang on what the weights know
        untaught(collection, kind, work)
    settings = [*recipe_settings(collection, KINDS[0], ADAPTIVE, 0, updates, work), "training.bf16=false"]
    seconds: dict[str, list[float]] = {RESPONSE: [], ADAPTIVE: []}
    peaks: dict[str, list[float]] = {RESPONSE: [], ADAPTIVE: []}

    class Enough(Exception):
        pass

    def update(self: Any, rows: Any, factor: float) -> None:
        whole = self.task.terms
        arms = {ADAPTIVE: whole, RESPONSE: [term for term in whole if not isinstance(term, LayerTerm)]}
        for arm in (RESPONSE, ADAPTIVE) if self.at.step % 2 else (ADAPTIVE, RESPONSE):
            self.task.set_terms(arms[arm])
            held, began = memory("VmRSS", reset=True), time.perf_counter()
            batch = self.task.prepare(self.data, rows, self.at.step, 0)
            self.task.losses(self.task(batch), batch).total.backward()
            self.optimiser.step(factor)
            seconds[arm].append(time.perf_counter() - began)
            peaks[arm].append(memory("VmHWM") - held)
        self.task.set_terms(whole)
        self.norms, self.summed = None, 1  # nothing to log
        if len(seconds[ADAPTIVE]) == updates:
            raise Enough

    loop._Loop._update = update  # type: ignore[method-assign]
    flags = {"collection": str(data() / collection), "teacher": str(work / collection / KINDS[0] / "model")}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        pipeline.distill(load_recipe(None, flags=flags, settings=settings), Path(folder) / "run")
    warm = slice(4, None)
    ratios = sorted(b / a for a, b in zip(seconds[RESPONSE][warm], seconds[ADAPTIVE][warm], strict=True))
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    grown = statistics.median(peaks[ADAPTIVE][warm]) / statistics.median(peaks[RESPONSE][warm])
    rows = [
        cell(collection, "time", None, "step time ratio", statistics.median(ratios), low=low, high=high),
        cell(collection, "time", None, "peak memory ratio", grown),
    ]
    for arm in seconds:
        rows.append(cell(collection, f"time: {arm}", None, "step ms", statistics.median(seconds[arm][warm]) * 1e3))
        rows.append(cell(collection, f"time: {arm}", None, "peak MB", statistics.median(peaks[arm][warm])))
    Cells(results / "lead.json").add(rows)
    for row in rows:
        print(f"{row['arm']}, {row['measure']}: {row['value']:.3f}")
    print(f"of the ratios of single updates, the middle 80 % lie from {low:.3f} to {high:.3f}")


def memory(what: str, *, reset: bool = False) -> float:
    """MB that this process holds (`VmRSS`), or held at most (`VmHWM`) since the last reset; Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
