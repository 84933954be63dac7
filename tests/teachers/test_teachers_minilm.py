"""The real teacher, all-MiniLM-L6-v2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from potstill.recipe import TeacherSpec
from potstill.teachers import open_teacher


def test_minilm_on_real_texts(minilm: str, data: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with gzip.open(data / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(next(lines)) for _ in range(12)]
    texts = [f"{d['title']} {d['text']}" for d in documents] + [d["title"] for d in documents]
    teacher = open_teacher(TeacherSpec(model=minilm, device="cpu"))
    plain = SentenceTransformer(minilm, device="cpu")
    vectors = teacher.encode(texts, "document")
    np.testing.assert_allclose(vectors, plain.encode(texts, batch_size=len(texts)), atol=1e-6, rtol=0)
    np.testing.assert_allclose(vectors, plain.encode(texts, normalize_embeddings=True, batch_size=5), atol=1e-5, rtol=0)
    alone = np.concatenate([teacher.encode([text], "document") for text in texts[:6]])
    np.testing.assert_allclose(vectors[:6], alone, atol=1e-5, rtol=0)
    counts = [len(ids) for ids in plain.tokenizer(texts, truncation=False)["input_ids"]]
    assert teacher.lengths(texts, "document").tolist() == [min(n, 256) for n in counts]
    assert teacher.truncated(texts, "document") == sum(n > 256 for n in counts) > 0
    assert (teacher.dimensions, teacher.metric, teacher.max_length("query")) == (384, "cosine", 256)
    assert teacher.parameters == 22_713_216
    assert teacher.fingerprint("query") == teacher.fingerprint("document")
