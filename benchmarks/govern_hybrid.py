"""Hybrid search in one vector: MiniLM and BM25 on MiniLM's unchanged index, without labels.

    POTSTILL_DATA=DIR python benchmarks/govern_hybrid.py [--seeds 0 1 2] [--collections scifact nfcorpus]

`recipes/govern-hybrid.yaml` as it is. Kinds of queries and epochs were chosen on SciFact's training judgments. Runs are
kept in `--work`: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from cells import Cells, cell
from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every cell that is not there yet, and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/govern"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    from potstill import pipeline
    from potstill.recipe import load_recipe

    path = Path(__file__).parents[1] / "recipes" / "govern-hybrid.yaml"
    for collection in given.collections:
        for seed in given.seeds:
            run = given.work / "hybrid" / f"{collection}-{seed}"
            if not (run / "evaluation.json").exists():
                flags = {"collection": str(data() / collection), "teacher": teacher()}
                settings = [f"training.seed={seed}", "evaluate.rerank=0"]
                pipeline.distill(load_recipe(path, flags=flags, settings=settings), run, resume=run.exists())
            found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
            kept, cost = found["retention"]["nDCG@10"], found["cost"]
            share = cost["student"]["query_ms_p50"] / cost["teacher"]["query_ms_p50"]
            arm = "hybrid on MiniLM's index"
            values = {
                "nDCG@10": {
                    "value": found["systems"]["student"]["nDCG@10"],
                    **found["intervals"]["student"]["nDCG@10"],
                },
                "MiniLM's nDCG@10": {"value": found["systems"]["teacher"]["nDCG@10"]},
                "retention of nDCG@10": {name: kept[name] for name in ("value", "low", "high", "p")},
                "share of MiniLM's query time": {"value": share},
            }
            cells = [
                cell(
                    collection, arm, seed, name, row["value"], low=row.get("low"), high=row.get("high"), p=row.get("p")
                )
                for name, row in values.items()
            ]
            Cells(str(given.results / "govern.json")).add(cells)
            print(collection, seed, {name: round(row["value"], 4) for name, row in values.items()}, flush=True)


if __name__ == "__main__":
    main()
