"""Relational distillation on texts: students of at most a tenth of all-MiniLM-L6-v2, on its index and on their own.

    POTSTILL_DATA=DIR python benchmarks/rrd.py grid [--collections scifact nfcorpus] [--modes asymmetric symmetric]
    python benchmarks/rrd.py tests

Every arm trains the same static student (2.27 million numbers) on 5,000 queries that are drawn from the documents, for
as many updates; no judgments are learned from, weights are 1 and nothing was tuned. Temperatures of relations are
calibrated to 16 effective neighbours. Figures are of the test split: nDCG@10 and what is kept of the teacher's, the
overlap of the ten nearest documents with the teacher's, and Spearman's correlation of all scores of a query with the
teacher's, mean over queries.

Finished cells are kept in `benchmarks/results/rrd.json`, the measure of each query in `rrd_queries.json`: run a grid
again to go on. `tests` compares arms, seeds averaged query by query.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cells import Cells, cell, paired_cells
from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

RESULTS = Path(__file__).parent / "results"
MEASURE = "nDCG@10"
WIDTH = 128

COSINE, RRD, BOTH, OWN, DISCO, COSPRESS, KL = (
    "cosine regression",
    "RRD",
    "cosine + RRD",
    "own-space RRD",
    "DisCo",
    f"CosPress, {WIDTH} numbers",
    "in-batch KL",
)
MODES: dict[str, dict[str, Any]] = {
    "asymmetric": {"role": "query", "settings": ["training={epochs: 12, max_texts_per_batch: 256, select: last}"]},
    "symmetric": {
        "role": "both",
        "settings": ["towers=shared", "training={epochs: 5, max_texts_per_batch: 128, select: last}"],
    },
}
_MATCH, _BANK = {"family": "match", "form": "cosine"}, {"family": "relations", "form": "bank"}
_OWN, _DISCO = {"family": "relations", "form": "own"}, {"family": "relations", "form": "disco"}
ARMS: dict[str, list[dict[str, Any]]] = {
    COSINE: [_MATCH],
    RRD: [_BANK],
    BOTH: [_MATCH, _BANK],
    OWN: [_OWN],
    DISCO: [_DISCO],
    COSPRESS: [_MATCH],
    KL: [{"family": "scores", "form": "kl", "documents": "batch"}],
}
PAIRS = [(COSINE, arm) for arm in ARMS if arm != COSINE] + [(RRD, BOTH), (DISCO, RRD), (KL, RRD)]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["grid", "tests"])
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"])
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.part == "tests":
        tests(given.results)
        return
    cells = Cells(given.results / "rrd.json")
    for seed in given.seeds:
        for mode in given.modes:
            for collection in given.collections:
                for arm in given.arms:
                    key = f"{collection}, {mode}"
                    if not cells.has(collection=key, arm=arm, seed=seed, measure=MEASURE):
                        distil(collection, mode, arm, seed, cells, given.results / "rrd_queries.json")


def recipe_settings(mode: str, arm: str, seed: int) -> list[str]:
    """What a cell's recipe sets."""
    role = MODES[mode]["role"]
    terms = [each if each["family"] == "scores" else {**each, "role": role} for each in ARMS[arm]]
    if arm == OWN and mode == "asymmetric":  # alone it would leave the teacher's space
        terms.append({**_MATCH, "role": role})
    index = [f"index={{width: {WIDTH}}}"] if arm == COSPRESS else []
    return [
        "student={kind: static, parameters: 2270000}",
        "queries={cap: 5000, other_splits: false}",
        "objectives=" + json.dumps(terms),
        *MODES[mode]["settings"],
        *index,
        f"training.seed={seed}",
        "evaluate={cost: false}",
    ]


def distil(collection: str, mode: str, arm: str, seed: int, cells: Cells, held: Path) -> None:
    """One cell."""
    from potstill import pipeline
    from potstill.atomic import write_json
    from potstill.recipe import load_recipe

    flags = {"collection": str(data() / collection), "teacher": teacher()}
    recipe = load_recipe(None, flags=flags, settings=recipe_settings(mode, arm, seed))
    run = Path(tempfile.mkdtemp(prefix="potstill-rrd-")) / "run"
    try:
        found = pipeline.distill(recipe, run)
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
        rank = spearman(collection, run)
        alone = json.loads((run / "index.json").read_text(encoding="utf-8")) if arm == COSPRESS else None
    finally:
        shutil.rmtree(run.parent)
    key, kept = f"{collection}, {mode}", found["retention"][MEASURE]
    near = found["agreement"]["overlap@10"]
    made = [
        cell(key, arm, seed, MEASURE, found["systems"]["student"][MEASURE], **found["intervals"]["student"][MEASURE]),
        cell(key, arm, seed, f"retention {MEASURE}", kept["value"], low=kept["low"], high=kept["high"], p=kept["p"]),
        cell(key, arm, seed, "overlap@10", near["value"], low=near["low"], high=near["high"]),
        cell(key, arm, seed, "Spearman", rank),
        cell(key, arm, seed, "parameters", record["student"]["parameters"]),
        cell(key, arm, seed, "training seconds", record["seconds"]["training"]),
        cell(key, "teacher", None, MEASURE, found["systems"]["teacher"][MEASURE]),
    ]
    made += [
        cell(key, arm, seed, f"temperature of {each['term']}", each["teacher_temperature"])
        for each in record.get("relations", ())
    ]
    if alone is not None:
        whole = alone["retention"][MEASURE]
        bounds = {"low": whole["low"], "high": whole["high"], "p": whole["p"]}
        made.append(
            cell(key, f"the teacher in {WIDTH} numbers", seed, f"retention {MEASURE}", whole["value"], **bounds)
        )
    queries = json.loads(held.read_text(encoding="utf-8")) if held.exists() else {}
    values = {row["query_id"]: round(row["measures"]["student"][MEASURE], 6) for row in rows}
    queries.setdefault(key, {}).setdefault(arm, {})[str(seed)] = values
    write_json(held, queries)
    cells.add(made)
    print(f"{key}, {arm}, seed {seed}: {kept['value']:.4f}, overlap {near['value']:.3f}, {rank:.3f}", flush=True)


def spearman(collection: str, run: Path) -> float:
    """Correlation by rank of the student's scores of all documents with the teacher's, mean over test queries."""
    from scipy.stats import spearmanr

    from potstill import load
    from potstill.collection import open_collection
    from potstill.pipeline.vectors import document_vectors, query_vectors
    from potstill.recipe import TeacherSpec
    from potstill.teachers import open_teacher

    opened, model, student = (
        open_collection(str(data() / collection)),
        open_teacher(TeacherSpec(model=teacher())),
        load(run),
    )
    texts = [opened.queries[i] for i in opened.qrels("test")]
    documents = document_vectors(model, opened, None).all()
    theirs = query_vectors(model, texts, None, "queries").all() @ documents.T
    own = documents
    if student.note["towers"] != "asymmetric":
        own = student.encode_documents([document.full for document in opened.documents()])
    elif (run / "index").is_dir():
        own = np.load(run / "index" / "vectors.npy").astype(np.float32)
    ours = student.encode_queries(texts) @ own.T
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(ours, theirs, strict=True)]))


def tests(results: Path) -> None:
    """Paired tests between arms, seeds averaged query by query."""
    cells = Cells(results / "rrd.json")
    held = json.loads((results / "rrd_queries.json").read_text(encoding="utf-8"))
    rows = []
    for key, arms in held.items():
        for first, second in PAIRS:
            if first not in arms or second not in arms:
                continue
            seeds = sorted(arms[first].keys() & arms[second].keys())
            before, after = ([arms[arm][seed] for seed in seeds] for arm in (first, second))
            rows += paired_cells(key, f"{second} against {first}", before, after, MEASURE)
    cells.add(rows)


if __name__ == "__main__":
    main()
