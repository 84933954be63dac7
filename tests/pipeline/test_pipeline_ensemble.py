"""Teachers, their ensembles and a student on the same candidates; six stored systems of TREC DL with their holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import quick_run

import potstill
from potstill.cli import run as command
from potstill.errors import InputError
from potstill.evaluation.ranking_cost import measure_rankers, multiply_adds
from potstill.pipeline.ensemble import floored
from tiny import (
    make_tiny_collection,
    make_tiny_cross_encoder,
    make_tiny_dual_pooled,
    make_tiny_late_interaction,
    make_tiny_sparse_encoder,
)

TREC = ("bm25", "bm25_rm3", "distilbert_kd_tasb", "openai_ada2", "splade_pp_ed", "repllama")


@pytest.fixture(scope="module")
def desk(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("ensemble")
    collection = make_tiny_collection(folder / "collection", documents=40, queries=20)
    make_tiny_cross_encoder(folder / "reader", scale=2.0)
    rows = (collection / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    queries = sorted({row.split("\t")[0] for row in rows})
    lines = ["query-id\tcorpus-id\trank\tscore"]
    documents = [
        json.loads(line)["_id"] for line in (collection / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    random = np.random.default_rng(0)
    for query in queries:
        for rank, place in enumerate(random.permutation(len(documents))[:10]):
            lines.append(f"{query}\t{documents[place]}\t{rank + 1}\t{10 - rank}.5")
    (folder / "scores.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, str(tiny_encoder)


def test_kinds_are_found_out_and_costs_are_measured(desk, tmp_path, signals):
    folder, encoder = desk
    late = make_tiny_late_interaction(tmp_path / "late")
    sparse = make_tiny_sparse_encoder(tmp_path / "sparse")
    pooled = make_tiny_dual_pooled(tmp_path / "pooled")
    found = potstill.ensemble(
        folder / "collection",
        [f"vectors-of={encoder}", str(folder / "reader"), str(late), str(sparse), f"both={pooled}", "bm25"],
        settings={"depth": 8, "timed_lists": 4},
        out=tmp_path / "found.json",
        signals=signals,
    )
    kinds = {name: each["kind"] for name, each in found["teachers"].items()}
    assert kinds == {
        "vectors-of": "vectors",
        "reader": "cross-encoder",
        "late": "late-interaction",
        "sparse": "sparse",
        "both": "dual-pooled",
        "bm25": "bm25",
    }
    assert {"mean", "median", "vote"} <= found["systems"].keys()
    assert len(found["pairs"]) == 15
    cost = found["cost"]
    assert cost["bm25"]["multiply_adds_per_pair"] is None
    assert cost["reader"]["multiply_adds_per_pair"] > 0
    assert cost["all teachers"]["ms_per_pair"] == pytest.approx(sum(cost[name]["ms_per_pair"] for name in kinds))
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["reference"] == "mean"
    rows = (tmp_path / "found.per_query.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[0])["measures"].keys() == found["systems"].keys()


def test_a_student_s_retention_and_share_of_the_cost(desk, tmp_path, signals, tiny_encoder, capsys):
    folder, encoder = desk
    quick_run(tmp_path / "run", collection=folder / "collection", teacher=tiny_encoder, signals=signals)
    capsys.readouterr()
    arguments = ["ensemble", "--collection", str(folder / "collection"), "--out", str(tmp_path / "found.json")]
    arguments += ["--teacher", f"encoder={encoder}", "--teacher", str(folder / "reader"), "--student"]
    settings = ["--set", "timed_lists=4", "--set", "depth=10", "--signals", str(signals)]
    assert command([*arguments, str(tmp_path / "run"), *settings]) == 0
    said = capsys.readouterr().out
    assert "student keeps" in said
    assert "of its inference time" in said
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    student = found["student"]
    assert student["retention"].keys() >= {"mean", "median", "vote", "encoder", "reader"}
    share = found["cost"]["student"]["ms_per_pair"] / found["cost"]["all teachers"]["ms_per_pair"]
    assert student["share_of_cost"]["time"] == pytest.approx(share)


def test_one_teacher_is_its_own_reference(desk, tmp_path, signals):
    folder, _ = desk
    found = potstill.ensemble(folder / "collection", ["bm25"], settings={"cost": False}, signals=signals)
    assert found["reference"] == "bm25"
    assert found["cost"] == {}
    assert "mean" not in found["systems"]


def test_judged_and_pooled_candidates(desk, signals):
    folder, _ = desk
    file = f"stored=file:{folder / 'scores.tsv'}"
    pooled = potstill.ensemble(folder / "collection", [file, "bm25"], settings={"cost": False}, signals=signals)
    assert pooled["depth"] == 10
    assert pooled["teachers"]["stored"]["holes"] == 0
    judged = potstill.ensemble(
        folder / "collection", [file, "bm25"], candidates="judged", settings={"cost": False}, signals=signals
    )
    assert judged["teachers"]["stored"]["holes"] > 0
    assert judged["teachers"]["bm25"]["holes"] == 0  # its zero is a score


def test_a_floor_is_below_what_a_file_has():
    scores = np.array([[3.0, np.nan, 1.0, np.nan], [np.nan, np.nan, np.nan, np.nan]])
    rows = np.array([[4, 5, 6, -1], [1, 2, 3, 4]])
    found = floored(scores, rows)
    assert found[0, 1] < 1.0
    assert np.isnan(found[0, 3])
    assert np.isnan(found[1]).all()


def test_multiply_adds_are_those_of_matrix_products():
    import torch

    query = torch.randn(1, 2, 5, 8)
    linear = torch.nn.Linear(10, 20)
    with torch.no_grad():
        assert multiply_adds(lambda: linear(torch.randn(3, 10))) == 600
        attention = torch.nn.functional.scaled_dot_product_attention
        assert multiply_adds(lambda: attention(query, query, query)) == 2 * 2 * 5 * 5 * 8
    assert multiply_adds(lambda: sum(range(9))) is None


def test_costs_add_up():
    found = measure_rankers({"a": lambda i: sum(range(2000)), "b": lambda i: None}, [3, 4, 5])
    assert found["a"].lists == 3
    assert found["a"].pairs == 12
    assert found["a"].ms_per_pair > 0


@pytest.mark.parametrize(
    ("teachers", "more", "said"),
    [
        (["bm25", "bm25"], {}, "two systems are called bm25"),
        (["mean=bm25"], {}, "name of an ensemble"),
        (["owner/model"], {}, "kind of a model that is not in a folder here must be said"),
        (["file:nowhere.tsv"], {}, "no such file of scores"),
        (["bm25"], {"candidates": "nobody"}, "there are no candidates 'nobody'"),
        (["bm25"], {"candidates": "pooled"}, "no teacher is a file of scores"),
        (["bm25", "again=bm25"], {"settings": {"reference": "best", "cost": False}}, "no system 'best'"),
        (["bm25"], {"settings": {"qrels": "nowhere.tsv"}}, "no such file of judgments"),
        (["bm25"], {"student": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes(desk, signals, teachers, more, said):
    folder, _ = desk
    with pytest.raises(InputError, match=said):
        potstill.ensemble(folder / "collection", teachers, signals=signals, **more)


@pytest.mark.parametrize(
    ("split", "published"),
    [
        ("dev", (0.5058, 0.5216, 0.7210, 0.7035, 0.7308, 0.7384)),
        ("test", (0.4796, 0.4896, 0.6854, 0.6759, 0.7197, 0.7195)),
    ],
)
def test_six_stored_systems_of_trec_dl(data: Path, split, published):
    """Each keeps its own figure on the pool of all (ties within a query apart); who has no score is told, never a 0."""
    folder = data / "trec-dl"
    teachers = [f"{name}=file:{folder / 'scores' / f'{split}.{name}.tsv'}" for name in TREC]
    settings = {"qrels": str(folder / "qrels-official" / f"{split}.tsv"), "cost": False}
    masked = potstill.ensemble(folder, teachers, split=split, settings=settings)
    floor = potstill.ensemble(folder, teachers, split=split, settings=settings | {"holes": "floor"})
    for found in (masked, floor):
        for name, value in zip(TREC, published, strict=True):
            # repllama's scores are of half precision: some tie, and ties have no order of their own
            assert found["systems"][name]["nDCG@10"] == pytest.approx(value, abs=0.008 if name == "repllama" else 1e-4)
    pairs = sum(1 for _ in (folder / "scores" / f"{split}.bm25.tsv").open()) - 1
    assert masked["queries"] * 100 == pairs
    assert all(each["holes"] > 0 for each in masked["teachers"].values())
    # A document that one system alone found has that system's word for it: only where the others' silence says that it
    # came below their last is the mean of all as good as the best of them.
    best = max(floor["systems"][name]["nDCG@10"] for name in TREC)
    assert masked["systems"]["mean"]["nDCG@10"] < best - 0.05
    for how in ("mean", "median", "vote"):
        assert floor["systems"][how]["nDCG@10"] > best
    assert {tuple(sorted((pair["first"], pair["second"]))) for pair in masked["pairs"]} >= {("bm25", "bm25_rm3")}
    assert (masked["pairs"][0]["first"], masked["pairs"][0]["second"]) == ("bm25", "bm25_rm3")  # the most alike
