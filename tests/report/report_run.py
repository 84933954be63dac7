"""A made-up run folder, as realistic as a real one: 120 queries, 60 documents, one student, plausible curves."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

TOPICS = [
    ("aspirin", "reduces the risk of colorectal cancer"),
    ("vitamin D deficiency", "is linked to multiple sclerosis"),
    ("BRCA1 loss", "impairs homologous recombination"),
    ("statins", "lower LDL cholesterol in elderly patients"),
    ("gut microbiota", "modulates the response to PD-1 blockade"),
    ("H. pylori infection", "raises the risk of gastric ulcer"),
    ("p16INK4A", "accumulates in senescent cells"),
    ("metformin", "extends the lifespan of mice"),
    ("miR-21", "is upregulated in glioblastoma"),
    ("obesity", "is associated with a shorter telomere length"),
]
FINDINGS = [
    "a randomised controlled trial",
    "evidence from a cohort of 12,000 adults",
    "a genome-wide association study",
    "results in knockout mice",
    "a systematic review of 31 trials",
    "single-cell sequencing of 40 patients",
]
MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
RECIPE = """collection: examples/scifact
teacher:
  model: sentence-transformers/all-MiniLM-L6-v2
  dtype: float32
student:
  kind: static
  phrases: 30000
towers: asymmetric
queries:
  cap: 40000
training:
  learning_rate: 0.02
  epochs: 4
  seed: 0
"""


def write_lines(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def run_json(total: int = 38_412) -> dict:
    return {
        "potstill": "0.1.0",
        "created": "2026-03-14T09:26:53+00:00",
        "machine": {"cpu": "AMD EPYC 9554", "cores": 2, "memory_gib": 15.6, "platform": "Linux 6.1, Python 3.11.2"},
        "versions": {"torch": "2.13.0", "sentence-transformers": "6.2.0", "transformers": "5.23.0", "numpy": "2.4.1"},
        "seed": 0,
        "seconds": {"teacher": 214.0, "training": 128.4, "evaluation": 31.9, "total": 391.2},
        "collection": {
            "name": "SciFact",
            "source": "examples/scifact",
            "documents": 5183,
            "notes": [
                "2 documents have an empty text and are kept: 4983, 5836",
                "1 judgment of a missing document dropped",
            ],
        },
        "teacher": {
            "name": "sentence-transformers/all-MiniLM-L6-v2",
            "dimensions": 384,
            "metric": "cosine",
            "fingerprint": {
                "kind": "sentence-transformers",
                "revision": "c9745ed1",
                "prompt": "",
                "pooling": "mean",
                "max_length": 256,
                "normalize": True,
                "dtype": "float32",
            },
        },
        "student": {
            "kind": "static",
            "parameters": 22_961_202,
            "bytes": 46_201_344,
            "dimensions": 384,
            "description": "static table of 59,793 entries × 384, 30,000 of them phrases",
        },
        "towers": "asymmetric",
        "queries": {
            "total": total,
            "held_out": 500,
            "sources": {"titles": 5180, "sentences": 9871, "spans": 10_240, "phrases": 6800, "keywords": 6321},
            "excluded": {"evaluated queries": 3, "duplicates": 1588, "empty": 0},
            "truncated": 412,
            "examples": {
                "titles": [
                    "Aspirin and colorectal cancer",
                    "Vitamin D and multiple sclerosis",
                    "Statins in the elderly",
                ],
                "sentences": ["We found no effect of dose on overall survival.", "Mice were followed for 24 months."],
                "spans": ["shorter telomere length in obese adults", "risk of gastric ulcer"],
                "phrases": ["homologous recombination", "knockout mice"],
                "keywords": ["metformin lifespan mice", "PD-1 microbiota"],
            },
        },
        "warnings": [
            "412 documents are longer than the teacher’s 256 tokens; what follows was never seen by either model."
        ],
    }


def evaluation_json() -> dict:
    teacher = {"nDCG@10": 0.6451, "RR@10": 0.6043, "R@100": 0.925, "AP": 0.5975}
    student = {"nDCG@10": 0.6393, "RR@10": 0.6011, "R@100": 0.9017, "AP": 0.5941}
    interval = {name: {"low": value - 0.046, "high": value + 0.045} for name, value in teacher.items()}
    return {
        "collection": "SciFact",
        "split": "test",
        "documents": 5183,
        "queries": 300,
        "systems": {"teacher": teacher, "student": student},
        "intervals": {
            "teacher": interval,
            "student": {name: {"low": value - 0.047, "high": value + 0.046} for name, value in student.items()},
        },
        "retention": {
            "nDCG@10": {"value": 0.991, "low": 0.972, "high": 1.0101, "p": 0.312},
            "RR@10": {"value": 0.9947, "low": 0.969, "high": 1.021, "p": 0.68},
            "R@100": {"value": 0.9748, "low": 0.958, "high": 0.991, "p": 0.0009},
            "AP": {"value": 0.9943, "low": 0.97, "high": 1.018, "p": 0.64},
        },
        "agreement": {
            "overlap@10": {"value": 0.724, "low": 0.706, "high": 0.742, "queries": 300, "source": "judged queries"}
        },
        "cost": {
            "teacher": {
                "parameters": 22_713_216,
                "bytes": 90_868_376,
                "query_ms_p50": 15.02,
                "query_ms_p99": 19.4,
                "queries_per_s": 212.0,
            },
            "student": {
                "parameters": 22_961_202,
                "bytes": 46_201_344,
                "query_ms_p50": 0.0484,
                "query_ms_p99": 0.091,
                "queries_per_s": 31_450.0,
            },
        },
        "prefixes": {
            "128": {
                "retention": {"nDCG@10": {"value": 0.931, "low": 0.9, "high": 0.962, "p": 0.0001}},
                "agreement": {"overlap@10": {"value": 0.61, "low": 0.59, "high": 0.63, "queries": 300}},
            }
        },
        "excluded_self": 0,
        "notes": ["AP: over the first 100 documents of each query"],
        "guarantee": guarantee_json(),
    }


def guarantee_json() -> dict:
    def around(value: float) -> dict:
        return {"value": value, "low": 0.96 * value, "high": 1.03 * value}

    def order(certified: float, kept: float, radius: float, pairs: int) -> dict:
        return {
            "certified": around(certified),
            "kept": around(kept),
            "radius": around(radius),
            "pairs": pairs,
            "queries": 300,
            "violations": 0,
        }

    return {
        "k": 10,
        "depth": 100,
        "queries": 300,
        "longest": 1.0,
        "error": around(0.412),
        "top": order(0.031, 0.812, 0.044, 13_500),
        "rest": order(0.12, 0.951, 0.112, 270_000),
        "losses": [
            {"temperature": 1.0, "bound": around(0.824), "gap": around(0.021), "violations": 0},
            {"temperature": 0.05, "bound": around(16.48), "gap": around(0.333), "violations": 0},
        ],
        "directions": {
            "variance": 0.9,
            "leading": 166,
            "dimensions": 384,
            "share": around(0.551),
            "weighted": around(1.28),
            "queries": 300,
        },
    }


def metrics_lines() -> list:
    noise = random.Random(5)
    rows: list = []
    for step in range(20, 2001, 20):
        match = 0.32 + 0.9 * math.exp(-step / 260) + noise.gauss(0, 0.008)
        scores = 0.11 + 0.6 * math.exp(-step / 400) + noise.gauss(0, 0.006)
        rows.append(
            {
                "step": step,
                "epoch": step / 500,
                "seconds": step * 0.062,
                "loss": match + scores,
                "terms": {"match:l2": match, "scores:kl": scores},
                "gradient_norms": {"match:l2": 0.4 + match / 5, "scores:kl": 0.2 + scores / 3},
                "learning_rate": 0.02 * (1 - step / 2000),
                "texts_per_s": 17_000 + noise.gauss(0, 600),
            }
        )
        if step % 200 == 0:
            found = 0.71 - 0.5 * math.exp(-step / 350) - (0.004 if step > 1600 else 0)
            rows.append(
                {"step": step, "validation": {"score": found + 0.1, "cosine": found + 0.2, "overlap@10": found}}
            )
    return rows


def documents_json() -> dict:
    return {
        f"d{i}": f"{subject[0].upper()}{subject[1:]} {claim} — {FINDINGS[i % 6]}. Background: it is debated whether "
        f"{subject} {claim}; we followed the participants for {2 + i % 9} years and"
        for i, (subject, claim) in enumerate(TOPICS[n % 10] for n in range(60))
    }


def per_query_lines(count: int = 120) -> list:
    draw = random.Random(3)
    rows = []
    for n in range(count):
        subject, claim = TOPICS[n % 10]
        text = f"{subject[0].upper()}{subject[1:]} {claim} ({FINDINGS[n // 10 % 6]})."
        relevant = n % 10 + 10 * draw.randrange(6)
        best = [doc for doc in draw.sample(range(60), 10) if doc != relevant][:9]
        best.insert(draw.choice([0, 0, 0, 1, 2, 4]), relevant)
        other = best[:]
        if n % 3 == 0:
            draw.shuffle(other)
        tops = {}
        measures: dict = {}
        pair = (other, best) if n % 2 else (best, other)
        for side, ranked in zip(("teacher", "student"), pair, strict=True):
            place = ranked.index(relevant) + 1
            tops[side] = [[f"d{doc}", round(0.8 - 0.03 * i, 4)] for i, doc in enumerate(ranked)]
            measures[side] = {"nDCG@10": 1 / math.log2(place + 1), "RR@10": 1 / place, "R@100": 1.0, "AP": 1 / place}
        rows.append(
            {
                "query_id": f"q{n}",
                "text": text,
                "measures": measures,
                "overlap@10": round(draw.uniform(0.4, 1.0), 1),
                "teacher_top": tops["teacher"],
                "student_top": tops["student"],
                "relevant": {f"d{relevant}": 1},
            }
        )
    return rows


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(run_json()), encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation_json()), encoding="utf-8")
    (folder / "documents.json").write_text(json.dumps(documents_json()), encoding="utf-8")
    write_lines(folder / "metrics.jsonl", metrics_lines())
    write_lines(folder / "per_query.jsonl", per_query_lines())
    return folder


def write_unjudged_run(folder: Path) -> Path:
    """The same run as of a collection of documents alone: no split, no systems, agreement on held-out queries."""
    write_run(folder)
    evaluation = evaluation_json() | {
        "split": None,
        "queries": 0,
        "systems": {},
        "intervals": {},
        "retention": {},
        "notes": [],
    }
    evaluation["prefixes"]["128"]["retention"] = {}
    evaluation["agreement"]["overlap@10"] |= {"queries": 500, "source": "held-out generated queries"}
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    rows = [{k: v for k, v in row.items() if k not in ("measures", "relevant")} for row in per_query_lines()]
    write_lines(folder / "per_query.jsonl", rows)
    return folder


def edit(path: Path, change) -> None:
    """Load a JSON file, let `change` alter it in place, write it back."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
