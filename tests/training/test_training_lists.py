"""Judged positives, each query's own list, scorers' scores and vectors: what reaches which term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_toys import WIDTH, objectives, settings, some_data, static_tower, toy_task

from potstill.errors import InputError
from potstill.objectives import functional
from potstill.recipe import ObjectiveSpec
from potstill.training.checks import check
from potstill.training.data import ArrayVectors, PairTargets, TrainingSet
from potstill.training.loop import train
from potstill.training.task import Task
from potstill.training.terms import build_terms

ROWS = np.array([4, 1, 30, 7, 22, 9])


def judged(count: int = 90, documents: int = 20) -> TrainingSet:
    """Every other query has one to three positives; its list begins with the first and holds no other."""
    data = some_data(count, documents)
    random = np.random.default_rng(11)
    positives = np.full((count, 3), -1, dtype=np.int64)
    lists = np.full((count, 5), -1, dtype=np.int64)
    sources = np.full(count, -1, dtype=np.int64)
    for i in range(count):
        order = random.permutation(documents)
        known = order[: i % 3 + 1] if i % 2 == 0 else order[:0]
        positives[i, : len(known)] = known
        rest = order[len(known) :]
        own = [*known[:1], *rest][: 5 if i % 4 else 3]
        lists[i, : len(own)] = own
        sources[i] = known[0] if len(known) else -1
    scores = random.normal(size=lists.shape).astype(np.float32)
    scores[lists < 0] = np.nan
    scores[ROWS[0], 2] = np.nan
    return replace(data, positives=positives, mined=lists, sources=sources, pair_scores={"ce": scores})


def terms(*specs: ObjectiveSpec, **more: object) -> Task:
    return Task(static_tower(), build_terms(specs), **more)


def scores_of(task: Task, data: TrainingSet) -> torch.Tensor:
    """The student's scores of all documents for ROWS."""
    student = task.query_tower(data.query_tokens.select(ROWS))
    return student @ torch.from_numpy(data.documents.gather(np.arange(len(data.documents)))).T


def value(task: Task, data: TrainingSet, step: int = 0) -> torch.Tensor:
    batch = task.prepare(data, ROWS, step)
    return task.losses(task(batch), batch).terms[task.terms[0].name]


def test_a_scorers_scores_are_the_target_and_holes_do_not_count():
    data = judged()
    spec = ObjectiveSpec(family="scores", teacher="ce", documents="mined", teacher_temperature=0.7)
    task = terms(spec)
    lists, target = data.mined[ROWS], torch.from_numpy(data.pair_scores["ce"][ROWS])
    student = scores_of(task, data).gather(1, torch.from_numpy(np.maximum(lists, 0)))
    expected = functional.score_kl(student, target, 0.05, 0.7, ~target.isnan())
    torch.testing.assert_close(value(task, data), expected)
    assert torch.isfinite(value(task, data))


@pytest.mark.parametrize("form", ["mse", "margin-mse", "pearson", "spearman", "cmkd", "kl"])
@pytest.mark.parametrize("mode", ["asymmetric", "shared"])
def test_every_form_of_scores_learns_from_a_scorer(form, mode):
    data = judged()
    task = Task(
        static_tower(),
        build_terms([ObjectiveSpec(family="scores", form=form, teacher="ce", documents="mined")]),
        mode=mode,
    )
    check(task, data)
    batch = task.prepare(data, ROWS, 0)
    losses = task.losses(task(batch), batch)
    assert torch.isfinite(losses.total)
    assert losses.total > 0
    losses.total.backward()
    touched = task.touched()
    assert touched
    assert all(torch.isfinite(use.sub.grad).all() for uses in touched.values() for use in uses)


@pytest.mark.parametrize("documents", ["batch", "sample", "all", "mined"])
def test_the_one_hot_loss_sees_one_positive_and_no_other(documents):
    data = judged()
    task = terms(ObjectiveSpec(family="contrastive", documents=documents, count=7))
    batch = task.prepare(data, ROWS, 3)
    chosen = batch.candidates[task.terms[0].name]
    scores = scores_of(task, data)
    rows = []
    for i, row in enumerate(ROWS):
        known = data.positives[row][data.positives[row] >= 0]
        column = int(chosen.positives[i])
        if not len(known):
            assert column == -1
            continue
        own = chosen.documents if chosen.columns is None else chosen.documents[chosen.columns[i].numpy()]
        counted = own if chosen.mask is None else own[chosen.mask[i].numpy()]
        assert own[column] in known
        assert set(counted) & set(known) == {own[column]}, "another known positive stands among the negatives"
        logits = scores[i][torch.from_numpy(np.ascontiguousarray(counted))] / 0.05
        rows.append(torch.logsumexp(logits, 0) - scores[i][int(own[column])] / 0.05)
    assert len(rows) >= 2
    torch.testing.assert_close(value(task, data, 3), torch.stack(rows).mean())


def test_positives_are_drawn_anew_and_the_same_for_all_terms():
    data = judged()
    many = np.flatnonzero((data.positives >= 0).sum(axis=1) == 3)
    drawn = {tuple(data.positive_of(many, np.random.default_rng([0, step])).tolist()) for step in range(30)}
    assert len(drawn) > 10
    for row in drawn:
        assert all(document in data.positives[query] for document, query in zip(row, many, strict=True))
    task = Task(
        static_tower(),
        build_terms([ObjectiveSpec(family="contrastive", documents="batch"), *objectives("scores:kl")]),
        mode="shared",
    )
    batch = task.prepare(data, ROWS, 5)
    first, second = (batch.candidates[term.name] for term in task.terms)
    assert first.documents.tolist() == second.documents.tolist()
    assert second.mask is None, "a teacher's scores say themselves that other documents fit"


def test_the_error_filter_drops_lists_that_the_scorer_gets_wrong():
    data = judged()
    scores = data.pair_scores["ce"].copy()
    known = data.positives[:, 0] >= 0
    scores[known, 0] = -9.0  # every known positive comes last
    data = replace(data, pair_scores={"ce": scores})
    spec = ObjectiveSpec(family="scores", teacher="ce", documents="mined", keep_wrong=0.0)
    kept = ROWS[~known[ROWS]]
    task = terms(spec)
    student = scores_of(task, data).gather(1, torch.from_numpy(np.maximum(data.mined[ROWS], 0)))
    target = torch.from_numpy(scores[ROWS])
    mask = ~target.isnan() & torch.from_numpy(~known[ROWS])[:, None]
    assert 0 < len(kept) < len(ROWS)
    torch.testing.assert_close(value(task, data), functional.score_kl(student, target, 0.05, 0.05, mask))


def targets(data: TrainingSet, width: int = WIDTH) -> PairTargets:
    queries = np.random.default_rng(1).normal(size=(data.queries, width)).astype(np.float32)
    queries[ROWS[1]] = np.nan
    rows = np.arange(0, len(data.documents), 2)
    return PairTargets(queries, rows, np.random.default_rng(2).normal(size=(len(rows), width)).astype(np.float32))


@pytest.mark.parametrize("role", ["query", "document", "both"])
@pytest.mark.parametrize("width", [WIDTH, 5])
def test_a_scorers_vectors_are_matched_where_there_are_any(role, width):
    data = replace(judged(), pair_targets={"dual.1": targets(judged(), width)})
    specs = [
        ObjectiveSpec(family="match", form="squared", teacher="dual.1", role=role),
        *objectives("scores:kl", documents="mined"),
    ]
    heads = {} if width == WIDTH else {"dual.1": width}
    task = Task(static_tower(), build_terms(specs), mode="shared", heads=heads)
    batch = task.prepare(data, ROWS, 0)
    outputs = task(batch)
    found = task.losses(outputs, batch).terms[task.terms[0].name]
    held, students, teachers = data.pair_targets["dual.1"], [], []
    if role != "document":
        for i, row in enumerate(ROWS):
            if not np.isnan(held.queries[row, 0]):
                students.append(outputs.queries[i])
                teachers.append(held.queries[row])
    if role != "query":
        encoded = np.unique(data.mined[ROWS][data.mined[ROWS] >= 0])
        for place, document in enumerate(encoded):
            if document in held.rows:
                students.append(outputs.documents[place])
                teachers.append(held.documents[held.rows.tolist().index(document)])
    student = torch.stack(students)
    if heads:
        student = torch.nn.functional.normalize(task.heads["head_0"](student), dim=1)
        assert "heads.head_0.weight" in task.state_dict()
    torch.testing.assert_close(
        found, functional.embedding_match(student, torch.from_numpy(np.stack(teachers)), "squared")
    )


def test_a_head_is_trained_and_kept_with_the_task(tmp_path):
    data = replace(judged(), pair_targets={"dual": targets(judged(), 5)})
    task = Task(
        static_tower(),
        build_terms([ObjectiveSpec(family="match", teacher="dual"), *objectives("scores:kl", documents="mined")]),
        mode="shared",
        heads={"dual": 5},
    )
    before = task.heads["head_0"].weight.detach().clone()
    train(task, data, settings(epochs=1), tmp_path)
    assert not torch.equal(before, task.heads["head_0"].weight)


def test_matching_by_the_documents_weights():
    data = judged()
    task = terms(ObjectiveSpec(family="match", form="covariance"))
    root = torch.diag(torch.linspace(0.2, 2.0, WIDTH))
    task.document_root = root
    batch = task.prepare(data, ROWS, 0)
    outputs = task(batch)
    expected = functional.covariance_match(outputs.queries, batch.query_targets, root)
    torch.testing.assert_close(task.losses(outputs, batch).terms["match:covariance"], expected)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        ({"family": "contrastive", "documents": "batch"}, {"positives": None}, "judged to fit"),
        ({"family": "contrastive", "documents": "batch"}, {"positives": np.full((90, 1), -1)}, "judged to fit"),
        ({"family": "scores", "teacher": "other", "documents": "mined"}, {}, "no scores of other"),
        ({"family": "scores", "documents": "mined", "keep_wrong": 0.5}, {"positives": None}, "judged to fit"),
        ({"family": "match", "teacher": "ce"}, {}, "must stay in its space"),
        ({"family": "scores", "form": "margin-mse", "documents": "mined"}, {"positives": None}, "judged to fit"),
    ],
)
def test_what_the_data_lacks_is_told(spec, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        check(terms(ObjectiveSpec(**spec)), replace(judged(), **changes))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"family": "contrastive", "teacher": "ce", "documents": "mined"}, "learns from judgments"),
        ({"family": "contrastive", "role": "both", "documents": "batch"}, "compare a query with documents"),
        ({"family": "scores", "teacher": "ce", "documents": "all"}, "own candidates"),
        ({"family": "scores", "form": "margin-mse", "documents": "batch"}, "known positive"),
        ({"family": "match", "keep_wrong": 0.5}, "error filter"),
    ],
)
def test_what_no_data_could_make_sense_of_is_refused(spec, words):
    with pytest.raises(InputError, match=words):
        build_terms([ObjectiveSpec(**spec)])


def test_judged_training_resumes_to_the_same_bytes(tmp_path):
    data = judged()
    texts = ("contrastive:one-hot", "scores:kl", "match:l2")
    whole = toy_task("dense", *texts)
    train(whole, data, settings(epochs=2), tmp_path / "whole")
    again = toy_task("dense", *texts)
    train(again, data, settings(epochs=2), tmp_path / "again")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_other_known_positives_are_no_errors_of_the_teacher():
    data = judged()
    vectors = np.eye(WIDTH, dtype=np.float32)
    positives = np.full((90, 2), -1, dtype=np.int64)
    positives[:, :] = [0, 1]
    documents = np.tile(vectors[:1] * 0.1, (20, 1))
    documents[0], documents[1] = vectors[0], vectors[0] * 0.9  # the teacher ranks 0 first and 1 second: both fit
    data = replace(
        data,
        positives=positives,
        sources=np.zeros(90, dtype=np.int64),
        documents=ArrayVectors(documents),
        query_targets=ArrayVectors(np.tile(vectors[:1], (90, 1))),
    )
    task = terms(ObjectiveSpec(family="scores", documents="all", keep_wrong=0.0))
    for step in range(4):  # whichever of the two is drawn
        batch = task.prepare(data, ROWS, step)
        assert float(task.losses(task(batch), batch).total.detach()) > 0


def test_lists_too_short_to_teach_anything_are_refused():
    spec = ObjectiveSpec(family="scores", form="pearson", documents="mined", count=2)
    with pytest.raises(InputError, match="teach nothing"):
        check(terms(spec), judged())
