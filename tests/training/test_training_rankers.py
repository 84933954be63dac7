"""LEAD's loss as a task computes it, for each kind of teacher, against NumPy; and what rankers read (lead.md 5.3)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from layer_toys import KINDS, LIST, QUERIES, gradients, layer_task, open_ranker, texts

from potstill.recipe import ScorerSpec, StudentSpec, TeacherSpec
from potstill.signals import pair_text
from potstill.students import build_tower
from potstill.teachers import open_scorer, open_teacher
from potstill.teachers.blocks import Tap
from potstill.training.rankers import asked
from potstill.training.task import Task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rankers")


def prepared(folder: Path, kind: str, step: int = 0, **more):
    task, data = layer_task(folder, kind, **more)
    return task, data, task.prepare(data, np.arange(QUERIES), step)


def log_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    kept = np.where(mask, scores, -np.inf)
    top = kept.max(axis=-1, keepdims=True)
    return kept - top - np.log(np.exp(kept - top).sum(axis=-1, keepdims=True))


def kl(target: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    ours, theirs = log_softmax(target, mask), log_softmax(other, mask)
    rows = np.where(mask, np.exp(ours) * (np.where(mask, ours, 0) - np.where(mask, theirs, 0)), 0.0)
    return float(rows.sum(axis=-1).mean())


def contrastive(scores: np.ndarray, positives: np.ndarray, mask: np.ndarray) -> float:
    return float(-log_softmax(scores, mask)[np.arange(len(scores)), positives].mean())


def seen(task: Task, batch):
    """All that enters the loss, float64: the student's and the teacher's scores, layer by layer, and who counts."""
    outputs = task(batch)
    chosen = batch.candidates[task.layer_terms[0].name]
    drawn = batch.layers[task.layer_terms[0].name]
    ranked = task.ranked.heard(outputs, batch)["teacher"]
    question = batch.asked["teacher"]
    places = chosen.places
    columns = chosen.columns

    def own(scores):
        return scores if columns is None else torch.stack([row.gather(1, columns) for row in scores])

    ours = own((outputs.queries @ outputs.documents[places].T)[None])[0]
    by_tap = [batch.taps.index(tap) for tap in drawn.student]
    layers = torch.stack([outputs.layers["query"][:, i] @ outputs.layers["document"][:, i][places].T for i in by_tap])
    theirs, their_layers = ranked.last, ranked.layers[[question.taps.index(tap) for tap in drawn.teacher]]
    if not task.ranked.rankers["teacher"].reads_pairs:
        assert question.rows.tolist() == chosen.documents.tolist()
        theirs, their_layers = own(theirs[None])[0], own(their_layers)
    mask = np.ones(ours.shape, bool) if chosen.mask is None else chosen.mask.numpy()
    rivals = mask if chosen.rivals is None else chosen.rivals.numpy()
    arrays = [t.detach().double().numpy() for t in (ours, own(layers), theirs, their_layers)]
    return *arrays, chosen.positives.numpy(), mask, rivals


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_loss_is_that_of_the_specification(folder, kind):
    task, _, batch = prepared(folder, kind, layers={"count": 2})
    student, student_layers, teacher, teacher_layers, positives, mask, rivals = seen(task, batch)
    cost = np.array([contrastive(layer, positives, rivals) for layer in teacher_layers])
    weights = np.exp(-cost / 10) / np.exp(-cost / 10).sum()
    expected = {
        "contrastive": contrastive(student, positives, rivals),
        "scores": kl(teacher, student, mask) + kl(student, teacher, mask),
        "layers": sum(w * kl(a, b, mask) for w, a, b in zip(weights, teacher_layers, student_layers, strict=True)),
        "teacher": contrastive(teacher, positives, rivals),
    }
    losses = task.losses(task(batch), batch)
    found = dict(zip(expected, losses.terms.values(), strict=True))
    for name, value in expected.items():
        assert value > 1e-4
        assert float(found[name].detach()) == pytest.approx(value, rel=2e-4, abs=1e-6), name
    assert float(losses.total.detach()) == pytest.approx(sum(expected.values()), rel=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_teachers_get_no_gradient_and_one_direction(folder, kind):
    task, _, batch = prepared(folder, kind, trained=False, layers={"count": 2})
    student, _, teacher, _, _, mask, _ = seen(task, batch)
    losses = task.losses(task(batch), batch)
    assert float(list(losses.terms.values())[1].detach()) == pytest.approx(
        kl(teacher, student, mask), rel=2e-4, abs=1e-6
    )
    losses.total.backward()
    assert all(value.grad is None for value in task.ranked.rankers["teacher"].parameters())
    assert not any(name.startswith("ranked.") for name in task.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_teacher_is_pulled_by_layers_unless_targets_are_detached(folder, kind):
    found = {}
    for detach in (False, True):
        task, _, batch = prepared(folder, kind, detach=detach, layers={"count": 2})
        task.losses(task(batch), batch).terms[task.layer_terms[0].name].backward()
        found[detach] = {name for name, value in gradients(task).items() if value.any()}
    assert any(name.startswith("ranked.") for name in found[False])
    assert not any(name.startswith("ranked.") for name in found[True])


def test_a_copy_of_the_teacher_leaves_twice_the_contrastive_loss(folder):
    """Fact 2: dual encoders, same block with same block, T = 1, no dropout."""
    task, data = layer_task(folder, layers={"count": 3, "map": "last"})
    teacher = task.ranked.rankers["teacher"]
    bi = open_teacher(TeacherSpec(model=str(folder / "bi")))
    tower = build_tower(StudentSpec(kind="layers", layers=(0, 1, 2)), bi, lambda: iter(texts(9, 1)), 0)
    task = Task(tower, task.terms, mode="shared", rankers={"teacher": teacher}).train()
    batch = task.prepare(data, np.arange(QUERIES), 0)
    ours, scores, layers, theirs = task.losses(task(batch), batch).terms.values()
    assert float(scores) == pytest.approx(0, abs=1e-6)
    assert float(layers) == pytest.approx(0, abs=1e-5)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    assert float(ours) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_the_response_but_for_late_interaction(folder, kind):
    """Fact 8, where the dual encoder's vectors are the last block's own."""
    ranker = open_ranker(kind, folder, trained=False)
    queries, documents = texts(3, 7), texts(5, 8)
    place = "mean" if kind == "dual-encoder" else "first"  # the tiny one pools by mean, and brings to length 1
    tap = Tap(ranker.depth - 1, place)
    read = ranker.read(queries, documents, np.arange(5))
    own = np.tile(np.arange(5), (3, 1)) if ranker.reads_pairs else np.full((3, 0), -1)
    question = asked(read, np.arange(3), np.arange(5), own, (tap,))
    values = {one.slot: one.run(0, one.texts) for one in ranker.passes(question)}
    ranked = ranker.ranked(values, question)
    if kind == "dual-encoder":
        layers = [values[slot][1][:, 0] for slot in ("teacher.query", "teacher.document")]
        layers = [torch.nn.functional.normalize(one, dim=1) for one in layers]
        torch.testing.assert_close(layers[0] @ layers[1].T, ranked.last, rtol=1e-4, atol=1e-5)
    elif kind == "cross-encoder":
        torch.testing.assert_close(ranked.layers[0], ranked.last, rtol=1e-4, atol=1e-4)
    else:
        assert (ranked.layers[0] - ranked.last).abs().max() > 1


@pytest.mark.parametrize("kind", ["cross-encoder", "late-interaction"])
def test_live_scores_are_those_of_the_scorer_as_it_fills_the_store(folder, kind):
    ranker = open_ranker(kind, folder, trained=False)
    name = {"cross-encoder": "cross", "late-interaction": "late"}[kind]
    scorer = open_scorer(ScorerSpec(kind=kind, model=str(folder / name)))
    queries, documents = texts(3, 9), texts(4, 10)
    read = ranker.read(queries, documents, np.arange(4))
    own = np.tile(np.arange(4), (3, 1)) if ranker.reads_pairs else np.full((3, 0), -1)
    question = asked(read, np.arange(3), np.arange(4), own, ())
    found = ranker.ranked({one.slot: one.run(0, one.texts) for one in ranker.passes(question)}, question).last
    expected = scorer.source().encode([pair_text(q, d) for q in queries for d in documents], "pair")
    np.testing.assert_allclose(found.numpy().ravel(), expected[:, 0], atol=1e-4)


def test_permuting_queries_changes_nothing(folder):
    """Fact 9: the loss of a batch does not depend on the order of its queries, nor of a query's negatives."""
    for kind in KINDS:
        task, data, batch = prepared(folder, kind, layers={"count": 2})
        expected = float(task.losses(task(batch), batch).total)
        order = np.random.default_rng(0).permutation(QUERIES)
        batch = task.prepare(data, order, 0)
        assert float(task.losses(task(batch), batch).total) == pytest.approx(expected, rel=1e-5)
        lists = data.mined[:, [0, *np.random.default_rng(1).permutation(np.arange(1, LIST))]]
        lists = np.concatenate([lists[:, :1], -np.sort(-lists[:, 1:], axis=1)], axis=1)
        moved = type(data)(**{**data.__dict__, "mined": lists})
        batch = task.prepare(moved, np.arange(QUERIES), 0)
        assert float(task.losses(task(batch), batch).total) == pytest.approx(expected, rel=1e-5)


def test_blocks_are_drawn_anew_every_so_many_updates_whatever_else_is_drawn(folder):
    task, data, _ = prepared(folder, "dual-encoder", layers={"count": 1, "redraw": 3})
    name = task.layer_terms[0].name

    def draws(step: int):
        drawn = task.prepare(data, np.arange(QUERIES), step).layers[name]
        return drawn.student, drawn.teacher

    first = [draws(step) for step in range(30)]
    torch.manual_seed(1)
    random.seed(1)
    assert [draws(step) for step in reversed(range(30))] == first[::-1]
    assert all(first[step] == first[step - step % 3] for step in range(30))
    assert len(set(first)) > 3


def test_the_term_fades_from_epoch_to_epoch(folder):
    task, data, _ = prepared(folder, "dual-encoder", layers={"count": 2, "decay": 0.5})
    name = task.layer_terms[0].name
    totals = []
    for epoch in (0, 3):
        batch = task.prepare(data, np.arange(QUERIES), 0, epoch)
        losses = task.losses(task(batch), batch)
        totals.append(float(losses.total))
        value = float(losses.terms[name])
    assert totals[0] - totals[1] == pytest.approx(value * (1 - 0.5**3), rel=1e-4)


def test_what_a_student_of_another_width_and_tokenizer_ranks_is_compared_too(folder):
    tiny = StudentSpec(kind="tiny", depth=2, width=16, vocabulary="corpus", vocabulary_size=120)
    task, _, batch = prepared(folder, "late-interaction", student=tiny, layers={"count": 2})
    assert task(batch).layers["query"].shape[2] == 16
    losses = task.losses(task(batch), batch)
    losses.total.backward()
    assert all(value > 0 for value in losses.terms.values())
