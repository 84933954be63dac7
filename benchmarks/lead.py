"""LEAD's ladder for three kinds of teacher: contrastive, + response, + layers, + re-weighting, a fixed map.

    POTSTILL_DATA=DIR python benchmarks/lead.py grid  [--collections nfcorpus] [--seeds 0 1 2] [--jobs 1]
    python benchmarks/lead.py tests

All begin from all-MiniLM-L6-v2: three teachers of its six layers (a dual encoder, late interaction, a cross-encoder)
and the student, three of its layers (0, 2 and 5), are first taught contrastively on the training judgments, as LEAD
warms both up. Then every arm trains that same student for as many updates on 16 queries with a positive and three mined
negatives each, and the last weights are searched with. Nothing is chosen on the test split.

Finished cells are kept in `benchmarks/results/lead.json`, the measure of each query in `lead_queries.json`: run a grid
again to go on. `tests` compares arms, seeds averaged query by query. What the layer term costs: `lead_time.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from cells import Cells, cell, paired_cells
from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

RESULTS = Path(__file__).parent / "results"
MEASURE = "nDCG@10"
KINDS = ("dual-encoder", "late-interaction", "cross-encoder")
LAYERS, LENGTH, QUERIES, NEGATIVES = (0, 2, 5), 96, 16, 3

CONTRASTIVE, RESPONSE, RANDOM, ADAPTIVE, FIXED = (
    "contrastive",
    "+ response",
    "+ layers (random map)",
    "+ re-weighting",
    "fixed map",
)
ARMS = (CONTRASTIVE, RESPONSE, RANDOM, ADAPTIVE, FIXED)
FIRST, AGREEMENT, FADING, JOINT = "first token", "weights by agreement", "fading layers", "teacher trained too"
MORE = (FIRST, AGREEMENT, FADING, JOINT)
LADDER = [(CONTRASTIVE, RESPONSE), (RESPONSE, RANDOM), (RANDOM, ADAPTIVE), (RESPONSE, ADAPTIVE), (ADAPTIVE, FIXED)]
PAIRS = [*LADDER, (ADAPTIVE, FIRST), (ADAPTIVE, AGREEMENT), (ADAPTIVE, FADING), (ADAPTIVE, JOINT), (CONTRASTIVE, JOINT)]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["grid", "work", "teach", "tests"])
    parser.add_argument("--collections", nargs="+", default=["nfcorpus"])
    parser.add_argument("--teachers", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *MORE], default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--until", type=float, default=math.inf, help="no cell is begun after so many seconds")
    parser.add_argument("--work", type=Path, default=Path("runs/lead"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.part == "teach":
        teach(given.collections[0], "student" if given.arms == [CONTRASTIVE] else given.teachers[0], given.work)
    elif given.part == "tests":
        tests(given.results)
    else:
        grid = Grid(given)
        grid.run() if given.part == "grid" else grid.work()


class Grid:
    """All cells, shared out to processes that each take the next one that nobody has begun."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.started = given, time.monotonic()
        self.cells = Cells(given.results / "lead.json")
        self.queries = given.results / "lead_queries.json"

    def run(self) -> None:
        """Teachers first, then what is missing of the grid."""
        given = self.given
        for collection in given.collections:
            whom = ["student", *(kind for kind in KINDS if kind in (*given.teachers, KINDS[0]))]
            with ThreadPoolExecutor(given.jobs) as pool:
                list(pool.map(partial(self._teach, collection), whom))
        for claim in given.work.glob("*/cells/*.claim"):  # of a grid that was stopped
            claim.unlink()
        more = ["--collections", *given.collections, "--teachers", *given.teachers, "--arms", *given.arms]
        more += ["--seeds", *map(str, given.seeds), "--updates", str(given.updates)]
        more += ["--until", str(given.until - (time.monotonic() - self.started)), "--results", str(given.results)]
        workers = [self._start("work", more, f"worker {number}") for number in range(given.jobs)]
        while any(worker.poll() is None for worker in workers):
            time.sleep(5)
            self.collect()
        self.collect()

    def work(self) -> None:
        """Cells one after another, until none is left or the time is up."""
        given = self.given
        for one in self.wanted():
            path = run_of(given.work, *one)
            claim = path.with_name(path.name + ".claim")
            claim.parent.mkdir(parents=True, exist_ok=True)
            if time.monotonic() - self.started > given.until or (path / "cell.json").is_file():
                continue
            try:
                os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            began = time.monotonic()
            try:
                distil(*one, given.updates, given.work)
            except Exception:  # the others are not to be lost
                traceback.print_exc()
                continue
            print(f"cell {', '.join(map(str, one))}: {time.monotonic() - began:.0f} s", flush=True)

    def wanted(self) -> Iterator[tuple[str, str, str, int]]:
        """The cells that have no result yet, the most telling first."""
        given = self.given
        for collection, seed, arm, kind in product(given.collections, given.seeds, given.arms, given.teachers):
            if arm == CONTRASTIVE and kind == "late-interaction":
                continue  # it listens to no teacher: the cell of the dual encoder is the same
            if arm in MORE and arm != JOINT and kind != KINDS[0]:
                continue
            if not self.cells.has(collection=collection, arm=f"{kind}: {arm}", seed=seed, measure=MEASURE):
                yield collection, kind, arm, seed

    def collect(self) -> None:
        """Put the cells that are done into the results."""
        from potstill.atomic import write_json

        for one in list(self.wanted()):
            path = run_of(self.given.work, *one) / "cell.json"
            if not path.is_file():
                continue
            collection, kind, arm, seed = one
            found, name = json.loads(path.read_text(encoding="utf-8")), f"{kind}: {arm}"
            rows = [cell(collection, name, seed, measure, **value) for measure, value in found["values"].items()]
            for system, value in found["teachers"].items():
                rows.append(cell(collection, system, None, MEASURE, **value))
            held = json.loads(self.queries.read_text(encoding="utf-8")) if self.queries.exists() else {}
            held.setdefault(collection, {}).setdefault(name, {})[str(seed)] = found["queries"]
            write_json(self.queries, held)
            self.cells.add(rows)
            print(f"{collection}, {name}, seed {seed}: {found['values'][MEASURE]['value']:.4f}", flush=True)

    def _teach(self, collection: str, kind: str) -> None:
        if (self.given.work / collection / kind / "teach.json").is_file():
            return
        more = ["--teachers", kind] if kind != "student" else ["--arms", CONTRASTIVE]
        began = time.monotonic()
        if self._start("teach", ["--collections", collection, *more], f"teach {kind}").wait():
            sys.exit(f"{collection}: {kind} could not be taught: see {self.given.work}/teach-{kind}.log")
        print(f"{collection}, {kind} taught: {time.monotonic() - began:.0f} s", flush=True)

    def _start(self, part: str, more: list[str], what: str) -> subprocess.Popen[bytes]:
        self.given.work.mkdir(parents=True, exist_ok=True)
        log = (self.given.work / f"{what.replace(' ', '-')}.log").open("ab")
        command = [sys.executable, __file__, part, "--work", str(self.given.work), *more]
        return subprocess.Popen(command, stdout=log, stderr=log)


def teach(collection: str, kind: str, work: Path) -> None:
    """A teacher of MiniLM's layers, or the student's start of three of them; contrastive, on training judgments."""
    import potstill

    settings: dict[str, Any] = {
        "max_length": 128,
        "negatives": NEGATIVES,
        "positives": 4,
        "training.max_texts_per_batch": QUERIES,
        "training.tokens_per_batch": 100_000,
        "training.learning_rate": 5e-5,
        "training.epochs": 1,
        "training.validate_every": 200,
        "training.patience": 10,
    }
    if kind == "student":
        settings |= {"layers": list(LAYERS), "max_length": LENGTH, "training.learning_rate": 2e-4}
    taught = "dual-encoder" if kind == "student" else kind
    potstill.teach(taught, data() / collection, teacher(), out=work / collection / kind, settings=settings)


def distil(collection: str, kind: str, arm: str, seed: int, updates: int, work: Path) -> None:
    """One cell: its figures and the measure of every query, in `cell.json`."""
    from potstill import pipeline
    from potstill.atomic import write_json
    from potstill.recipe import load_recipe

    run = run_of(work, collection, kind, arm, seed)
    settings = recipe_settings(collection, kind, arm, seed, updates, work)
    flags = {"collection": str(data() / collection), "teacher": str(work / collection / KINDS[0] / "model")}
    found = pipeline.distill(load_recipe(None, flags=flags, settings=settings), run, resume=run.exists())
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    steps = record["training"]["steps"]
    assert steps >= updates, f"{steps} updates"
    kept = found["retention"][MEASURE]
    values = {
        MEASURE: {"value": found["systems"]["student"][MEASURE], **found["intervals"]["student"][MEASURE]},
        f"retention {MEASURE}": {"value": kept["value"], "low": kept["low"], "high": kept["high"], "p": kept["p"]},
        "updates": {"value": float(steps)},
        "training seconds": {"value": record["seconds"]["training"]},
    }

    teachers = {
        f"teacher: {KINDS[0]}": {
            "value": found["systems"]["teacher"][MEASURE],
            **found["intervals"]["teacher"][MEASURE],
        }
    }
    for system, measures in found.get("reranking", {}).get("systems", {}).items():
        if system in KINDS or system.endswith("(trained)"):
            interval = found["reranking"]["intervals"][system][MEASURE]
            name = f"teacher: {system}, re-ranking" if system in KINDS else f"{system}, re-ranking"
            teachers[name] = {"value": measures[MEASURE], **interval}
    if (run / "teacher.json").is_file():
        trained = json.loads((run / "teacher.json").read_text(encoding="utf-8"))
        interval = trained["intervals"]["student"][MEASURE]
        teachers[f"{KINDS[0]} (trained)"] = {"value": trained["systems"]["student"][MEASURE], **interval}
    rows = (json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines())
    queries = {row["query_id"]: round(row["measures"]["student"][MEASURE], 6) for row in rows}
    write_json(run / "cell.json", {"values": values, "teachers": teachers, "queries": queries})


def recipe_settings(collection: str, kind: str, arm: str, seed: int, updates: int, work: Path) -> list[str]:
    """What a cell's recipe sets."""
    own = kind == "cross-encoder"
    whom: dict[str, Any] = {} if kind == "dual-encoder" else {"teacher": kind}
    where = {"documents": "mined" if own else "pooled", "count": 1 + NEGATIVES}
    terms: list[dict[str, Any]] = [{"family": "contrastive", **where}]
    if arm != CONTRASTIVE:
        terms.append({"family": "scores", "form": "kl", **whom, **where})
    if arm not in (CONTRASTIVE, RESPONSE):
        spec = {"place": "first" if arm == FIRST else "mean", "map": "uniform" if arm == FIXED else "random"}
        if arm == FADING:
            spec["decay"] = 0.7
        form = "uniform" if arm == RANDOM else "agreement" if arm == AGREEMENT else "adaptive"
        terms.append({"family": "layers", "form": form, "layers": spec, **whom, **where})
    settings = [
        "student="
        + json.dumps({"model": str(work / collection / "student" / "model"), "kind": "model", "max_length": LENGTH}),
        "towers=shared",
        "queries={judgments: train, other_splits: false, cuts: false, held_out: 100}",
        f"candidates={{sources: [teacher], count: {NEGATIVES}, depth: 100}}",
        "objectives=" + json.dumps(terms),
        f"training.max_texts_per_batch={QUERIES}",
        "training={select: last, tokens_per_batch: 1000000, learning_rate: 0.00005, warmup: 0.1, weight_decay: 0}",
        f"training.epochs={math.ceil(updates / (asked(collection) // QUERIES))}",
        f"training.max_texts_per_batch={QUERIES}",
        "training.clip=2.0",
        f"training.seed={seed}",
        "evaluate={cost: false}",
        f"evaluate.rerank={100 if kind != KINDS[0] and seed == 0 and arm in (RESPONSE, JOINT) else 0}",
    ]
    if kind != "dual-encoder":
        scorer = {"kind": kind, "name": kind, "model": str(work / collection / kind / "model"), "temperature": 1}
        settings.append("scorers=" + json.dumps([scorer]))
    if arm == JOINT:
        settings.append(f"joint={{teacher: {kind if whom else 'teacher'}}}")
    return settings


def asked(collection: str) -> int:
    """Training queries that are surely there: the judged ones less those held out, rounded down."""
    from potstill.collection import open_collection

    return int(0.95 * len(open_collection(str(data() / collection)).qrels("train"))) - 100


def run_of(work: Path, collection: str, kind: str, arm: str, seed: int) -> Path:
    """Folder of a cell's run."""
    name = "".join(c if c.isalnum() else "-" for c in arm).strip("-")
    return work / collection / "cells" / f"{kind}.{name}.{seed}"


def tests(results: Path) -> None:
    """Paired tests between arms, seeds averaged query by query."""
    cells = Cells(results / "lead.json")
    held = json.loads((results / "lead_queries.json").read_text(encoding="utf-8"))
    rows = []
    for collection, arms in held.items():
        for kind in KINDS:
            for first, second in PAIRS:
                start = KINDS[0] if kind == "late-interaction" and first == CONTRASTIVE else kind
                before, after = arms.get(f"{start}: {first}"), arms.get(f"{kind}: {second}")
                seeds = sorted(before.keys() & after.keys()) if before and after else []
                if not seeds:
                    continue
                rows += paired_cells(
                    collection,
                    f"{kind}: {second} against {first}",
                    [before[seed] for seed in seeds],
                    [after[seed] for seed in seeds],
                    MEASURE,
                )
    cells.add(rows)


if __name__ == "__main__":
    main()
