"""Dual encoders and late-interaction models learn, are saved as promised, and are compared with the right documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from teaching_toys import APART, spec_of, taught

import potstill
from potstill.collection import open_collection
from potstill.errors import InputError
from potstill.recipe import ScorerSpec
from potstill.signals import pair_text
from potstill.students.tokens import Tokens
from potstill.teachers import open_scorer
from potstill.teaching.contrastive import ContrastiveTask
from potstill.teaching.lists import Lists, TeachingSet
from potstill.teaching.retrievers import untrained_retriever
from potstill.training.gradient_cache import CachedPasses

LONG = ("training.epochs=8", "training.patience=8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, judged: Path, tiny_encoder: Path, signals: Path) -> dict[str, tuple[Path, dict]]:
    """By kind: a run long enough to learn. Do not write into it."""
    folder = tmp_path_factory.mktemp("runs")
    return {kind: (folder / kind, taught(folder / kind, kind, judged, tiny_encoder, signals, *LONG)) for kind in APART}


@pytest.mark.parametrize("kind", APART)
def test_the_loss_falls_and_held_out_queries_are_ranked_better(runs, kind):
    out, record = runs[kind]
    validation = record["validation"]
    assert validation["after"]["nDCG@10"] > validation["before"]["nDCG@10"] + 0.02
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.05
    assert all(line["gradient_norms"]["contrastive"] > 0 for line in lines if "gradient_norms" in line)
    assert record == json.loads((out / "teach.json").read_text())


def some_texts(judged: Path) -> tuple[list[str], list[str]]:
    collection = open_collection(judged)
    documents = list(collection.texts())[:6]
    return list(collection.queries.values())[:4], [*documents, " ".join(documents)]


def test_a_dual_encoder_gives_the_same_vectors_in_plain_sentence_transformers(runs, judged, tiny_encoder):
    from sentence_transformers import SentenceTransformer

    out, _ = runs["dual-encoder"]
    queries, documents = some_texts(judged)
    plain = SentenceTransformer(str(out / "model"), device="cpu")
    student = potstill.load(out / "model")
    np.testing.assert_allclose(plain.encode(documents), student.encode_documents(documents), atol=1e-5)
    model = untrained_retriever(spec_of("dual-encoder", judged, tiny_encoder))
    model.load_state_dict({f"model.{name}": value for name, value in plain.state_dict().items()})
    with torch.inference_mode():
        (vectors,) = model.eval().encode(model.pairs.ids(documents), "document")
    np.testing.assert_allclose(plain.encode(documents), vectors.numpy(), atol=1e-5)
    assert len(queries) == 4


@pytest.mark.parametrize("width", [None, 8])
def test_late_interaction_gives_the_same_scores_in_plain_sentence_transformers(tmp_path, judged, tiny_encoder, width):
    from sentence_transformers import MultiVectorEncoder

    more = () if width is None else (f"width={width}",)
    model = untrained_retriever(spec_of("late-interaction", judged, tiny_encoder, "query_length=16", *more)).eval()
    model.save(tmp_path / "model")
    queries, documents = some_texts(judged)
    with torch.inference_mode():
        ours = model.scores(
            model.encode(model.pairs.ids(queries), "query"), model.encode(model.pairs.ids(documents), "document")
        )
    plain = MultiVectorEncoder(str(tmp_path / "model"), device="cpu")
    theirs = plain.similarity(plain.encode_query(queries), plain.encode_document(documents))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
    assert plain.encode_query(queries)[0].shape == (16, width or 32)
    scorer = open_scorer(ScorerSpec(kind="late-interaction", model=str(tmp_path / "model")))
    pairs = [pair_text(query, document) for query in queries for document in documents]
    np.testing.assert_allclose(scorer.source().encode(pairs, "pair")[:, 0], ours.numpy().ravel(), atol=1e-4)


@pytest.mark.parametrize("kind", APART)
def test_a_base_may_be_shortened_to_some_of_its_layers(tmp_path, judged, tiny_encoder, signals, kind):
    whole = untrained_retriever(spec_of(kind, judged, tiny_encoder))
    model = untrained_retriever(spec_of(kind, judged, tiny_encoder, "layers=[1]"))
    assert int(model.model[0].auto_model.config.num_hidden_layers) == 1
    theirs = whole.model[0].auto_model.state_dict()
    for name, value in model.model[0].auto_model.state_dict().items():
        assert torch.equal(value, theirs[name.replace("layer.0.", "layer.1.")]), name
    with pytest.raises(InputError, match="of a teacher that has 2"):
        untrained_retriever(spec_of(kind, judged, tiny_encoder, "layers=[0,5]"))


def toy_set(model) -> TeachingSet:
    words = ["malt", "yeast", "barley", "still", "cask", "water"]
    texts = Tokens.of([ids.tolist() for ids in model.pairs.ids(words)])
    positives = np.array([[0, 0], [0, 1], [1, 2], [2, 0]])
    negatives = np.array([[3, 4, -1], [0, 5, 1], [4, 5, 3]])
    return TeachingSet(texts.select(np.arange(3)), texts, model.pairs, positives, negatives, 2)


@pytest.mark.parametrize("kind", APART)
def test_the_loss_is_that_of_all_documents_of_the_batch_but_other_positives(judged, tiny_encoder, kind):
    model = untrained_retriever(spec_of(kind, judged, tiny_encoder)).eval()
    data, task = toy_set(model), ContrastiveTask(model)
    lists = Lists(np.array([0, 1, 2]), np.array([[0, 3, 4], [2, 0, 5], [0, 4, -1]]))
    data._drawn = (0, lists)
    batch = task.prepare(data, np.arange(3), 0, 0)
    assert batch.documents.tolist() == [0, 2, 3, 4, 5]  # each distinct text once
    assert batch.mask.tolist() == [[True] * 5] * 3  # document 1, which query 0 fits too, is not in the batch
    data._drawn = (0, Lists(lists.queries, np.array([[0, 3, 4], [2, 1, 5], [0, 4, -1]])))
    batch = task.prepare(data, np.arange(3), 0, 0)
    assert batch.mask.tolist() == [[True, False, True, True, True, True], [True] * 6, [True] * 6]
    with torch.inference_mode():
        scores = task(batch)
        vectors = [model.encode([data.documents[row]], "document") for row in batch.documents]
        query = model.encode([data.queries[0]], "query")
        alone = torch.cat([model.scores(query, one) for one in vectors], dim=1)[0] * model.scale
        loss = task.losses(scores, batch).total
    torch.testing.assert_close(scores[0], alone, rtol=1e-4, atol=1e-4)
    kept = np.where(batch.mask.numpy(), scores.double().numpy(), -np.inf)
    rows = np.log(np.exp(kept).sum(axis=1)) - kept[np.arange(3), batch.positives.numpy()]
    assert float(loss) == pytest.approx(rows.mean(), rel=1e-4)


@pytest.mark.parametrize("kind", APART)
def test_large_batches_can_be_encoded_in_parts(judged, tiny_encoder, kind):
    found = []
    for at_once in (None, 2):
        model = untrained_retriever(spec_of(kind, judged, tiny_encoder)).eval()
        data, task = toy_set(model), ContrastiveTask(model)
        batch = task.prepare(data, np.arange(4), 0, 0)
        cached = None if at_once is None else CachedPasses(task.passes(batch), at_once)
        outputs = task(batch) if cached is None else task.assembled(cached.values, batch)
        task.losses(outputs, batch).total.backward()
        if cached is not None:
            cached.spread()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double())
    assert float((found[0] - found[1]).norm()) <= 1e-5 * float(found[0].norm())


def test_what_late_interaction_has_no_use_for_is_refused(judged, tiny_encoder):
    for setting in ("pooling=first", "normalize=false"):
        with pytest.raises(InputError, match="late interaction compares unit vectors"):
            untrained_retriever(spec_of("late-interaction", judged, tiny_encoder, setting))
    short = spec_of("late-interaction", judged, tiny_encoder).model_copy(update={"query_length": 2})
    with pytest.raises(InputError, match="leave no room"):
        untrained_retriever(short)


def test_a_taught_dual_encoder_is_a_teacher_and_a_student(tmp_path, runs, judged, signals):
    out, _ = runs["dual-encoder"]
    found = potstill.distill(
        judged,
        out / "model",
        str(out / "model"),
        out=tmp_path / "run",
        settings={"towers": "shared", "queries.cap": 60, "training.epochs": 1, "evaluate.cost": False},
        signals=signals,
    )
    assert found.evaluation["retention"]["nDCG@10"]["value"] == pytest.approx(1, abs=0.2)
