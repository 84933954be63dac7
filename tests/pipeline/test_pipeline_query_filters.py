"""Filters and coverage on vectors by hand, and whole runs with a generator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline_runs import check_run, quick_run, read

from potstill.errors import InputError
from potstill.pipeline.query_filters import CANDIDATES, VectorScores, filtered, query_coverage
from potstill.pipeline.vectors import Vectors
from potstill.queries import TrainingQueries
from potstill.queries.filters import entropy
from potstill.recipe import QueriesSpec
from potstill.training.data import ArrayVectors
from tiny import make_tiny_seq2seq

RANDOM = np.random.default_rng(0)
DOCUMENTS = RANDOM.normal(size=(50, 8)).astype(np.float32)


def vectors(array: np.ndarray) -> Vectors:
    return Vectors(ArrayVectors(np.asarray(array, dtype=np.float32)), np.arange(len(array)))


def spec(**options: Any) -> QueriesSpec:
    return QueriesSpec.model_validate({"generator": {"model": "none"}} | options)


def made(room: int | None = None, real: int = 20, generated: int = 40) -> tuple[TrainingQueries, Vectors]:
    """Generated query i is of document i, and near to it for even i alone; two cuts lie anywhere."""
    near = np.arange(generated) % 2 == 0
    sources = np.where(near[:, None], DOCUMENTS[:generated], -DOCUMENTS[:generated])
    noise = RANDOM.normal(size=sources.shape).astype(np.float32)
    targets = np.concatenate([RANDOM.normal(size=(real, 8)), sources + 0.1 * noise, -DOCUMENTS[:2]])
    names = ["real"] * real + ["generated"] * generated + ["spans"] * 2
    queries = TrainingQueries(
        texts=[f"query {i}" for i in range(len(names))],
        sources=names,
        documents=np.concatenate([np.full(real, -1), np.arange(generated), [0, 1]]),
        held_out=["held real", "held cut"],
        held_out_documents=np.array([-1, 4]),
        held_out_sources=["real", "titles"],
        counts=dict(Counter(names)),
        excluded={"empty": 1},
        room=room,
    )
    return queries, vectors(targets)


def test_round_trip_drops_what_does_not_lead_back():
    queries, targets = made()
    left, rows = filtered(queries, spec(round_trip=3), vectors(DOCUMENTS), targets, "cosine")
    assert left.texts == [f"query {i}" for i in [*range(20), *range(20, 60, 2), 60, 61]]
    assert np.array_equal(rows.all(), targets.all()[[int(text.split()[1]) for text in left.texts]])
    reason = "generated: the teacher does not find their document among its best 3"
    assert left.excluded == {"empty": 1, reason: 20}
    assert left.counts == {"real": 20, "generated": 20, "spans": 2}
    cuts_too, _ = filtered(
        queries, spec(round_trip=3), vectors(DOCUMENTS), targets, "cosine", round_trip_of=("generated", "spans")
    )
    assert cuts_too.texts == left.texts[:-2]
    everything, _ = filtered(queries, spec(round_trip=50), vectors(DOCUMENTS), targets, "cosine")
    assert everything.texts == queries.texts


def test_nothing_to_do_changes_nothing():
    queries, targets = made()
    assert filtered(queries, spec(), vectors(DOCUMENTS), targets, "dot") == (queries, targets)
    left, _ = filtered(queries, spec(pick="entropy"), vectors(DOCUMENTS), targets, "dot")
    assert left.texts == queries.texts, "there is room for all"


def test_the_least_sure_are_picked():
    queries, targets = made(room=7)
    left, _ = filtered(queries, spec(pick="entropy"), vectors(DOCUMENTS), targets, "cosine", temperature=0.2)
    assert left.counts == {"real": 20, "generated": 7, "spans": 2}
    assert left.room is None
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (targets.all()[20:60], DOCUMENTS)]
    scores = unit[0] @ unit[1].T
    best = -np.sort(-scores, axis=1)[:, :CANDIDATES]
    missing = ~(best == scores[np.arange(40), np.arange(40)][:, None]).any(axis=1)
    best[missing, -1] = scores[np.arange(40), np.arange(40)][missing]
    expected = np.sort(np.argsort(-entropy(best, 0.2), kind="stable")[:7]) + 20
    assert [text for text, source in zip(left.texts, left.sources, strict=True) if source == "generated"] == [
        f"query {i}" for i in expected
    ]


def test_where_the_student_differs():
    """A student that is the teacher but for five queries: these are picked, by both criteria that ask it."""
    queries, targets = made(room=5)
    thought = targets.all().copy()
    odd = np.array([22, 30, 38, 46, 54])
    thought[odd] *= -1
    student = VectorScores(lambda rows: thought[rows], lambda rows: DOCUMENTS[rows], "cosine")
    for pick in ("disagreement", "teacher-right"):
        left, _ = filtered(queries, spec(pick=pick), vectors(DOCUMENTS), targets, "cosine", student=student)
        found = [text for text, source in zip(left.texts, left.sources, strict=True) if source == "generated"]
        assert found == [f"query {i}" for i in odd], pick
        with pytest.raises(ValueError, match="student"):
            filtered(queries, spec(pick=pick), vectors(DOCUMENTS), targets, "cosine")


def test_round_trip_first_then_the_pick():
    queries, targets = made(room=10)
    left, _ = filtered(queries, spec(pick="entropy", round_trip=3), vectors(DOCUMENTS), targets, "cosine")
    assert left.counts["generated"] == 10
    assert all(int(text.split()[1]) % 2 == 0 for text in left.texts[20:30])
    assert list(left.excluded.values()) == [1, 20, 10]


def test_too_few_left_is_told():
    queries, targets = made(real=2, generated=30)
    with pytest.raises(InputError, match="leave 19 of 34") as caught:
        filtered(queries, spec(round_trip=1), vectors(DOCUMENTS), targets, "cosine")
    assert caught.value.where == "queries.round_trip"


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_scores_of_vectors(metric: Any):
    queries = RANDOM.normal(size=(600, 8)).astype(np.float32)
    rows = RANDOM.permutation(600)
    candidates = RANDOM.integers(-1, 50, size=(600, 5))
    found = VectorScores(lambda r: queries[r], lambda r: DOCUMENTS[r], metric)(rows, candidates)
    a, b = queries[rows], DOCUMENTS
    if metric == "cosine":
        a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    expected = np.where(candidates < 0, -np.inf, np.take_along_axis(a @ b.T, np.maximum(candidates, 0), axis=1))
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)


def test_coverage_is_of_real_queries_in_training_and_held_out():
    queries, targets = made()
    found = query_coverage(queries, targets, vectors(RANDOM.normal(size=(2, 8))))
    assert found is not None
    assert found.real_to_made.count == 21
    assert found.made_to_real.count == 42
    assert {name: back.count for name, (_, back) in found.by_source.items()} == {"generated": 40, "spans": 2}
    none = TrainingQueries(["a"], ["spans"], np.array([0]), [], np.array([], dtype=np.int64))
    assert query_coverage(none, vectors(DOCUMENTS[:1]), vectors(DOCUMENTS[:0])) is None


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_seq2seq(tmp_path_factory.mktemp("writer") / "t5")


def settings(writer: Path, *more: str) -> list[str]:
    how = {"model": str(writer), "sampling": "0.95", "each": "6", "max_output": "6"}
    base = [f"queries.generator.{name}={value}" for name, value in how.items()]
    return [*base, "queries.generated=20", "queries.words=[1, 9]", *more]


@pytest.mark.parametrize(
    ("pick", "towers"),
    [("entropy", "asymmetric"), ("disagreement", "asymmetric"), ("teacher-right", "shared")],
)
def test_a_run_with_a_generator(
    pick: str, towers: str, writer: Path, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    run = tmp_path / "run"
    more = settings(writer, f"queries.pick={pick}", "queries.pool=2", "queries.round_trip=25")
    found = quick_run(
        run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=more, towers=towers
    )
    record = check_run(run, found)
    queries = record["queries"]
    assert 10 < queries["sources"]["generated"] < 80
    assert queries["total"] <= 80
    assert queries["excluded"][f"generated: others were picked for their {pick}"] > 0
    assert queries["excluded"]["generated: the teacher does not find their document among its best 25"] > 0
    assert queries["coverage"]["real_to_made"]["count"] == 12
    assert "generated" in queries["coverage"]["by_source"]


def test_the_same_run_again_writes_nothing_anew(
    writer: Path, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path, monkeypatch: Any
):
    more = settings(writer)
    first = quick_run(tmp_path / "a", collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=more)
    monkeypatch.setattr("potstill.queries.seq2seq.Seq2Seq.write", None)
    again = quick_run(tmp_path / "b", collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=more)
    assert first == again
    assert read(tmp_path / "a" / "run.json")["queries"] == read(tmp_path / "b" / "run.json")["queries"]


def test_a_run_with_judged_queries_alone(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    from potstill.collection import open_collection
    from tiny import make_tiny_collection

    folder = make_tiny_collection(tmp_path / "judged", queries=80)
    alone = ["queries.judgments=train", "queries.cuts=false", "queries.other_splits=false"]
    run = tmp_path / "run"
    found = quick_run(run, collection=folder, teacher=tiny_encoder, signals=signals, settings=alone)
    record = check_run(run, found)
    assert record["queries"]["sources"].keys() == {"real"}
    train = open_collection(folder).qrels("train")
    assert record["queries"]["total"] + record["queries"]["held_out"] <= len(train)
    assert read(run / "student" / "potstill.json")["trained_on"] == ["train"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pick": "entropy"}, "there is no `generator`"),
        ({"round_trip": 3}, "there is no `generator`"),
        ({"generator": {"model": "a", "reads": "queries"}, "round_trip": 3}, "reads: documents"),
        ({"generator": {"model": "a", "reads": "queries"}, "pick": "teacher-right"}, "reads: documents"),
        ({"words": [3, 2]}, "from-to"),
    ],
)
def test_filters_that_cannot_work_are_refused(options: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        QueriesSpec.model_validate(options)
