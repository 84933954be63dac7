"""Static towers: what they compute, what they learn from, what they save."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from potstill.errors import InputError
from potstill.recipe import StudentSpec
from potstill.students import build_tower, load_encoder
from potstill.students.static import StaticTower
from potstill.students.static_init import factorised, fit, sif_weights

QUERIES = ["copper still", "The HEART and the blood of a patient", "storm", "", "moon, orbit!", "☃ ☃"]
KINDS = {
    "teacher": {"vocabulary": "teacher", "phrases": 0},
    "phrases": {"phrases": 20},
    "trimmed": {"vocabulary": "trimmed", "phrases": 5},
    "rank": {"rank": 8, "phrases": 0},
    "corpus": {"vocabulary": "corpus", "vocabulary_size": 60},
    "budget": {"parameters": 1500, "rank": 12},
    "cut": {"phrases": 0, "max_length": 4},
    "prompted": {"phrases": 0, "prompts": {"query": "great "}},
}


def build(spec: dict, teacher, texts) -> StaticTower:
    tower = build_tower(StudentSpec(**spec), teacher, texts, seed=0)
    assert isinstance(tower, StaticTower)
    return tower


def by_hand(tower: StaticTower, texts: list[str]) -> np.ndarray:
    table = tower.folded().numpy().astype(np.float64)
    rows = []
    for text in texts:
        ids = tower.tokenizer.encode(tower.prompts.get("query", "") + text, add_special_tokens=False).ids
        ids = ids[: tower.max_length]
        vector = table[ids].mean(0) if ids else np.zeros(table.shape[1])
        if tower.head is not None:
            vector = tower.head.weight.detach().numpy().astype(np.float64) @ vector
        length = np.linalg.norm(vector)
        rows.append(vector / length if tower.normalize and length else vector)
    return np.array(rows)


@pytest.mark.parametrize("name", KINDS)
def test_tower_saved_model_and_light_encoder_agree(name, teacher, texts, tmp_path):
    from sentence_transformers import SentenceTransformer

    tower = build(KINDS[name], teacher, texts).eval()
    with torch.no_grad():
        for table in tower.named_tables().values():  # as after training: nothing is left at its start
            table.add_(torch.randn(table.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
        vectors = tower(tower.tokens(QUERIES)).numpy()
    assert vectors.shape == (len(QUERIES), teacher.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, by_hand(tower, QUERIES), atol=2e-6)
    tower.save(tmp_path / "student", {"teacher": "tiny", "towers": "asymmetric"})
    plain = SentenceTransformer(str(tmp_path / "student"), device="cpu")
    np.testing.assert_allclose(plain.encode(QUERIES), vectors, atol=2e-6)
    encoder = load_encoder(tmp_path / "student")
    assert type(encoder).__name__ == "StaticEncoder"
    np.testing.assert_allclose(encoder.encode(QUERIES), vectors, atol=2e-6)
    np.testing.assert_allclose(np.concatenate([encoder.encode([q]) for q in QUERIES]), vectors, atol=2e-6)
    assert encoder.dimensions == teacher.dimensions
    assert {type(module).__name__ for module in plain} <= {"StaticEmbedding", "Dense", "Normalize"}


def test_gradient_of_touched_rows_is_that_of_the_whole_table(teacher, texts):
    tower = build({"rank": 8, "phrases": 10}, teacher, texts).train()
    goal = torch.randn(len(QUERIES), tower.dimensions, generator=torch.Generator().manual_seed(2))
    loss = (tower(tower.tokens(QUERIES)) - goal).square().sum()
    loss.backward()
    table = tower.table.clone().requires_grad_()
    weight = tower.weight.clone().requires_grad_()
    head = tower.head.weight.detach().clone().requires_grad_()
    entries = table * weight * tower.scale
    rows = []
    for ids in tower.tokens(QUERIES):
        known = torch.tensor([i for i in ids.tolist() if i != tower.unknown], dtype=torch.long)
        rows.append(entries[known].sum(0) / max(1, len(ids)))
    dense = (F.normalize(torch.stack(rows) @ head.T, dim=1) - goal).square().sum()
    dense.backward()
    torch.testing.assert_close(loss, dense)
    torch.testing.assert_close(tower.head.weight.grad, head.grad, atol=1e-5, rtol=1e-4)
    (t, rows_t, sub_t), (w, rows_w, sub_w) = tower.touched()
    assert t is tower.table
    assert w is tower.weight
    for whole, used, sub in ((table, rows_t, sub_t), (weight, rows_w, sub_w)):
        expected = whole.grad.clone()
        torch.testing.assert_close(sub.grad, expected[used], atol=1e-5, rtol=1e-4)
        expected[used] = 0
        assert not expected.any()
    assert not tower.table.requires_grad
    assert list(dict(tower.named_parameters())) == ["head.weight"]


def test_several_passes_before_a_step_are_all_kept(teacher, texts):
    tower = build({"phrases": 0}, teacher, texts).train()
    first, second = tower(tower.tokens(["copper still"])), tower(tower.tokens(["still storm"]))
    (first.sum() + second.sum()).backward()
    assert len(tower.touched()) == 4
    assert all(use.sub.grad is not None for use in tower.touched())
    tower.clear_touched()
    assert tower.touched() == []


def test_nothing_is_noted_in_evaluation(teacher, texts):
    tower = build({"phrases": 0}, teacher, texts)
    tower.eval()(tower.tokens(["copper still"]))
    with torch.no_grad():
        tower.train()(tower.tokens(["copper still"]))
    assert tower.touched() == []


def test_texts_without_tokens_are_zero_finite_and_counted(teacher, texts):
    tower = build({"rank": 8, "phrases": 0}, teacher, texts).train()
    tokens = tower.tokens(["", "☃", "copper ☃", "copper"])
    assert tokens.unknown == 2
    out = tower(tokens)
    out.sum().backward()
    assert not out[:2].any()
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out[2], out[3])
    assert torch.isfinite(tower.head.weight.grad).all()
    assert all(torch.isfinite(use.sub.grad).all() for use in tower.touched())
    sub = tower.touched()[0]
    assert not sub.sub.grad[sub.rows == tower.unknown].any()
    empty = tower(tower.tokens([""]))
    assert empty.shape == (1, tower.dimensions)
    assert not empty.any()
    assert tower(tower.tokens([])).shape == (0, tower.dimensions)


def test_longer_texts_are_cut_and_counted(teacher, texts):
    tower = build({"phrases": 0, "max_length": 4}, teacher, texts)
    tokens = tower.tokens(["copper still cask peat malt", "copper still cask peat", "peat"])
    assert tokens.truncated == 1
    assert tokens.lengths.tolist() == [4, 4, 1]


def test_entries_start_from_the_teacher(teacher, texts):
    tower = build({"phrases": 30}, teacher, texts)
    vocabulary = tower.tokenizer.get_vocab()
    phrase = next(entry for entry in vocabulary if " " in entry)
    for entry in ("cask", phrase):
        row = tower.table[vocabulary[entry]] * tower.scale
        np.testing.assert_allclose(row.numpy(), teacher.encode([entry], "query")[0], atol=0.02)


def test_first_vectors_come_near_the_teacher(teacher, texts):
    tower = build({"phrases": 0}, teacher, texts).eval()
    queries = [text for text in texts() if text][:6]
    cosines = tower(tower.tokens(queries)).detach().numpy() @ teacher.encode(queries, "query").T
    others = cosines[~np.eye(len(queries), dtype=bool)]
    assert np.diag(cosines).mean() > others.mean() + 0.1


def test_table_numbers_are_about_one_whatever_the_scale(teacher, texts):
    tower = build({"phrases": 0}, teacher, texts)
    assert 0.8 < float(tower.table.square().mean().sqrt()) < 1.2
    counts = np.array([0.0, 5.0, 95.0])
    weights = sif_weights(counts)
    assert weights[0] > weights[1] > weights[2]
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert sif_weights(np.zeros(3)).tolist() == [1, 1, 1]


def test_factorising_at_full_rank_loses_nothing():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, 12)).astype(np.float32)
    counts, weights = random.integers(0, 9, 40).astype(float), np.ones(40, np.float32)
    table, head = factorised(vectors, weights, counts, 12)
    np.testing.assert_allclose(table @ head.T, vectors, atol=1e-5)
    table, head = factorised(vectors, weights, counts, 4)
    weighted = np.sqrt(counts + 1)[:, None]
    best = np.linalg.svd(vectors * weighted, compute_uv=False)[4:]
    assert np.square((table @ head.T - vectors) * weighted).sum() == pytest.approx(np.square(best).sum(), rel=1e-4)


@pytest.mark.parametrize("entries", [50, 5_000, 14_821, 60_000])
def test_a_budget_is_kept_and_nearly_used(entries):
    size = fit(StudentSpec(parameters=2_270_000), 384, entries)
    rank = size.rank or 384
    used = min(size.entries, entries) * rank + (rank * 384 if size.rank else 0)
    assert used <= 2_270_000
    if entries > 6_000:
        assert used > 2_200_000
        assert rank >= 128


def test_budget_counts_every_stored_number(teacher, texts, tmp_path):
    tower = build({"parameters": 1500, "rank": 12}, teacher, texts)
    tower.save(tmp_path / "student", {})
    note = json.loads((tmp_path / "student" / "potstill.json").read_text())
    assert note["parameters"] == tower.table.numel() + tower.head.weight.numel() <= 1500
    assert note["bytes"] == 4 * note["parameters"]
    assert note["kind"] == "static"


@pytest.mark.parametrize(
    "spec",
    [
        {"parameters": 1000, "rank": 30},
        {"rank": 100_000},
        {"vocabulary": "teacher", "phrases": 0, "parameters": 1500},
        {"vocabulary": "teacher", "phrases": 0, "vocabulary_size": 40},
    ],
)
def test_what_does_not_fit_is_told(spec, teacher, texts):
    with pytest.raises(InputError, match=r"student\.(parameters|vocabulary|rank)"):
        build(spec, teacher, texts)


def test_same_seed_same_tower(teacher, texts):
    one, two = (build({"phrases": 10, "rank": 8}, teacher, texts) for _ in range(2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
