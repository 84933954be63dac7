"""What the doctor sees before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_service import running

from potstill.cli import run as cli
from potstill.pipeline.doctor import Finding, examine
from potstill.recipe import load_recipe
from tiny import make_tiny_collection, make_tiny_cross_encoder, make_tiny_encoder, make_tiny_seq2seq


def look(collection: Path, teacher: Any, signals: Path, *settings: str, **flags: Any) -> list[Finding]:
    flags |= {"collection": str(collection), "teacher": str(teacher) if isinstance(teacher, Path) else teacher}
    recipe = load_recipe(None, flags=flags, settings=["queries.cap=80", *settings])
    return examine(recipe, signals=signals)


def of(findings: list[Finding], level: str) -> dict[str, str]:
    return {finding.topic: finding.message for finding in findings if finding.level == level}


@pytest.fixture
def signals(tmp_path: Path) -> Path:
    return tmp_path / "signals"


def test_all_is_well(tiny_collection: Path, tiny_encoder: Path, signals: Path):
    findings = look(tiny_collection, tiny_encoder, signals)
    assert {finding.level for finding in findings} == {"ok"}
    topics = {finding.topic for finding in findings}
    assert {"collection", "teacher", "queries", "leakage", "norms", "time", "disk", "student"} <= topics
    assert not signals.exists(), "looking fills no store"


def test_no_judgments_long_texts_and_odd_documents(tiny_encoder: Path, tmp_path: Path, signals: Path):
    folder = make_tiny_collection(tmp_path / "c", splits=())
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "empty", "text": ""}\n')
    warnings = of(look(folder, tiny_encoder, signals, "teacher.max_length.document=8"), "warning")
    assert {"collection", "length"} <= warnings.keys()
    assert "8 tokens" in warnings["length"]


def test_lengths_of_vectors_and_crowding(tiny_collection: Path, tmp_path: Path, signals: Path):
    teacher = make_tiny_encoder(tmp_path / "loud", normalize=False, similarity="dot")
    assert "norms" in of(look(tiny_collection, teacher, signals), "warning")


def test_crowded_vectors(tiny_collection: Path, signals: Path, monkeypatch: pytest.MonkeyPatch):
    with running() as service:
        alike = lambda text, dimensions=8: np.full(8, 8**-0.5) + len(text) * 1e-6  # noqa: E731
        monkeypatch.setattr("loopback_service.vector_of", alike)
        teacher = {"url": f"{service.url}/v1", "model": "any"}
        findings = look(tiny_collection, teacher, signals, "student.vocabulary_size=300")
    assert "collapse" in of(findings, "warning")
    assert not of(findings, "problem")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["evaluate.measures=[nonsense]"], "nonsense"),
        (["evaluate.split=dev"], "dev"),
        (["evaluate.prefixes=[99]"], "99"),
        (["objectives=[{family: match, prefixes: [99]}]"], "99"),
        (["student.kind=layers", "student.layers=[9]"], "9"),
        (["teacher.model=/nowhere"], "/nowhere"),
        (["collection=/nowhere"], "/nowhere"),
    ],
)
def test_what_a_run_would_refuse_is_a_problem(
    settings: list[str], words: str, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    findings = look(tiny_collection, tiny_encoder, signals, *settings)
    problems = [finding for finding in findings if finding.level == "problem"]
    assert len(problems) == 1
    assert words in problems[0].message
    assert problems[0].fix


def index(folder: Path, collection: Path, encoder: Path) -> dict[str, str]:
    from sentence_transformers import SentenceTransformer

    from potstill.collection import open_collection

    documents = list(open_collection(collection).documents())
    vectors = SentenceTransformer(str(encoder), device="cpu").encode([document.full for document in documents])
    np.save(folder / "index.npy", vectors)
    (folder / "index.ids.txt").write_text("".join(f"{document.id}\n" for document in documents))
    return {"index": str(folder / "index.npy")}


def test_an_index_of_another_model_is_seen(tiny_collection: Path, tiny_encoder: Path, tmp_path: Path, signals: Path):
    teacher = index(tmp_path, tiny_collection, tiny_encoder)
    assert not of(look(tiny_collection, teacher | {"model": str(tiny_encoder)}, signals), "warning")
    other = make_tiny_encoder(tmp_path / "other", seed=9)
    assert "index" in of(look(tiny_collection, teacher | {"model": str(other)}, signals), "warning")
    assert "training queries" in of(look(tiny_collection, teacher, signals), "problem")["input"]


def test_command_line(tiny_collection: Path, tiny_encoder: Path, signals: Path, capsys: pytest.CaptureFixture[str]):
    command = [
        "doctor",
        "--collection",
        str(tiny_collection),
        "--teacher",
        str(tiny_encoder),
        "--signals",
        str(signals),
    ]
    assert cli([*command, "--set", "queries.cap=80"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\n0 problems, 0 warnings\n")
    assert cli([*command, "--set", "evaluate.split=dev"]) == 2
    said = capsys.readouterr().out
    assert "problem" in said
    assert "what to do: " in said
    assert said.endswith("\n1 problems, 0 warnings\n")


def test_the_time_left_is_that_of_vectors_the_store_lacks(tiny_collection: Path, tiny_encoder: Path, tmp_path: Path):
    from potstill.api import distill
    from potstill.pipeline.doctor import examine
    from potstill.recipe import load_recipe

    flags = {"collection": str(tiny_collection), "teacher": str(tiny_encoder)}
    settings = ["queries.cap=60", "training.epochs=1", "evaluate.cost=false"]
    recipe = load_recipe(None, flags=flags, settings=settings)

    def said() -> str:
        return next(found.message for found in examine(recipe, signals=tmp_path / "signals") if found.topic == "time")

    assert "to encode 90 texts" in said()  # 30 documents and 60 queries
    distill(**flags, out=tmp_path / "run", settings=settings, signals=tmp_path / "signals")
    assert "to encode 0 texts" in said()


def test_scorers_and_what_they_will_cost(tiny_collection: Path, tiny_encoder: Path, tmp_path: Path, signals: Path):
    model = make_tiny_cross_encoder(tmp_path / "model")
    scorers = f"scorers=[{{kind: cross-encoder, name: heard, model: {model}}}, {{kind: cross-encoder, model: {model}}}]"
    terms = "objectives=[{family: scores, teacher: heard}]"
    found = look(tiny_collection, tiny_encoder, signals, scorers, terms, "candidates.count=5", towers="shared")
    told = [finding.message for finding in found if finding.topic == "scorers"]
    trained = next(finding.message for finding in found if finding.topic == "queries")
    count = int(trained.split(" for training")[0].replace(",", ""))
    assert f"at most {count * 6 + 12 * 30:,} pairs" in told[0]
    assert "only measured" in told[1]
    assert not signals.exists(), "looking fills no store"
    missing = look(tiny_collection, tiny_encoder, signals, "scorers=[{kind: sparse, model: /no/such}]")
    assert "no such" in of(missing, "problem")["input"]


def test_a_generator_is_tried_and_writes_nothing_down(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    model = make_tiny_seq2seq(tmp_path / "t5")
    how = [f"queries.generator.model={model}", "queries.generator.max_output=6", "queries.generator.sources=20"]
    findings = of(look(tiny_collection, tiny_encoder, signals, *how), "ok")
    assert "2 queries for each of 20 documents" in findings["generator"]
    assert "generated" not in findings["queries"]
    rewriting = of(look(tiny_collection, tiny_encoder, signals, *how, "queries.generator.reads=queries"), "ok")
    assert "queries for each of 12 queries" in rewriting["generator"]
    assert not signals.exists()
    missing = look(tiny_collection, tiny_encoder, signals, f"queries.generator.model={tiny_encoder}")
    assert "no sequence-to-sequence model" in of(missing, "problem")["input"]
