"""Objectives as losses of the real trainer: the right value, training that helps, and errors for people."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments

import tiny
from potstill.errors import InputError
from potstill.interop.sentence_transformers import PotstillLoss
from potstill.objectives import parse_objective

TEXTS = [f"{topic} {word}" for topic, words in tiny.TOPICS.items() for word in words.split()[:2]]
BANK = "relations:bank(self_policy=include)"
FAMILIES = ["match:l2", "match:cosine", BANK, "relations:own", "scores:kl", "scores:margin-mse", "contrastive:one-hot"]


@pytest.fixture
def models(tmp_path):
    """A teacher and a student of other weights."""
    return tuple(
        SentenceTransformer(str(tiny.make_tiny_encoder(tmp_path / name, seed=seed)), device="cpu").eval()
        for name, seed in (("teacher", 0), ("student", 1))
    )


def rows_for(name, teacher):
    """A data set, and the bank, for an objective."""
    vectors = torch.tensor(teacher.encode(TEXTS))
    objective = parse_objective(name)
    if not objective.signals:
        return Dataset.from_dict({"query": TEXTS, "positive": TEXTS[1:] + TEXTS[:1]}), None
    if objective.inputs == "scores":
        others = [torch.roll(torch.arange(len(TEXTS)), shift) for shift in (1, 2, 3)]
        scores = torch.stack([(vectors * vectors[rows]).sum(1) for rows in others], 1)
        columns = {f"document_{n}": [TEXTS[row] for row in rows] for n, rows in enumerate(others)}
        return Dataset.from_dict({"query": TEXTS, **columns, "label": scores.tolist()}), None
    return Dataset.from_dict({"text": TEXTS, "label": vectors.tolist()}), vectors[:12] if name == BANK else None


def value(loss, model, data):
    features = [model.preprocess(list(data[name])) for name in data.column_names if name != "label"]
    labels = torch.tensor(data["label"][:]) if "label" in data.column_names else None
    with torch.no_grad():
        return float(loss(features, labels))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_trainer_lowers_the_objective(name, models, tmp_path):
    teacher, student = models
    data, bank = rows_for(name, teacher)
    loss = PotstillLoss(student, name, bank)
    before = value(loss, student, data)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"),
        num_train_epochs=6,
        per_device_train_batch_size=10,
        learning_rate=2e-3,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    SentenceTransformerTrainer(model=student, args=arguments, train_dataset=data, loss=loss).train()
    student.eval()
    assert value(loss, student, data) < before
    student.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.allclose(torch.tensor(again.encode(TEXTS)), torch.tensor(student.encode(TEXTS)), atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_value_is_the_objectives_own(name, models):
    teacher, student = models
    ours, theirs = (torch.tensor(model.encode(TEXTS)) for model in (student, teacher))
    data, bank = rows_for(name, teacher)
    objective = parse_objective(name)
    if not objective.signals:
        expected = objective(ours @ torch.roll(ours, -1, 0).T, torch.arange(len(TEXTS)))
    elif objective.inputs == "scores":
        # torch.roll(range, s)[i] is i - s: the candidates of `rows_for`.
        scores = torch.stack([(ours * torch.roll(ours, shift, 0)).sum(1) for shift in (1, 2, 3)], 1)
        expected = objective(scores, torch.tensor(data["label"][:]))
    else:
        expected = objective(ours, theirs, **({} if bank is None else {"bank": bank}))
    found = value(PotstillLoss(student, name, bank), student, data)
    assert found == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_the_gradient_reaches_the_model_and_the_bank_is_no_parameter(models):
    teacher, student = models
    data, bank = rows_for(BANK, teacher)
    loss = PotstillLoss(student, BANK, bank)
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == {"model"}
    loss([student.preprocess(TEXTS)], torch.tensor(data["label"][:])).backward()
    assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in student.parameters())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layers:adaptive", "more than columns"),
        ("vote:list", "more than columns"),
        ("nonsense", "no objective"),
        (BANK, "needs a bank"),
        ("relations:bank", "no identity"),
    ],
)
def test_what_cannot_come_this_way_is_refused(name, said, models):
    with pytest.raises(InputError, match=said):
        PotstillLoss(models[1], name)


def test_a_bank_that_nobody_reads_is_refused(models):
    with pytest.raises(InputError, match="reads no bank"):
        PotstillLoss(models[1], "match:l2", torch.zeros(2, 32))


@pytest.mark.parametrize(
    ("name", "columns", "labels", "said"),
    [
        ("match:l2", 1, None, "no label"),
        ("match:l2", 2, (2, 32), "2 columns"),
        ("match:l2", 1, (2, 7), "width of the labels"),
        ("scores:kl", 3, (2, 3), "3 columns of texts and 3 scores"),
        ("scores:kl", 3, (2,), "labels of shape"),
        ("contrastive:one-hot", 1, None, "1 column"),
    ],
)
def test_odd_batches_are_named(name, columns, labels, said, models):
    student = models[1]
    features = [student.preprocess(["copper", "wind"]) for _ in range(columns)]
    with pytest.raises(InputError, match=said):
        PotstillLoss(student, name)(features, None if labels is None else torch.zeros(labels))
