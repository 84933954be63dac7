"""GOVERN: several teachers, no labels, one student, on answer sentences (WikiQA).

    POTSTILL_DATA=DIR python benchmarks/govern.py teach   [--teachers NAME...]
    python benchmarks/govern.py scores
    python benchmarks/govern.py grid  [--arms ARM...] [--seeds 0 1 2] [--jobs 2] [--until SECONDS]
    python benchmarks/govern.py tests
    python benchmarks/govern.py cost
    python benchmarks/govern.py ranker  [--seeds 0]

`teach` makes five teachers of all-MiniLM-L6-v2 on WikiQA's train judgments, whose rows are the lists to rank: two
cross-encoders (different seeds, so different held-out questions and negatives; the second from half the lists an
epoch), a dual-pooled one, a late-interaction model and a dual encoder. The weights that validate best on 64 held-out
train questions are kept. BM25 is the sixth. `scores` writes what each says of every question's candidates as a file of
scores, which the cells read: all arms hear the same numbers.

A cell trains the same student on the candidates of train and dev questions without their labels (the supervised arms: a
second stage with the train questions' labels), for as many updates, and is measured on the test questions that have a
right answer. The student begins as the dual encoder's query side and stays on its document vectors (`match:l2` of
weight 0.1): the primary teacher gives the index, all together the scores. Epochs, rate, temperature and that weight
were chosen on dev, by the mean of the teachers, trained on train questions alone. `tests` compares arms, seeds averaged
question by question. `cost` measures teachers and one student with `potstill ensemble`. `ranker` trains a cross-encoder
of two layers of 128 numbers in that student's place, from scratch, by the mean and by the hard vote.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cells import Cells, cell, paired_cells
from given import data, teacher

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

COLLECTION = "wikiqa"
RESULTS = Path(__file__).parent / "results"
MEASURES = ("AP", "RR")
TEACHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cross-a": ("cross-encoder", {"training.seed": 0, "training.learning_rate": 5e-5, "training.epochs": 3}),
    "cross-b": (
        "cross-encoder",
        {"training.seed": 1, "training.learning_rate": 5e-5, "training.epochs": 4, "lists": 450},
    ),
    "dual-pooled": ("dual-pooled", {"training.seed": 2, "training.learning_rate": 2e-5, "training.epochs": 3}),
    "late": ("late-interaction", {"training.seed": 3, "training.learning_rate": 2e-5, "training.epochs": 3}),
    "dual": ("dual-encoder", {"training.seed": 4, "training.learning_rate": 2e-5, "training.epochs": 3}),
}
PANEL = [*TEACHERS, "bm25"]
STUDENT = {"kind": "layers", "layers": [0, 1, 2, 3, 4, 5]}
RANKER = {"kind": "tiny", "reads": "pairs", "depth": 2, "width": 128, "max_length": 96}
RANKED = {"select": "last", "epochs": 6, "learning_rate": 1e-3}
MATCH = {"family": "match", "form": "l2", "weight": 0.1}
TEMPERATURE = 0.09  # of the dual encoder, calibrated: the student begins as its query side
TRAINING = {"select": "last", "epochs": 2, "learning_rate": 2e-5, "max_texts_per_batch": 32}
LATER = {"epochs": 1, "learning_rate": 2e-5}


def _vote(form: str, **vote: Any) -> dict[str, Any]:
    return {"family": "vote", "form": form, "vote": vote}


def _mean(form: str, **vote: Any) -> dict[str, Any]:
    return {"family": "ensemble", "form": form, "vote": vote}


ARMS: dict[str, dict[str, Any]] = {
    "mean": _mean("mean"),
    "mean of logits": _mean("logits"),
    "median": _mean("median"),
    "random": _mean("random"),
    "EBKD (1 - H)": _mean("entropy"),
    "EBKD (softmax)": _mean("entropy-softmax"),
    "AE-KD (C 0.4)": _mean("min-norm", cap=0.4),
    "AE-KD (C 0.6)": _mean("min-norm", cap=0.6),
    "AE-KD (C 1)": _mean("min-norm", cap=1.0),
    "GOVERN lists, hard": _vote("list"),
    "GOVERN lists, soft": _vote("list", soft=0.25),
    "GOVERN margins, hard": _vote("margin"),
    "GOVERN margins, soft": _vote("margin", soft=1.0),
    "GOVERN, cross-encoders together": _vote("list", together=[["cross-a", "cross-b", "dual-pooled"]]),
    "mean's direction, vote's length": _vote("list", matched="mean"),
    "vote's direction, mean's length": _vote("list", matched="vote"),
}
SINGLE = "best single teacher"
LABELLED = {
    "GOVERN-CA a": _vote("list", labelled="confidence"),
    "GOVERN-CA b": _vote("list", labelled="direction"),
    "CA-MKD": _mean("confidence"),
    "RL-KD": _mean("policy"),
    "labels alone": None,
}
"""Second stages, each after the hard vote on lists without labels."""
ROBUST = (
    "mean",
    "median",
    "AE-KD (C 0.6)",
    "GOVERN lists, hard",
    "GOVERN lists, soft",
    "mean's direction, vote's length",
)
CORRUPTED = {"shuffled": ("late",), "inverted": ("late",), "two inverted": ("late", "cross-b")}


_LOCK = threading.Lock()


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["teach", "scores", "grid", "work", "tests", "cost", "ranker"])
    parser.add_argument("--teachers", nargs="+", choices=list(TEACHERS), default=list(TEACHERS))
    parser.add_argument("--arms", nargs="+", default=[*ARMS, SINGLE, *LABELLED])
    parser.add_argument("--corrupted", nargs="+", choices=["none", *CORRUPTED], default=["none"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--until", type=float, default=math.inf, help="no cell is begun after so many seconds")
    parser.add_argument("--dev", action="store_true", help="train on train questions alone and measure on dev")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of the recipe, with --dev")
    parser.add_argument("--work", type=Path, default=Path("runs/govern"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.part == "teach":
        for name in given.teachers:
            teach(name, given.work)
    elif given.part == "scores":
        scores(given.work)
    elif given.part == "grid":
        grid(given)
    elif given.part == "work":
        print(json.dumps(distil(given.arms[0], given.corrupted[0], given.seeds[0], given)))
    elif given.part == "tests":
        tests(given)
    elif given.part == "ranker":
        ranker(given)
    else:
        cost(given)


def teach(name: str, work: Path) -> Path:
    """A teacher of MiniLM on WikiQA's train judgments; made once."""
    import potstill

    kind, settings = TEACHERS[name]
    out = work / "teachers" / name
    if not (out / "teach.json").exists():
        potstill.teach(
            kind,
            data() / COLLECTION,
            teacher(),
            out=out,
            resume=out.exists(),
            settings={"miner": ["judged"], "negatives": 7, "max_length": 96, "training.patience": 10, **settings},
        )
    return out / "model"


def members(work: Path) -> list[str]:
    """The panel, as `potstill ensemble` names its members."""
    kinds = {"dual-encoder": "vectors"}
    named = [
        f"{name}={kinds.get(kind, kind)}:{work / 'teachers' / name / 'model'}" for name, (kind, _) in TEACHERS.items()
    ]
    return [*named, "bm25=bm25:english"]


def scores(work: Path) -> None:
    """Every teacher's scores of every question's candidates, as files, whole and corrupted."""
    from potstill.collection import open_collection
    from potstill.pipeline.lists import judged_lists
    from potstill.pipeline.members import Lists, open_member
    from potstill.recipe.comparing import MemberSpec, short_member
    from potstill.teachers.kinds import kind_of

    collection = open_collection(str(data() / COLLECTION))
    judged = judged_lists(collection)
    ids = list(judged)
    rows_of = {name: row for row, name in enumerate(collection.document_ids)}
    width = max(map(len, judged.values()))
    rows = np.full((len(ids), width), -1, dtype=np.int64)
    for line, query in zip(rows, ids, strict=True):
        line[: len(judged[query])] = [rows_of[name] for name in judged[query]]
    lists = Lists.of(collection, ids, rows)
    folder = work / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(PANEL, members(work), strict=True):
        member = open_member(MemberSpec.model_validate(short_member(text, kind_of)), collection)
        table = member.scores(lists, None)
        write(folder / f"{name}.tsv", ids, collection.document_ids, rows, table)
        write(folder / f"{name}.inverted.tsv", ids, collection.document_ids, rows, -table)
        random = np.random.default_rng(0)
        mixed = table.copy()
        for line, there in zip(mixed, rows >= 0, strict=True):
            line[there] = random.permutation(line[there])
        write(folder / f"{name}.shuffled.tsv", ids, collection.document_ids, rows, mixed)


def write(path: Path, ids: list[str], names: Any, rows: np.ndarray, table: np.ndarray) -> None:
    """One file of scores."""
    lines = ["query-id\tcorpus-id\tscore"]
    for query, line, values in zip(ids, rows.tolist(), table.tolist(), strict=True):
        lines += [f"{query}\t{names[row]}\t{value!r}" for row, value in zip(line, values, strict=True) if row >= 0]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(arm: str, corrupted: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """The recipe of a cell."""
    work = given.work.resolve()
    wrong = CORRUPTED.get(corrupted, ())
    how = corrupted.split()[-1]

    def file(name: str) -> str:
        return str(work / "scores" / (f"{name}.{how}.tsv" if name in wrong else f"{name}.tsv"))

    scorers = [{"kind": "file", "name": name, "path": file(name)} for name in PANEL]
    whole: dict[str, Any] = {
        "collection": str(data() / COLLECTION),
        "teacher": {"model": str(work / "teachers" / "dual" / "model"), "name": "its vectors"},
        "scorers": scorers,
        "student": STUDENT,
        "queries": {"cuts": False, "held_out": 10},
        "candidates": {"sources": ["judged"], "count": 29},
        "training": TRAINING | {"seed": seed},
        "evaluate": {"candidates": "judged", "answered": True, "measures": list(MEASURES), "cost": False},
    }
    if given.dev:
        whole["evaluate"]["split"] = "dev"
    if arm.startswith("ranker: "):
        told = ARMS[arm.removeprefix("ranker: ")] | {"teachers": PANEL}
        return whole | {"student": RANKER, "training": RANKED | {"seed": seed}, "objectives": [told]}
    if arm == SINGLE:
        alone = {"family": "scores", "form": "kl", "teacher": best_single(work), "student_temperature": TEMPERATURE}
        return whole | {"objectives": [MATCH, alone]}
    if arm not in LABELLED:
        return whole | {"objectives": [MATCH, {"student_temperature": TEMPERATURE} | ARMS[arm] | {"teachers": PANEL}]}
    heat = {"student_temperature": TEMPERATURE}
    first = [MATCH, heat | ARMS["GOVERN lists, hard"] | {"teachers": PANEL}]
    second: list[dict[str, Any]] = [MATCH, heat | {"family": "contrastive", "documents": "mined"}]
    if (told := LABELLED[arm]) is not None:
        second.append(heat | told | {"teachers": PANEL})
    later = {"objectives": second, "queries": {"judgments": "train"}, "training": LATER}
    return whole | {"objectives": first, "stages": [{}, later]}


def best_single(work: Path) -> str:
    """The teacher that validates best on its held-out train questions; no test question is looked at."""
    found = {}
    for name in TEACHERS:
        record = json.loads((work / "teachers" / name / "teach.json").read_text(encoding="utf-8"))
        found[name] = record["validation"]["after"]["nDCG@10"]
    return max(found, key=found.__getitem__)


def distil(arm: str, corrupted: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One cell: means, and the measure of every question."""
    from potstill import pipeline
    from potstill.recipe import load_recipe

    run = run_of(arm, corrupted, seed, given)
    path = run.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recipe(arm, corrupted, seed, given)), encoding="utf-8")
    found = pipeline.distill(load_recipe(path, settings=given.set), run, resume=run.exists())
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    of = lambda system: {  # noqa: E731
        name: {row["query_id"]: row["measures"][system][name] for row in rows} for name in MEASURES
    }
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "student": of("student"),
        "systems": {name: row["AP"] for name, row in found["reranking"]["systems"].items()},
        "seconds": record["seconds"]["training"],
    }


def run_of(arm: str, corrupted: str, seed: int, given: argparse.Namespace) -> Path:
    """Where a cell is run."""
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{arm}-{corrupted}-{seed}")
    return Path(given.work / ("dev" if given.dev else "cells") / name)


def grid(given: argparse.Namespace) -> None:
    """All cells that are not there yet, each in a process of its own."""
    begun = time.monotonic()
    held = given.results / "govern_queries.json"
    kept: dict[str, Any] = json.loads(held.read_text(encoding="utf-8")) if held.exists() else {}
    wanted = [
        (arm, corrupted, seed)
        for seed in given.seeds
        for corrupted in given.corrupted
        for arm in given.arms
        if f"{arm}|{corrupted}|{seed}" not in kept
    ]

    def one(job: tuple[str, str, int]) -> None:
        if time.monotonic() - begun > given.until:
            return
        arm, corrupted, seed = job
        line = [sys.executable, __file__, "work", "--arms", arm, "--corrupted", corrupted, "--seeds", str(seed)]
        line += ["--work", str(given.work), *(["--dev"] if given.dev else []), "--set", *given.set]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{job}: failed\n{done.stderr[-1500:]}", flush=True)
            return
        found = json.loads(done.stdout.strip().splitlines()[-1])
        mean = np.mean(list(found["student"]["AP"].values()))
        print(f"{arm} | {corrupted} | {seed}: AP {mean:.4f}, {found['seconds']:.0f} s, {found['systems']}", flush=True)
        if not given.dev:
            with _LOCK:
                keep(given.results, f"{arm}|{corrupted}|{seed}", found)

    with ThreadPoolExecutor(given.jobs) as pool:
        for future in [pool.submit(one, job) for job in wanted]:
            try:
                future.result()
            except Exception:
                traceback.print_exc()


def keep(results: Path, key: str, found: dict[str, Any]) -> None:
    """Write one finished cell."""
    from potstill.atomic import write_json

    results.mkdir(parents=True, exist_ok=True)
    held = results / "govern_queries.json"
    kept: dict[str, Any] = json.loads(held.read_text(encoding="utf-8")) if held.exists() else {}
    kept[key] = {
        "AP": {name: round(value, 5) for name, value in found["student"]["AP"].items()},
        "RR": {name: round(value, 5) for name, value in found["student"]["RR"].items()},
    }
    write_json(held, kept)
    arm, corrupted, seed = key.split("|")
    cells = [
        cell(
            COLLECTION,
            arm if corrupted == "none" else f"{arm} ({corrupted})",
            int(seed),
            name,
            float(np.mean(list(found["student"][name].values()))),
        )
        for name in MEASURES
    ]
    cells.append(cell(COLLECTION, arm, int(seed), f"training seconds, {corrupted}", found["seconds"]))
    Cells(str(results / "govern.json")).add(cells)


def tests(given: argparse.Namespace) -> None:
    """Paired tests between arms, seeds averaged question by question; retention of the ensemble."""
    from potstill.evaluation import retention

    kept = json.loads((given.results / "govern_queries.json").read_text(encoding="utf-8"))
    together = ensemble(given)
    mean_of_all = {row["query_id"]: row["measures"]["mean"]["AP"] for row in together}
    cells = [
        cell(
            COLLECTION,
            f"system: {name}",
            None,
            measure,
            float(np.mean([row["measures"][name][measure] for row in together])),
        )
        for name in together[0]["measures"]
        for measure in MEASURES
    ]

    def of(arm: str, corrupted: str = "none") -> list[dict[str, float]]:
        return [kept[f"{arm}|{corrupted}|{seed}"]["AP"] for seed in given.seeds if f"{arm}|{corrupted}|{seed}" in kept]

    for corrupted in ("none", *CORRUPTED):
        base = of("mean", corrupted)
        for arm in [*ARMS, SINGLE, *LABELLED]:
            runs = of(arm, corrupted)
            if not runs:
                continue
            mean = {query: float(np.mean([run[query] for run in runs])) for query in runs[0]}
            share = retention(mean, mean_of_all)
            label = arm if corrupted == "none" else f"{arm} ({corrupted})"
            cells.append(
                cell(
                    COLLECTION,
                    label,
                    None,
                    "retention of the ensemble's AP",
                    share.value,
                    low=share.low,
                    high=share.high,
                    p=share.p,
                )
            )
            print(
                f"{label:<50} AP {np.mean(list(mean.values())):.4f} over {len(runs)} seeds, keeps {share.value:.4f} "
                f"({share.low:.4f} to {share.high:.4f})"
            )
            if arm != "mean" and base and len(base) == len(runs):
                cells += paired_cells(
                    COLLECTION,
                    f"mean -> {label}" if corrupted == "none" else f"mean ({corrupted}) -> {label}",
                    base,
                    runs,
                    "AP",
                )
    for before, after in (
        ("mean's direction, vote's length", "GOVERN lists, hard"),
        ("median", "GOVERN lists, hard"),
        ("labels alone", "GOVERN-CA a"),
        ("labels alone", "GOVERN-CA b"),
        ("CA-MKD", "GOVERN-CA a"),
        ("GOVERN lists, hard", "GOVERN-CA a"),
    ):
        if len(of(before)) == len(of(after)) > 0:
            cells += paired_cells(COLLECTION, f"{before} -> {after}", of(before), of(after), "AP")
    Cells(str(given.results / "govern.json")).add(cells)


def ensemble(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures of every test question by the teachers and what they come to, from the files of scores."""
    import potstill

    out = given.work / "teachers.json"
    potstill.ensemble(
        data() / COLLECTION,
        [f"{name}=file:{given.work / 'scores' / f'{name}.tsv'}" for name in PANEL],
        candidates="judged",
        measures=MEASURES,
        settings={"answered": True, "cost": False},
        out=out,
    )
    lines = out.with_suffix(".per_query.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def cost(given: argparse.Namespace) -> None:
    """Teachers and one student, measured with their models: what the student costs of all teachers."""
    import potstill

    arm = given.arms[0] if given.arms[0] in ARMS else "GOVERN lists, hard"
    found = potstill.ensemble(
        data() / COLLECTION,
        members(given.work),
        student=run_of(arm, "none", given.seeds[0], given) / "student",
        candidates="judged",
        measures=MEASURES,
        settings={"answered": True},
        out=given.work / "ensemble.json",
    )
    share, kept = found["student"]["share_of_cost"], found["student"]["retention"]["mean"]["AP"]
    print(json.dumps({"share": share, "retention": kept, "cost": found["cost"]}, indent=1))
    cells = [
        cell(COLLECTION, "student", None, f"share of the teachers' {name.replace('_', ' ')}", value)
        for name, value in share.items()
    ]
    for name, each in found["cost"].items():
        if name != "unknown":
            cells.append(cell(COLLECTION, name, None, "ms a pair", each["ms_per_pair"]))
            cells.append(cell(COLLECTION, name, None, "multiply-adds a pair", each["multiply_adds_per_pair"] or 0.0))
    Cells(str(given.results / "govern.json")).add(cells)


def ranker(given: argparse.Namespace) -> None:
    """Cross-encoders from scratch in the student's place; kept as cells of their own."""
    given.arms = [f"ranker: {arm}" for arm in ("mean", "GOVERN lists, hard")]
    given.corrupted = ["none"]
    grid(given)


if __name__ == "__main__":
    main()
