"""Tiny runs of the whole pipeline, and what must hold of every one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.pipeline import distill
from potstill.recipe import load_recipe

MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
QUICK = ("queries.cap=80", "training.epochs=1", "training.max_texts_per_batch=16", "evaluate.cost=false")
FILES = {
    "recipe.yaml",
    "run.json",
    "metrics.jsonl",
    "checkpoints",
    "student",
    "evaluation.json",
    "per_query.jsonl",
    "documents.json",
    "report.html",
}


def quick_run(
    run: Path,
    *,
    collection: Path,
    teacher: Any,
    signals: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    **flags: Any,
) -> dict[str, Any]:
    """Distil with few queries, one epoch and no timing, unless `settings` say otherwise; gives evaluation.json."""
    named = {"collection": str(collection), "teacher": str(teacher) if isinstance(teacher, Path) else teacher}
    recipe = load_recipe(None, flags=named | flags, settings=[*QUICK, *settings])
    return distill(recipe, run, resume=resume, signals=signals)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def check_interval(value: dict[str, Any]) -> None:
    assert value["low"] <= value["value"] <= value["high"]


def check_evaluation(found: dict[str, Any], *, judged: bool = True, measures: Sequence[str] = MEASURES) -> None:
    """The keys and types that `evaluation.json` promises."""
    assert isinstance(found["collection"], str)
    assert type(found["documents"]) is int
    assert type(found["queries"]) is int
    assert set(found["agreement"]) == {"overlap@10"}
    check_interval(found["agreement"]["overlap@10"])
    assert 0 <= found["agreement"]["overlap@10"]["value"] <= 1
    if not judged:
        assert found["split"] is None
        assert found["systems"] == {}
        assert found["retention"] == {}
        assert found["queries"] == 0
        assert found["agreement"]["overlap@10"]["source"] == "held-out generated queries"
        assert found["agreement"]["overlap@10"]["queries"] > 0
        return
    assert isinstance(found["split"], str)
    assert {"teacher", "student"} <= set(found["systems"])
    for system in found["systems"].values():
        assert list(system) == list(measures)
        assert all(type(value) is float and 0 <= value <= 1 for value in system.values())
    assert list(found["retention"]) == list(measures)
    for name, kept in found["retention"].items():
        assert {"value", "low", "high", "p"} <= set(kept)
        teacher = found["systems"]["teacher"][name]
        assert abs(kept["value"] - found["systems"]["student"][name] / teacher) < 1e-9
        assert 0 <= kept["p"] <= 1
        if kept["low"] is not None:
            check_interval(kept)


def check_cost(cost: dict[str, Any], systems: set[str]) -> None:
    """The keys and types of `evaluation.json`'s cost."""
    assert set(cost) == systems
    for name, row in cost.items():
        assert {"parameters", "bytes", "query_ms_p50", "query_ms_p99", "queries_per_s"} <= set(row), name
        assert 0 < row["query_ms_p50"] <= row["query_ms_p99"]
        assert row["queries_per_s"] > 0


def check_run(run: Path, found: dict[str, Any], *, judged: bool = True) -> dict[str, Any]:
    """What must hold of every finished run; gives run.json."""
    mined = any(spec["documents"] == "mined" for spec in read(run / "run.json")["objectives"])
    files = FILES | ({"candidates"} if mined else set())
    assert {path.name for path in run.iterdir() if not path.name.startswith("student-")} == files
    assert not list(run.rglob(".*")), "hidden leftovers"
    assert read(run / "evaluation.json") == found
    check_evaluation(found, judged=judged)
    per_query = lines(run / "per_query.jsonl")
    documents = read(run / "documents.json")
    assert len(per_query) == (found["queries"] or found["agreement"]["overlap@10"]["queries"])
    for row in per_query:
        assert row["text"]
        assert len(row["student_top"]) == len(row["teacher_top"]) == min(10, found["documents"])
        assert all(document in documents for document, _ in row["student_top"])
    metrics = lines(run / "metrics.jsonl")
    assert metrics[0]["step"] == 0
    assert "validation" in metrics[0]
    assert metrics[-1]["epoch"] >= 1.0
    assert any("loss" in line and "terms" in line for line in metrics)
    record = read(run / "run.json")
    assert {"potstill", "created", "machine", "versions", "seed", "seconds", "warnings"} <= set(record)
    assert {"queries", "student", "teacher", "training", "evaluation", "total"} <= set(record["seconds"])
    assert record["collection"]["documents"] == found["documents"]
    assert record["training"]["steps"] > 0
    assert record["student"]["parameters"] > 0
    queries = record["queries"]
    assert sum(queries["sources"].values()) == queries["total"] <= 80
    assert queries["held_out"] > 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html")
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.to_yaml() == (run / "recipe.yaml").read_text(encoding="utf-8")
    for file in (run / "student").rglob("*"):
        assert file.stat().st_mode & 0o044 == 0o044 or file.is_dir(), f"{file} cannot be read by others"
    return record
