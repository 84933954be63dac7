"""Sparse encoders as teachers of scores: the library's own similarities, each text encoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.recipe import ScorerSpec
from potstill.signals import SignalStore, fill, pair_text
from potstill.teachers import open_scorer
from potstill.teachers.sparse import SparseScorer
from potstill.teachers.sparse_vectors import inner
from potstill.teachers.vector_cache import VectorCache
from tiny import make_tiny_sparse_encoder, words

QUERIES = ["copper still", "the moon", "", "вода", "bread and butter and the crust of the old loaf"]
DOCUMENTS = ["the wind in the sail", "moon " * 200, "copper", "", "Peat; smoke & water!", *words()[:40:4]]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
TEXTS = [pair_text(*pair) for pair in PAIRS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sparse_encoder(tmp_path_factory.mktemp("sparse") / "splade")


def scorer(model: Path, **more: Any) -> SparseScorer:
    opened = open_scorer(ScorerSpec(kind="sparse", model=str(model), device="cpu", **more))
    assert isinstance(opened, SparseScorer)
    return opened


def library(model: Path, max_length: int | None = None) -> np.ndarray:
    """(len(QUERIES), len(DOCUMENTS)) as the library says it."""
    from sentence_transformers import SparseEncoder

    loaded = SparseEncoder(str(model), device="cpu")
    if max_length is not None:
        loaded.max_seq_length = max_length
    return loaded.similarity(loaded.encode_query(QUERIES), loaded.encode_document(DOCUMENTS)).numpy()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_scores_are_the_librarys_whatever_the_batches(model: Path, size: int):
    mine = scorer(model)
    found = np.concatenate([mine.encode(TEXTS[i : i + size]) for i in range(0, len(TEXTS), size)])
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 1)
    np.testing.assert_allclose(found.reshape(len(QUERIES), -1), library(model), rtol=1e-5, atol=1e-5)
    assert np.ptp(found) > 1


OPTIONS: list[dict[str, Any]] = [
    {"prompts": {"query": "night ", "document": "garden soil "}},
    {"similarity": "cosine"},
    {"max_active_dims": 5},
    {"static_queries": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["prompts", "cosine", "five entries", "static queries"])
def test_what_the_model_declares_holds(options: dict[str, Any], tmp_path: Path, model: Path):
    other = make_tiny_sparse_encoder(tmp_path / "splade", **options)
    found = scorer(other).encode(TEXTS).reshape(len(QUERIES), -1)
    np.testing.assert_allclose(found, library(other), rtol=1e-5, atol=1e-5)
    assert not np.allclose(found, library(model), atol=1e-2)


def test_maximum_length_and_what_it_cuts(model: Path):
    mine = scorer(model, max_length=8)
    found = mine.encode(TEXTS).reshape(len(QUERIES), -1)
    np.testing.assert_allclose(found, library(model, 8), rtol=1e-5, atol=1e-5)
    assert mine.lengths(TEXTS).max() == 16
    ids = mine.model.tokenizer([*QUERIES, *DOCUMENTS], truncation=False)["input_ids"]
    over = {text for text, one in zip([*QUERIES, *DOCUMENTS], ids, strict=True) if len(one) > 8}
    assert mine.truncated(TEXTS) == sum(query in over or document in over for query, document in PAIRS)
    assert scorer(model).truncated(TEXTS) == len(QUERIES)  # one document, with each query


def test_lengths_are_the_tokens_that_the_model_reads(model: Path):
    mine = scorer(model)
    ids = mine.model.tokenizer([*QUERIES, *DOCUMENTS], truncation=True)["input_ids"]
    tokens = dict(zip([*QUERIES, *DOCUMENTS], map(len, ids), strict=True))
    assert mine.lengths(TEXTS).tolist() == [tokens[query] + tokens[document] for query, document in PAIRS]


def test_given_prompts_go_before_the_models_own(tmp_path: Path, model: Path):
    other = make_tiny_sparse_encoder(tmp_path / "splade", prompts={"query": "night ", "document": "garden soil "})
    mine = scorer(other, prompts={"query": "", "document": ""})
    np.testing.assert_allclose(mine.encode(TEXTS), scorer(model).encode(TEXTS), atol=1e-4)
    assert scorer(other).fingerprint().prompt == "night "


def test_each_text_is_encoded_once_in_a_process(model: Path, tmp_path: Path):
    mine = scorer(model)
    seen: Counter[tuple[str, str]] = Counter()
    real = mine._forward

    def counted(texts: Sequence[str], role: Any) -> Any:
        seen.update((role, text) for text in texts)
        return real(texts, role)

    mine._forward = counted  # type: ignore[method-assign]
    table = SignalStore(tmp_path, "float32").vectors(mine.fingerprint())
    report = fill(table, mine, TEXTS, "pair", tokens_per_batch=64)
    assert report.batches > 5
    assert set(seen.values()) == {1}
    wanted = {("query", query) for query in QUERIES} | {("document", document) for document in DOCUMENTS}
    assert set(seen) <= wanted
    found = table.vectors(TEXTS).reshape(len(QUERIES), -1)
    np.testing.assert_allclose(found, library(model), rtol=1e-5, atol=1e-5)
    assert fill(table, mine, TEXTS, "pair").encoded == 0


def test_a_full_cache_changes_no_score(model: Path):
    mine = scorer(model)
    whole = mine.encode(TEXTS)
    mine._cache = VectorCache(2000)
    again = np.concatenate([mine.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(again, whole, rtol=1e-5, atol=1e-5)
    assert mine._cache._bytes <= 2000


def test_the_cache_keeps_to_its_limit_and_drops_the_oldest():
    cache = VectorCache(4 * 380)
    vectors = {f"t{i}": (np.arange(10, dtype=np.int32), np.full(10, i, dtype=np.float32)) for i in range(6)}
    for text, vector in vectors.items():
        cache.put("query", text, vector)
        cache.get("query", "t0")  # used again and again
    held = [text for text in vectors if cache.get("query", text) is not None]
    assert held == ["t0", "t3", "t4", "t5"]
    assert cache.get("document", "t5") is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-9, 9, width=32), min_size=12, max_size=12),
    st.lists(st.floats(-9, 9, width=32), min_size=12, max_size=12),
    st.integers(0, 2**24 - 1),
)
def test_the_inner_product_is_that_of_the_dense_vectors(one: list[float], other: list[float], holes: int):
    keep = np.array([holes >> i & 1 for i in range(24)], dtype=np.float32).reshape(2, 12)
    dense = np.array([one, other], dtype=np.float32) * keep
    sparse = [(np.flatnonzero(row).astype(np.int32), row[row != 0]) for row in dense]
    np.testing.assert_allclose(inner(*sparse), float(dense[0].astype(np.float64) @ dense[1]), rtol=1e-5, atol=1e-4)


def test_another_setting_never_finds_the_old_scores(model: Path, tmp_path: Path):
    cosine = make_tiny_sparse_encoder(tmp_path / "c" / "splade", similarity="cosine")
    five = make_tiny_sparse_encoder(tmp_path / "f" / "splade", max_active_dims=5)
    marks = [
        scorer(model).fingerprint(),
        scorer(model, max_length=32).fingerprint(),
        scorer(model, dtype="bfloat16").fingerprint(),
        scorer(model, prompts={"query": "q "}).fingerprint(),
        scorer(model, prompts={"document": "q "}).fingerprint(),
        scorer(cosine).fingerprint(),
        scorer(five).fingerprint(),
    ]
    assert len({mark.digest() for mark in marks}) == len(marks)
    assert {mark.role for mark in marks} == {"pair"}
    assert {mark.dimensions for mark in marks} == {1}


def test_what_it_is(model: Path):
    mine = scorer(model)
    assert (mine.name, mine.kind, mine.signals, mine.dimensions) == ("splade", "sparse", {"scores"}, None)
    assert mine.parameters is not None
    assert mine.bytes == 4 * mine.parameters
    assert mine.encode([]).shape == (0, 1)
    assert (mine.lengths([]).tolist(), mine.truncated([])) == ([], 0)
