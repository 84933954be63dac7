"""What exports cost and keep: size, nearness, latency against the tokenizer alone, nDCG@10 on the teacher's index.

Two subjects: a static student (the run given, or none) and the teacher itself as a transformer that encodes queries.
Of each, all arms are timed in turn, within one run, on the same queries, on one thread. The targets: a static query in
numpy at most 1.6 times the tokenizer alone, fp32 and int8, at most 2.5 times in onnxruntime; nDCG@10 in int8 within
0.005 of fp32's; a static int8 file of at most 13 MB.

    python benchmarks/export.py --run RUN [--collection FOLDER] [--queries 300] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import given
import potstill
from cells import Cells, cell
from latency import measure
from potstill.collection import open_collection
from potstill.pipeline.exporting import export

RESULTS = Path(__file__).parent / "results" / "export.json"
PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=None, help="a run with a static student; default: none")
    parser.add_argument("--collection", default=str(Path(os.environ.get("POTSTILL_DATA", "examples"), "scifact")))
    parser.add_argument("--teacher", default=None, help="default: all-MiniLM-L6-v2")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.teacher = args.teacher or given.teacher()

    collection = open_collection(args.collection)
    queries = [collection.queries[i] for i in collection.qrels("test")][: args.queries]
    with tempfile.TemporaryDirectory() as scratch:
        subjects = {"transformer": teacher_as_student(args.teacher, Path(scratch) / "transformer")}
        if args.run is not None:
            shutil.copytree(args.run, Path(scratch) / "static")
            subjects = {"static": Path(scratch) / "static", **subjects}
        for name, run in subjects.items():
            forms: tuple[Any, ...] = ("onnx", "static") if name == "static" else ("onnx",)
            rows = export(run, formats=forms, precisions=PRECISIONS, collection=args.collection)
            times = measure(arms(run, rows), queries, args.rounds if name == "static" else 1)
            found = [*kept(rows), *ratios(times)]
            Cells(args.out).add(
                cell(collection.name, f"{name} {arm}", 0, what, value, low=low, high=high)
                for arm, what, value, low, high in found
            )
            for arm, what, value, low, high in found:
                bounds = "" if low is None else f"  [{low:.4g}, {high:.4g}]"
                print(f"{name:<12} {arm:<14} {what:<16} {value:12.5g}{bounds}")


def teacher_as_student(teacher: str, folder: Path) -> Path:
    """A folder that encodes queries with the teacher itself, for the teacher's own index."""
    shutil.copytree(teacher, folder / "student")
    note = {"kind": "model", "towers": "asymmetric", "teacher": teacher}
    (folder / "student" / "potstill.json").write_text(json.dumps(note), encoding="utf-8")
    return folder


def named(row: dict[str, Any]) -> str:
    return "original" if row["target"] == "student" else f"{row['target']} {row['precision']}"


def arms(run: Path, rows: list[dict[str, Any]]) -> dict[str, Callable[[list[str]], Any]]:
    """What is timed, by name; each takes a list of one text."""
    students = {named(row): potstill.load(run / (f"export/{named(row).replace(' ', '-')}")) for row in rows[1:]}
    original = potstill.load(run)
    one = students["onnx fp32"].queries
    tokenizer, special = one.tokenizer, one.special
    return {
        "tokenizer": lambda texts: tokenizer.encode_batch_fast(texts, add_special_tokens=special)[0].ids,
        "original": original.encode_queries,
        **{name: student.encode_queries for name, student in students.items()},
    }


def kept(rows: list[dict[str, Any]]) -> list[tuple[str, str, float, Any, Any]]:
    """Size, nearness and quality of every target."""
    found: list[tuple[str, str, float, Any, Any]] = []
    for row in rows:
        arm = named(row)
        found += [(arm, "MB", row["bytes"] / 1e6, None, None), (arm, "cosine min", row["cosine_min"], None, None)]
        found.append((arm, "nDCG@10", row["nDCG@10"], None, None))
        found.append((arm, "retention", row["retention"], row["retention_low"], row["retention_high"]))
        found.append((arm, "queries/s", row["queries_per_s"], None, None))
    return found


def ratios(times: dict[str, np.ndarray]) -> list[tuple[str, str, float, float, float]]:
    """Percentiles of each arm, and its median against the tokenizer's; bounds by resampling queries."""
    middle = {name: np.median(rounds, axis=0) for name, rounds in times.items()}
    count = len(middle["tokenizer"])
    draws = np.random.default_rng(0).integers(0, count, size=(1000, count))
    found = []

    def add(arm: str, what: str, of: Callable[[Any], float]) -> None:
        drawn = [of(draw) for draw in draws]
        found.append((arm, what, of(slice(None)), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))))

    for name, rounds in times.items():
        for percent in (50, 99):
            add(name, f"query us p{percent}", lambda at, r=rounds, p=percent: float(np.percentile(r[:, at], p)) / 1e3)
        if name != "tokenizer":
            add(
                name,
                "/ tokenizer p50",
                lambda at, m=middle[name]: float(np.median(m[at]) / np.median(middle["tokenizer"][at])),
            )
    return found


if __name__ == "__main__":
    main()
