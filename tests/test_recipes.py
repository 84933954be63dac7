"""Every recipe that ships runs end to end on a tiny teacher and a tiny collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from potstill.cli import run as cli
from potstill.recipe import Recipe, load_recipe
from tiny import (
    make_tiny_collection,
    make_tiny_cross_encoder,
    make_tiny_dual_pooled,
    make_tiny_encoder,
    make_tiny_late_interaction,
)

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))
SMALL = ("queries.cap=80", "training.epochs=1", "evaluate.cost=false")


def test_there_are_recipes():
    assert "tenth.yaml" in [path.name for path in RECIPES]


@pytest.fixture(scope="module")
def judged_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough judged queries to learn from them alone."""
    return make_tiny_collection(tmp_path_factory.mktemp("recipes") / "collection", documents=40, queries=96)


@pytest.fixture(scope="module")
def tiny_scorers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny scorer of each kind that a recipe names."""
    folder = tmp_path_factory.mktemp("scorers")
    return {
        "cross-encoder": make_tiny_cross_encoder(folder / "cross-encoder"),
        "dual-pooled": make_tiny_dual_pooled(folder / "dual-pooled"),
        "late-interaction": make_tiny_late_interaction(folder / "late-interaction"),
    }


@pytest.fixture(scope="module")
def deep_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of which a student of half its layers still has some to align."""
    return make_tiny_encoder(tmp_path_factory.mktemp("recipes") / "deep", layers=4)


def tiny_scorer(kind: str, scorers: dict[str, Path]) -> dict[str, object]:
    """What replaces a scorer's model; words of tiny documents tell few of them apart."""
    return {"perplexity": 2} if kind == "bm25" else {"model": str(scorers[kind]), "max_length": None}


def fitted(recipe: Recipe, scorers: dict[str, Path]) -> list[str]:
    """Settings that make a recipe fit a teacher of 32 dimensions and 2 layers, and scorers as tiny."""
    smaller = list(SMALL)
    if recipe.scorers:
        specs = [json.loads(spec.model_dump_json()) for spec in recipe.scorers]
        smaller.append("scorers=" + json.dumps([spec | tiny_scorer(spec["kind"], scorers) for spec in specs]))
    if any(term.layers.count for term in recipe.objectives):
        terms = [json.loads(term.model_dump_json()) for term in recipe.objectives]
        smaller.append(
            "objectives=" + json.dumps([term | {"layers": {**term["layers"], "count": None}} for term in terms])
        )
    if recipe.stages:
        stages = [{**stage, "training": {"epochs": 1}} for stage in recipe.stages]
        smaller.append("stages=" + json.dumps(stages))
    if recipe.student.layers is not None:
        smaller.append("student.layers=[0, 1]")
    for key in ("width", "embedding_rank", "rank"):
        if getattr(recipe.student, key) is not None:
            smaller.append(f"student.{key}=16")
    if recipe.index is not None:
        smaller += ["index.width=8", "index.updates=10", "index.batch=16"]
    if recipe.evaluate.prefixes:
        smaller.append("evaluate.prefixes=[8, 16]")
    if any(spec.prefixes for spec in recipe.objectives):
        terms = [json.loads(spec.model_dump_json()) for spec in recipe.objectives]
        smaller.append("objectives=" + json.dumps([term | {"prefixes": [8, 16, 32]} for term in terms]))
    return smaller


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_recipe_runs(
    path: Path,
    tmp_path: Path,
    judged_collection: Path,
    tiny_encoder: Path,
    deep_encoder: Path,
    tiny_scorers: dict[str, Path],
):
    run = tmp_path / "run"
    teacher = deep_encoder if path.stem.startswith("lead") else tiny_encoder
    given = {"collection": str(judged_collection), "teacher": str(teacher)}
    settings = fitted(load_recipe(path, flags=given), tiny_scorers)
    flags = [part for key, value in given.items() for part in (f"--{key}", value)]
    sets = [part for setting in settings for part in ("--set", setting)]
    assert cli(["distill", str(path), *flags, *sets, "--out", str(run), "--signals", str(tmp_path / "signals")]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert 0 < found["systems"]["student"]["nDCG@10"] <= 1
    recipe = load_recipe(run / "recipe.yaml")
    parameters = json.loads((run / "run.json").read_text())["student"]["parameters"]
    assert recipe.student.parameters is None or parameters <= recipe.student.parameters
    assert (run / "report.html").is_file()


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_recipe_says_what_it_is_for(path: Path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20
