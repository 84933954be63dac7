"""Late-interaction models as teachers of scores: the library's own similarities, and all that decides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.recipe import ScorerSpec
from potstill.signals import SignalStore, fill, pair_text
from potstill.teachers import open_scorer
from potstill.teachers.late_interaction import LateInteractionScorer
from tiny import make_tiny_encoder, make_tiny_late_interaction

QUERIES = ["copper still", "the moon", "bread and butter and the crust of the old loaf of the baker"]
DOCUMENTS = ["the wind in the sail", "moon " * 200, "copper", "Peat; smoke & water!"]
TEXTS = [pair_text(query, document) for query in QUERIES for document in DOCUMENTS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_late_interaction(tmp_path_factory.mktemp("late") / "model")


def scorer(model: Path, **more: Any) -> LateInteractionScorer:
    opened = open_scorer(ScorerSpec(kind="late-interaction", model=str(model), device="cpu", **more))
    assert isinstance(opened, LateInteractionScorer)
    return opened


def library(model: Path) -> np.ndarray:
    from sentence_transformers import MultiVectorEncoder

    loaded = MultiVectorEncoder(str(model), device="cpu")
    return loaded.similarity(loaded.encode_query(QUERIES), loaded.encode_document(DOCUMENTS)).numpy()


SHAPES: dict[str, dict[str, Any]] = {
    "expanded": {},
    "as they are": {"expansion": None, "width": None},
    "skipping": {"skip": (";", "&", "!", "the")},
    "prompted": {"prompts": {"query": "night ", "document": "garden soil "}},
    "mean": {"mean": True},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_the_librarys_whatever_the_batches(tmp_path, shape):
    model = make_tiny_late_interaction(tmp_path / "model", **SHAPES[shape])
    mine = scorer(model)
    for size in (1, 5, 100):
        found = np.concatenate([mine.encode(TEXTS[i : i + size]) for i in range(0, len(TEXTS), size)])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.reshape(len(QUERIES), -1), library(model), rtol=1e-5, atol=1e-5)
    assert np.ptp(found) > 1e-3


def test_anything_that_changes_a_score_changes_the_fingerprint(tmp_path):
    prints = {}
    for name, shape in {**SHAPES, "other weights": {"seed": 1}, "longer queries": {"expansion": 20}}.items():
        prints[name] = scorer(make_tiny_late_interaction(tmp_path / name / "model", **shape)).fingerprint().digest()
    cut = scorer(tmp_path / "expanded" / "model", max_length=16).fingerprint().digest()
    prompted = ScorerSpec(
        kind="late-interaction", model=str(tmp_path / "expanded" / "model"), prompts={"document": "old "}
    )
    assert len({*prints.values(), cut, open_scorer(prompted).source().fingerprint("pair").digest()}) == len(prints) + 2


def test_lengths_count_what_is_read_and_what_is_cut_is_told(model):
    mine = scorer(model, max_length=16)
    texts = [pair_text("moon", "moon"), pair_text("moon", "moon " * 30), pair_text("moon " * 30, "moon")]
    assert mine.lengths(texts).tolist() == [3 + 3, 3 + 16, 12 + 3]
    assert mine.truncated(texts) == 2
    short, long = mine.encode([pair_text("moon", "moon " * 14), pair_text("moon", "moon " * 30)])[:, 0]
    assert short == pytest.approx(long, abs=1e-5)


def test_each_distinct_text_is_encoded_once(model, monkeypatch):
    mine, seen = scorer(model), []
    plain = mine._forward
    monkeypatch.setattr(
        mine, "_forward", lambda texts, role: seen.extend((role, t) for t in texts) or plain(texts, role)
    )
    mine.encode(TEXTS)
    mine.encode(TEXTS[::-1])
    assert sorted(seen) == sorted(
        {(role, text) for role, texts in (("query", QUERIES), ("document", DOCUMENTS)) for text in texts}
    )


def test_it_fills_a_store_and_is_not_asked_again(tmp_path, model, monkeypatch):
    mine = scorer(model)
    table = SignalStore(tmp_path).vectors(mine.fingerprint())
    assert fill(table, mine.source(), TEXTS, "pair").encoded == len(TEXTS)
    monkeypatch.setattr(mine, "encode", None)
    assert fill(table, mine.source(), TEXTS, "pair").encoded == 0
    kept = table.gather(table.rows(TEXTS)).reshape(len(QUERIES), -1)
    np.testing.assert_allclose(kept, library(model), atol=2e-2)


def test_what_is_no_whole_model_is_refused(tmp_path, model):
    plain = make_tiny_encoder(tmp_path / "plain", sentence_transformer=False)
    with pytest.raises(InputError, match=r"the projection .* is in no file and would be random numbers"):
        scorer(plain)
    with pytest.raises(InputError, match=r"the projection .* is in no file and would be random numbers"):
        scorer(make_tiny_encoder(tmp_path / "of single vectors"))
    with pytest.raises(InputError, match="no such model folder"):
        scorer(tmp_path / "nothing")
    with pytest.raises(InputError, match="gives scores, not pair_vectors"):
        scorer(model).source("pair_vectors")
    from safetensors.torch import load_file, save_file

    broken = make_tiny_late_interaction(tmp_path / "broken")
    (file,) = broken.glob("model.safetensors")
    weights = load_file(file)
    name = next(name for name in weights if "layer.0" in name)
    save_file({**weights, name: weights[name] * float("nan")}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="NaN"):
        scorer(broken)
    weights.pop(name)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"would be random numbers|not whole"):
        scorer(broken)
