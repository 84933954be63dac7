"""How long one query takes from text to vector, on one thread, and what of it is the tokenizer.

Four arms in turn, within one run and on the same queries: the student's tokenizer alone, the static student through
Potstill's encode, the same student in sentence-transformers, the teacher in sentence-transformers. The targets: at
most 1.6 times the tokenizer, at least 200 times under the teacher.

    python benchmarks/latency.py [--collection FOLDER] [--phrases 30000] [--rank N] [--queries 300]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

import given
import potstill
from cells import Cells, cell
from potstill.collection import open_collection
from potstill.evaluation.cost import one_thread
from potstill.recipe import StudentSpec, TeacherSpec
from potstill.students import StaticEncoder, build_tower
from potstill.teachers import open_teacher

RESULTS = Path(__file__).parent / "results" / "latency.json"
TURN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", type=Path, default=Path(os.environ.get("POTSTILL_DATA", "examples"), "scifact"))
    parser.add_argument("--teacher", default=None, help="default: all-MiniLM-L6-v2")
    parser.add_argument("--phrases", type=int, default=30_000)
    parser.add_argument("--rank", type=int, default=None)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.teacher = args.teacher or given.teacher()

    collection = open_collection(args.collection)
    queries = [collection.queries[i] for i in collection.qrels("test")][: args.queries]
    texts = [document.full for document in collection.documents()]
    teacher = open_teacher(TeacherSpec(model=args.teacher, device="cpu"))
    spec = StudentSpec(phrases=args.phrases, rank=args.rank)
    with tempfile.TemporaryDirectory() as folder:
        build_tower(spec, teacher, lambda: iter(texts), args.seed).save(Path(folder) / "student", {"towers": "shared"})
        times = measure(arms(Path(folder) / "student", teacher.encoder("query")), queries, args.rounds)

    name = f"phrases {args.phrases}" + (f" rank {args.rank}" if args.rank else "")
    rows = summary(times, np.random.default_rng(args.seed))
    Cells(args.out).add(
        cell(collection.name, f"{arm} ({name})", args.seed, what, value, low=low, high=high)
        for arm, what, value, low, high in rows
    )
    for arm, what, value, low, high in rows:
        print(f"{arm:<34} {what:<22} {value:10.2f}  [{low:.2f}, {high:.2f}]")


def arms(folder: Path, teacher: Any) -> dict[str, Callable[[list[str]], Any]]:
    """What is timed, by name; each takes a list of one text."""
    from sentence_transformers import SentenceTransformer

    student = potstill.load(folder)
    assert isinstance(student.queries, StaticEncoder)
    tokenizer, plain = student.queries.tokenizer, SentenceTransformer(str(folder), device="cpu")
    return {
        "tokenizer": lambda one: tokenizer.encode(one[0], add_special_tokens=False).ids,
        "potstill": student.encode_queries,
        "student in sentence-transformers": lambda one: plain.encode(one, show_progress_bar=False),
        "teacher in sentence-transformers": lambda one: teacher.encode(one, show_progress_bar=False),
    }


def measure(systems: dict[str, Callable[[list[str]], Any]], queries: list[str], rounds: int) -> dict[str, np.ndarray]:
    """Nanoseconds `(rounds, queries)` by arm: ten queries a turn, each arm's turn once untimed before."""
    times = {name: np.zeros((rounds, len(queries))) for name in systems}
    order = list(systems)
    with one_thread():
        for round_ in range(rounds):
            order.append(order.pop(0))
            for first in range(0, len(queries), TURN):
                for name in order:
                    encode = systems[name]
                    for query in queries[first : first + TURN]:  # what the arm before left in the caches is not its
                        encode([query])
                    for place in range(first, min(first + TURN, len(queries))):
                        one = [queries[place]]
                        start = perf_counter_ns()
                        encode(one)
                        times[name][round_, place] = perf_counter_ns() - start
    return times


def summary(times: dict[str, np.ndarray], rng: np.random.Generator) -> list[tuple[str, str, float, float, float]]:
    """Rows (arm, measure, value, low, high): percentiles over all, bounds by resampling queries."""
    best = {name: np.median(rounds, axis=0) for name, rounds in times.items()}
    draws = rng.integers(0, len(best["potstill"]), size=(1000, len(best["potstill"])))
    rows = []

    def add(arm: str, what: str, of: Callable[[np.ndarray | slice], float]) -> None:
        drawn = [of(draw) for draw in draws]
        rows.append((arm, what, of(slice(None)), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))))

    for name, rounds in times.items():
        for percent in (50, 99):
            add(name, f"query us p{percent}", lambda at, r=rounds, p=percent: float(np.percentile(r[:, at], p)) / 1e3)
    for name in times:
        if name != "potstill":
            up, down = (name, "potstill") if "teacher" in name or "student" in name else ("potstill", name)
            add(
                "potstill",
                f"{up.split(' ')[0]} / {down} p50",
                lambda at, u=up, d=down: float(np.median(best[u][at]) / np.median(best[d][at])),
            )
    return rows


if __name__ == "__main__":
    main()
