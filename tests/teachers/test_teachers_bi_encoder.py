"""Teachers that are sentence-transformers or plain Hugging Face models: the numbers are those of the library itself."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.recipe import TeacherSpec
from potstill.teachers import VectorTeacher, open_teacher
from tiny import make_tiny_encoder, make_tiny_tokenizer, words

TEXTS = ["copper still", "the wind in the sail of the old boat", "x", "", "Barley & malt; 12 casks!", "moon " * 200]


def teacher(model: Path | str, **more: Any) -> VectorTeacher:
    return open_teacher(TeacherSpec(model=str(model), device="cpu", **more))


@cache
def _opened(model: str) -> VectorTeacher:
    return teacher(model)


def library(model: Path | str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model), device="cpu")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(
        tmp_path_factory.mktemp("prompted") / "encoder",
        prompts={"query": "night ", "document": "garden soil "},
        normalize=False,
        similarity="dot",
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("plain") / "encoder", sentence_transformer=False)


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static queries, transformer documents, one Normalize for both."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Router, StaticEmbedding

    folder = tmp_path_factory.mktemp("routed")
    documents = library(make_tiny_encoder(folder / "documents", normalize=False))
    torch.manual_seed(3)
    queries = StaticEmbedding(make_tiny_tokenizer().backend_tokenizer, embedding_dim=32)
    router = Router.for_query_document([queries], list(documents.children()))
    SentenceTransformer(modules=[router, Normalize()], device="cpu").save_pretrained(
        str(folder / "encoder"), create_model_card=False
    )
    return folder / "encoder"


@pytest.mark.parametrize("which", ["tiny_encoder", "prompted", "routed"])
def test_vectors_are_the_librarys(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    ours, theirs = teacher(model), library(model)
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        vectors = ours.encode(TEXTS, role)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), ours.dimensions)
        np.testing.assert_allclose(vectors, encode(TEXTS), atol=1e-6, rtol=0)
    alike = np.allclose(ours.encode(["sail"], "query"), ours.encode(["sail"], "document"))
    assert alike == (which == "tiny_encoder")


@pytest.mark.parametrize("which", ["tiny_encoder", "prompted", "routed"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_company_does_not_change_a_vector(which: str, request: pytest.FixtureRequest, data: st.DataObject) -> None:
    model = _opened(str(request.getfixturevalue(which)))
    texts = data.draw(st.lists(st.lists(st.sampled_from(words()), max_size=30).map(" ".join), min_size=1, max_size=6))
    role = data.draw(st.sampled_from(["query", "document"]))
    together = model.encode(texts, role)
    np.testing.assert_allclose(together, np.concatenate([model.encode([t], role) for t in texts]), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=90), min_size=1, max_size=5))
def test_lengths_are_those_of_the_models_own_tokenizer(prompted: Path, texts: list[str]) -> None:
    model = _opened(str(prompted))
    tokenizer = model.encoder("query").tokenizer
    whole = [len(ids) for ids in tokenizer(["night " + t for t in texts], truncation=False)["input_ids"]]
    assert model.lengths(texts, "query").tolist() == [min(n, 64) for n in whole]
    assert model.truncated(texts, "query") == sum(n > 64 for n in whole)


def test_a_routers_static_side_has_no_maximum(routed: Path) -> None:
    model = teacher(routed)
    assert model.max_length("query") is None
    assert model.max_length("document") == 64
    assert model.lengths(TEXTS[-1:], "query").tolist() == [200]  # no special tokens either
    assert (model.truncated(TEXTS, "query"), model.truncated(TEXTS, "document")) == (0, 1)
    assert model.parameters == len(make_tiny_tokenizer()) * 32  # what a query takes, not the documents' side
    assert model.bytes == 4 * model.parameters
    assert (model.fingerprint("query").role, model.fingerprint("document").role) == ("query", "document")


def test_a_plain_model_is_averaged_over_its_tokens(plain: Path) -> None:
    import torch
    from transformers import AutoModel

    bert, tokenizer = AutoModel.from_pretrained(plain).eval(), make_tiny_tokenizer()
    with torch.inference_mode():
        tokens = bert(**tokenizer("wind and sail", return_tensors="pt")).last_hidden_state[0].numpy()
    np.testing.assert_allclose(teacher(plain).encode(["wind and sail"], "query")[0], tokens.mean(0), atol=1e-5)
    by_pooling = {"cls": tokens[0], "max": tokens.max(0), "lasttoken": tokens[-1]}
    for pooling, expected in by_pooling.items():
        pooled = teacher(plain, pooling=pooling)
        assert pooled.fingerprint("query").pooling == pooling
        # In company, so that padding would show.
        np.testing.assert_allclose(pooled.encode(["wind and sail", *TEXTS], "query")[0], expected, atol=1e-5)
    assert teacher(plain).fingerprint("query").normalize is False


def test_normalisation_can_be_added_and_taken_away(tiny_encoder: Path, prompted: Path) -> None:
    as_is = teacher(tiny_encoder).encode(TEXTS, "query")
    np.testing.assert_allclose(np.linalg.norm(as_is, axis=1), 1, atol=1e-5)
    raw = teacher(tiny_encoder, normalize=False)
    vectors = raw.encode(TEXTS, "query")
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.1)
    np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), as_is, atol=1e-5)
    assert raw.fingerprint("query").normalize is False
    added = teacher(prompted, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(added.encode(TEXTS, "query"), axis=1), 1, atol=1e-5)
    assert added.fingerprint("query").normalize is True


def test_each_role_has_its_own_maximum_length(tiny_encoder: Path) -> None:
    model = teacher(tiny_encoder, max_length={"query": 6})
    shorter = library(tiny_encoder)
    shorter.max_seq_length = 6
    np.testing.assert_allclose(model.encode(TEXTS, "query"), shorter.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode(TEXTS, "document"), library(tiny_encoder).encode(TEXTS), atol=1e-6)
    assert (model.max_length("query"), model.max_length("document")) == (6, 64)
    assert model.lengths(TEXTS, "query").max() == 6
    assert model.truncated(TEXTS, "query") == sum(n > 6 for n in teacher(tiny_encoder).lengths(TEXTS, "query"))


def test_prompts_of_the_recipe_win(prompted: Path) -> None:
    theirs = library(prompted)
    changed = teacher(prompted, prompts={"query": "moon ", "document": ""})
    np.testing.assert_allclose(changed.encode(["comet"], "query"), theirs.encode(["moon comet"]), atol=1e-6)
    np.testing.assert_allclose(changed.encode(["comet"], "document"), theirs.encode(["comet"]), atol=1e-6)
    own = teacher(prompted)
    assert (own.fingerprint("query").prompt, own.fingerprint("document").prompt) == ("night ", "garden soil ")


def test_a_document_prompt_may_be_called_passage_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_tiny_encoder(tmp_path / "m", prompts={"query": "night ", "passage": "moon "})
    model = teacher(folder)
    np.testing.assert_allclose(model.encode(["comet"], "document"), library(folder).encode(["moon comet"]), atol=1e-6)
    assert "`passage`" in capsys.readouterr().err


def test_two_towers(tiny_encoder: Path, tmp_path: Path) -> None:
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    pair = open_teacher(TeacherSpec(query_model=str(other), document_model=str(tiny_encoder), device="cpu"))
    np.testing.assert_allclose(pair.encode(TEXTS, "query"), library(other).encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(pair.encode(TEXTS, "document"), library(tiny_encoder).encode(TEXTS), atol=1e-6)
    assert pair.name == f"other + {tiny_encoder.parent.name}/encoder"
    assert (pair.fingerprint("query").role, pair.fingerprint("document").role) == ("query", "document")
    assert pair.fingerprint("query").revision != pair.fingerprint("document").revision
    same = open_teacher(TeacherSpec(query_model=str(other), document_model=str(other), device="cpu"))
    assert same.encoder("query") is same.encoder("document")
    assert same.fingerprint("query") == teacher(other).fingerprint("document")


def test_lower_precision_is_near_and_is_another_identity(tiny_encoder: Path) -> None:
    full, half = teacher(tiny_encoder), teacher(tiny_encoder, dtype="bfloat16")
    assert half.encode(TEXTS, "query").dtype == np.float32
    np.testing.assert_allclose(half.encode(TEXTS, "query"), full.encode(TEXTS, "query"), atol=0.05)
    assert half.fingerprint("query").dtype == "bfloat16"
    assert half.bytes is not None
    assert full.bytes is not None
    assert half.bytes < 0.6 * full.bytes


def test_a_model_saved_in_float16_computes_in_float32(tiny_encoder: Path, tmp_path: Path) -> None:
    saved = library(tiny_encoder).half()
    saved.save_pretrained(str(tmp_path / "half"), create_model_card=False)
    model = teacher(tmp_path / "half")
    assert {str(p.dtype) for p in model.encoder("query").parameters()} == {"torch.float32"}
    np.testing.assert_allclose(model.encode(TEXTS, "query"), teacher(tiny_encoder).encode(TEXTS, "query"), atol=5e-3)


def test_what_it_says_of_itself(tiny_encoder: Path, prompted: Path) -> None:
    model = teacher(tiny_encoder)
    assert (model.metric, teacher(prompted).metric) == ("cosine", "dot")
    assert teacher(prompted, metric="cosine").metric == "cosine"
    assert (model.can_encode_queries, model.can_encode_documents, model.recomputable) == (True, True, True)
    assert (model.index, model.query_vectors) == (None, None)
    assert model.encode([], "query").shape == (0, 32)
    assert model.lengths([], "query").shape == (0,)
    stored = sum(t.numel() for t in library(tiny_encoder).state_dict().values())
    assert (model.parameters, model.bytes) == (stored, 4 * stored)


def test_a_model_without_berts_unused_head_is_whole(plain: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(plain, tmp_path / "headless"))
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler.")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(teacher(folder).encode(TEXTS, "query"), teacher(plain).encode(TEXTS, "query"))


def test_the_tokenizer_is_a_copy(tiny_encoder: Path) -> None:
    model = teacher(tiny_encoder)
    before = model.encode(TEXTS, "query")
    model.tokenizer.enable_truncation(2)
    model.tokenizer.add_tokens(["copper still"])
    assert (model.encode(TEXTS, "query") == before).all()
    assert model.tokenizer.encode("wind").tokens == ["[CLS]", "wind", "[SEP]"]


def test_a_saved_truncation_of_dimensions_holds(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "short"))
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**config, "truncate_dim": 12}))
    model = teacher(folder)
    assert model.dimensions == 12
    np.testing.assert_allclose(model.encode(TEXTS, "query"), library(folder).encode(TEXTS), atol=1e-6)
    assert model.fingerprint("query").normalize is False
