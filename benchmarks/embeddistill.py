"""EmbedDistill's table, symmetric students, and students of cross-encoders, on real collections.

    POTSTILL_DATA=DIR python benchmarks/embeddistill.py table     [--collections scifact nfcorpus] [--seeds 0 1 2]
    POTSTILL_DATA=DIR python benchmarks/embeddistill.py symmetric [--collections scifact nfcorpus] [--seeds 0 1 2]
    POTSTILL_DATA=DIR python benchmarks/embeddistill.py cross     [--seeds 0] [--work DIR]
    python benchmarks/embeddistill.py tests

Finished cells are kept in `benchmarks/results/embeddistill.json`, the measure of each query in
`embeddistill_PART_queries.json`: run a part again to go on. `tests` compares neighbouring arms, seeds averaged query by
query, and writes its own cells. Choices were made on training and dev judgments; test splits are only reported.

The teacher is all-MiniLM-L6-v2. `cross` first teaches two cross-encoders from it on NFCorpus's training judgments.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cells import Cells, cell, paired_cells
from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

RECIPES = Path(__file__).parents[1] / "recipes"
RESULTS = Path(__file__).parent / "results"
MEASURE = "nDCG@10"

TABLE = {
    "1 direct": "embeddistill-1-direct",
    "2 + scores": "embeddistill-2-scores",
    "3 + inherited documents": "embeddistill-3-inherited",
    "4 + query matching": "embeddistill-4-matching",
    "5 + generated queries": "embeddistill-5-generated",
}
_SCORED = "{family: scores, form: kl, weight: 3, documents: sample, count: 512}"
SYMMETRIC = {
    "symmetric": [],
    "symmetric, documents not matched": [f"objectives=[match:l2, {_SCORED}]"],
    "symmetric, queries alone": ["objectives=[match:l2]"],
}

_MINILM = "{family: scores, form: kl, documents: mined}, {family: match, form: l2, role: both}"
_SCORES = "{{family: scores, form: kl, teacher: {0}}}"
_MATCH = ", {{family: match, form: l2, role: both, teacher: {0}, count: 2}}"
CROSS_SETTINGS = (
    "student={kind: static, parameters: 2270000}",
    "candidates={sources: [teacher, bm25], count: 5}",
    "training={epochs: 30, max_texts_per_batch: 64, select: last}",
    "queries.held_out=100",
)
CROSS = {
    "student of MiniLM's vectors": _MINILM,
    "student of cls scores": _SCORES.format("cls"),
    "student of cls scores + matching": (_SCORES + _MATCH).format("cls"),
    "student of dual scores": _SCORES.format("dual"),
    "student of dual scores + matching": (_SCORES + _MATCH).format("dual"),
}
INDEXED_SETTINGS = (
    "towers=asymmetric",
    "student={kind: static, parameters: 2270000}",
    "candidates={sources: [teacher, bm25], count: 5, judged_only: true}",
    "training={epochs: 6, max_texts_per_batch: 256, select: last}",
    "queries={judgments: train, other_splits: false, cap: 12000, held_out: 100}",
)
_VECTORS_ALONE = "match:l2, {family: scores, form: kl, weight: 3, documents: all}"
_AND = ", {{family: scores, form: kl, teacher: {0}, weight: 3}}"
LARGER_SETTINGS = (
    "towers=asymmetric",
    "student=static",
    "candidates={sources: [teacher, bm25], count: 5, judged_only: true}",
    "queries={judgments: train, held_out: 100}",
    "training={select: last}",
)
LARGER = {
    "static student on MiniLM's index, its vectors": _VECTORS_ALONE,
    "static student on MiniLM's index, + dual scores": _VECTORS_ALONE + _AND.format("dual"),
}
INDEXED = {
    "student on MiniLM's index, its vectors": _VECTORS_ALONE,
    "student on MiniLM's index, + cls scores": _VECTORS_ALONE + _AND.format("cls"),
    "student on MiniLM's index, + dual scores": _VECTORS_ALONE + _AND.format("dual"),
}
_ROWS = [*TABLE]
_RE = {arm: f"re-ranking: {arm}" for arm in (*CROSS, *INDEXED, *LARGER, "first stage", "cls", "dual")}
_VECTORS = _RE["student of MiniLM's vectors"]
PAIRS = [
    (_RE["static student on MiniLM's index, its vectors"], _RE["static student on MiniLM's index, + dual scores"]),
    *itertools.pairwise(_ROWS),
    ("symmetric", "symmetric, documents not matched"),
    ("symmetric, queries alone", "symmetric"),
    (_RE["first stage"], _RE["dual"]),
    (_RE["first stage"], _RE["cls"]),
    (_RE["cls"], _RE["dual"]),
    *((_VECTORS, _RE[arm]) for arm in CROSS if arm != "student of MiniLM's vectors"),
    *(
        (_RE["student on MiniLM's index, its vectors"], _RE[f"student on MiniLM's index, + {n} scores"])
        for n in ("cls", "dual")
    ),
    *((_RE[f"student of {name} scores"], _RE[f"student of {name} scores + matching"]) for name in ("cls", "dual")),
]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["table", "symmetric", "cross", "tests"])
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/embeddistill"))
    parser.add_argument("--signals", type=Path, default=None)
    given = parser.parse_args()
    bench = Bench(given.part, given.signals, given.work)
    if given.part == "tests":
        bench.tests()
    elif given.part == "cross":
        bench.cross(given.seeds, given.arms)
    else:
        bench.grid(given.part, given.collections, given.seeds, given.arms)


class Bench:
    """The cells, and how each is made."""

    def __init__(self, part: str, signals: Path | None, work: Path) -> None:
        self.signals, self.work = signals, work
        self.cells = Cells(RESULTS / "embeddistill.json")
        self.queries = RESULTS / f"embeddistill_{part}_queries.json"

    def grid(self, part: str, collections: list[str], seeds: list[int], arms: list[str] | None) -> None:
        """Rows of the table, or symmetric students."""
        for collection in collections:
            for seed in seeds:
                for arm in arms or (TABLE if part == "table" else SYMMETRIC):
                    if self.cells.has(collection=collection, arm=arm, seed=seed, measure=f"retention {MEASURE}"):
                        continue
                    name = TABLE[arm] if part == "table" else "symmetric-tenth"
                    settings = [] if part == "table" else SYMMETRIC[arm]
                    self.distil(collection, arm, seed, name, settings)

    def distil(self, collection: str, arm: str, seed: int, name: str, settings: list[str]) -> None:
        """One run; its figures and its queries' measures."""
        from potstill import pipeline
        from potstill.recipe import load_recipe

        recipe = load_recipe(
            RECIPES / f"{name}.yaml",
            flags={"collection": str(data() / collection), "teacher": teacher()},
            settings=[*settings, f"training.seed={seed}", "evaluate.cost=false"],
        )
        run = Path(tempfile.mkdtemp(prefix="potstill-embeddistill-")) / "run"
        try:
            found = pipeline.distill(recipe, run, signals=self.signals)
            record = json.loads((run / "run.json").read_text(encoding="utf-8"))
            values = per_query(run)
            reranked = None
            if (run / "reranking.json").is_file():
                reranked = json.loads((run / "reranking.json").read_text(encoding="utf-8"))
        finally:
            shutil.rmtree(run.parent)
        kept = found["retention"][MEASURE]
        bounds = {"low": kept["low"], "high": kept["high"], "p": kept["p"]}
        rows = [
            cell(collection, arm, seed, "parameters", record["student"]["parameters"]),
            cell(collection, arm, seed, "training seconds", record["seconds"]["training"]),
            cell(collection, arm, seed, f"retention {MEASURE}", kept["value"], **bounds),
        ]
        for system in ("teacher", "student"):
            value, interval = found["systems"][system][MEASURE], found["intervals"][system][MEASURE]
            rows.append(cell(collection, arm, seed, f"{system} {MEASURE}", value, **interval))
        self.keep(collection, arm, seed, values)
        if reranked is not None:
            rows += self.reranked(collection, arm, seed, found["reranking"], reranked)
        self.cells.add(rows)
        print(f"{collection}, {arm}, seed {seed}: {kept['value']:.4f} ({kept['low']:.4f} to {kept['high']:.4f})")

    def reranked(
        self, collection: str, arm: str, seed: int, found: Mapping[str, Any], values: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Cells of re-ranking the teacher's first documents; the scorers' are kept once, under their own names."""
        rows = []
        for system, measures in found["systems"].items():
            name = f"re-ranking: {arm}" if system == "student" else f"re-ranking: {system}"
            number = seed if system == "student" else None
            interval = found["intervals"][system][MEASURE]
            rows.append(cell(collection, name, number, MEASURE, measures[MEASURE], **interval))
            for other, kept in found["retention"].get(system, {}).items():
                bounds = {key: kept[MEASURE][key] for key in ("low", "high", "p")}
                rows.append(cell(collection, name, number, f"of {other}", kept[MEASURE]["value"], **bounds))
            self.keep(
                collection, name, number, dict(zip(values["queries"], values["systems"][system][MEASURE], strict=True))
            )
        return rows

    def keep(self, collection: str, arm: str, seed: int | None, values: Mapping[str, float]) -> None:
        """Keep the measure of every query, for paired tests."""
        from potstill.atomic import write_json

        held = self.held()
        rounded = {query: round(value, 6) for query, value in values.items()}
        held.setdefault(collection, {}).setdefault(arm, {})[str(seed)] = rounded
        write_json(self.queries, held)

    def held(self) -> dict[str, Any]:
        """What `keep` kept."""
        return json.loads(self.queries.read_text(encoding="utf-8")) if self.queries.exists() else {}

    def cross(self, seeds: list[int], arms: list[str] | None) -> None:
        """Two cross-encoders, then students of them."""
        for seed in seeds:
            for arm in arms or (*CROSS, *INDEXED, *LARGER):
                if self.cells.has(collection="nfcorpus", arm=arm, seed=seed, measure=f"retention {MEASURE}"):
                    continue
                scorers = [
                    {"kind": kind, "name": name, "model": str(self.taught(kind) / "model")}
                    for name, kind in (("cls", "cross-encoder"), ("dual", "dual-pooled"))
                ]
                groups = ((CROSS, CROSS_SETTINGS), (INDEXED, INDEXED_SETTINGS), (LARGER, LARGER_SETTINGS))
                terms, more = next((group[arm], more) for group, more in groups if arm in group)
                settings = [f"scorers={json.dumps(scorers)}", f"objectives=[{terms}]", *more]
                self.distil("nfcorpus", arm, seed, "embeddistill-dual-pooled", settings)

    def taught(self, kind: str) -> Path:
        """A cross-encoder taught on NFCorpus's training judgments; made once."""
        import potstill

        out = self.work / kind
        if not (out / "teach.json").is_file():
            settings = {
                "max_length": 64,
                "positives": 2,
                "training.learning_rate": 2e-5 if kind == "dual-pooled" else 5e-5,
                "training.epochs": 1,
                "training.validate_every": 60,
                "training.patience": 10,
                "training.bf16": True,
            }
            potstill.teach(kind, data() / "nfcorpus", teacher(), out=out, settings=settings, signals=self.signals)
        return out

    def tests(self) -> None:
        """Paired tests between neighbouring arms, seeds averaged query by query."""
        held: dict[str, dict[str, Any]] = {}
        for path in sorted(RESULTS.glob("embeddistill_*_queries.json")):
            for collection, arms in json.loads(path.read_text(encoding="utf-8")).items():
                held.setdefault(collection, {}).update(arms)
        rows: list[dict[str, Any]] = []
        for collection, arms in held.items():
            for first, second in PAIRS:
                if first in arms and second in arms:
                    seeds = sorted(arms[first].keys() & arms[second].keys()) or [*arms[first]]
                    a = [arms[second][seed] for seed in sorted(arms[second]) if seed in seeds or seed == "None"]
                    b = [arms[first][seed] for seed in sorted(arms[first]) if seed in seeds or seed == "None"]
                    rows += paired_cells(collection, f"{second} against {first}", b, a, MEASURE)
        self.cells.add(rows)


def per_query(run: Path) -> dict[str, float]:
    """The student's measure of every query."""
    rows = (json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["query_id"]: row["measures"]["student"][MEASURE] for row in rows}


if __name__ == "__main__":
    main()
