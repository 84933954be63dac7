"""A static student of made-up words, and one with a shared transformer, behind a service."""

from __future__ import annotations

import json

import pytest

import tiny


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory):
    """A static student as a folder, both roles, unit vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    folder = tmp_path_factory.mktemp("static") / "student"
    tokenizer = tiny.make_tiny_tokenizer().backend_tokenizer
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8), Normalize()], device="cpu")
    model.save(str(folder), create_model_card=False)
    (folder / "potstill.json").write_text(json.dumps({"towers": "shared", "metric": "cosine"}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def transformer_folder(tmp_path_factory):
    """A random transformer as a sentence-transformers folder, cut at 16 tokens."""
    return tiny.make_tiny_encoder(tmp_path_factory.mktemp("transformer") / "student", max_length=16)
