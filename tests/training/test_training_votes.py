"""Votes in training: who is heard on which candidates, with holes and without; what is logged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_toys import some_data, static_tower

from potstill.errors import InputError
from potstill.objectives.functional import list_vote_weights
from potstill.recipe import ObjectiveSpec, VoteSpec
from potstill.training.ballot import list_masks
from potstill.training.checks import check
from potstill.training.task import Task
from potstill.training.terms import build_terms

NAMES = ("words", "reader", "teacher")


def vote(form: str = "list", teachers=NAMES, **more: object) -> ObjectiveSpec:
    settings = VoteSpec(**{"temperatures": (1.0,) * len(teachers), **more})
    return ObjectiveSpec(family="vote", form=form, teachers=teachers, vote=settings, documents="mined")


def data_with(words=None, reader=None):
    data = some_data(30)
    random = np.random.default_rng(9)
    shape = data.mined.shape
    said = {
        name: random.normal(size=shape).astype(np.float32) if given is None else given
        for name, given in (("words", words), ("reader", reader))
    }
    for scores in said.values():
        scores[data.mined < 0] = np.nan
    return replace(data, pair_scores=said)


def task_of(*specs: ObjectiveSpec) -> Task:
    return Task(static_tower(), build_terms(specs)).train()


def run_once(task: Task, data, rows=range(12)):
    batch = task.prepare(data, np.array(rows), 0)
    outputs = task(batch)
    return batch, outputs, task.losses(outputs, batch)


@pytest.mark.parametrize("form", ["list", "margin"])
def test_unanimous_teachers_teach_as_their_mean(form):
    """Three voices that say the same are one teacher (GOVERN, property 1)."""
    data = data_with()
    same = data.pair_scores["words"]
    data = replace(data, pair_scores={"words": same, "reader": same.copy()})
    task = task_of(vote(form, ("words", "reader")))
    value = run_once(task, data)[2].total
    if form == "list":
        alone = build_terms(
            [ObjectiveSpec(family="scores", teacher="words", documents="mined", teacher_temperature=1.0)]
        )
        expected = run_once(Task(task.query_tower, alone).train(), data)[2].total
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    batch, outputs, _ = run_once(task, data)
    told = task.details(outputs, batch)["votes"][task.term_names[0]]
    assert told["contested"] == 0
    assert set(told["dropped"].values()) == {0.0}


def test_an_inverted_teacher_is_dropped_from_lists():
    data = data_with()
    good = data.pair_scores["words"]
    data = replace(data, pair_scores={"words": good, "near": good * 1.1, "reader": -good})
    spec = vote("list", ("words", "near", "reader")).model_copy(update={"student_temperature": 5.0})
    task = task_of(spec)  # a student that has no opinion yet
    batch, outputs, losses = run_once(task, data)
    (told,) = task.details(outputs, batch)["votes"].values()
    assert told["dropped"]["reader"] > 0.7
    assert told["dropped"]["words"] < 0.2
    assert told["weight"]["words"] > told["weight"]["reader"]
    assert sum(told["weight"].values()) == pytest.approx(1, abs=1e-5)
    assert 0 < told["contested"] <= 1
    losses.total.backward()


def test_a_dropped_teacher_has_no_influence():
    """Locality: what a dropped teacher says may change without a trace."""
    data = data_with()
    good = data.pair_scores["words"]
    values = []
    for factor in (-4.0, -5.0):
        said = {"words": good, "near": good.copy(), "reader": factor * good}
        task = task_of(vote("margin", ("words", "near", "reader")))
        batch, outputs, losses = run_once(task, replace(data, pair_scores=said))
        chosen = batch.candidates[task.term_names[0]]
        student, heard, present = chosen.ballot(
            task.score_terms[0], batch.query_targets, outputs.queries, None, cosine=False
        )
        weights = task.score_terms[0].objective.weights(
            (student[:, :1] - student).reshape(-1) / 0.05,
            (heard[:, :, :1] - heard).reshape(3, -1),
            present.reshape(3, -1),
        )
        values.append((losses.total.item(), weights))
    both = (values[0][1][2] == 0) & (values[1][1][2] == 0)
    assert both.float().mean() > 0.3
    assert torch.equal(values[0][1][:2, both], values[1][1][:2, both])


def test_the_teacher_of_vectors_has_a_vote_at_its_temperature():
    data = data_with()
    term = vote("list", ("words", "teacher"), temperatures=(1.0, 0.1))
    task = task_of(term)
    batch, outputs, _ = run_once(task, data)
    chosen = batch.candidates[task.term_names[0]]
    _, heard, present = chosen.ballot(task.score_terms[0], batch.query_targets, outputs.queries, None, cosine=False)
    for query in range(12):
        documents = torch.from_numpy(data.documents.gather(data.mined[query]))
        expected = documents @ torch.from_numpy(data.query_targets.gather(np.array([query])))[0] / 0.1
        there = torch.from_numpy(data.mined[query] >= 0)
        assert torch.allclose(heard[1, query][there], expected[there], atol=1e-5)
        assert torch.equal(present[1, query], there)


def test_holes_are_no_zeros():
    present = torch.tensor(
        [
            [[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 0, 0]],
            [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]],
        ]
    ).bool()
    asked, mask = list_masks(present)
    assert asked.tolist() == [[True, True, False], [True, False, True]]
    assert mask.tolist() == [[True, True, False, False], [True, True, True, True], [True, True, True, False]]


def test_what_a_file_lacks_does_not_count():
    """A candidate without a score is as if it were not in the list; zeros in its place would teach something else."""
    data = data_with()
    holed, zeros = data.pair_scores["words"].copy(), data.pair_scores["words"].copy()
    holed[:, 1], zeros[:, 1] = np.nan, 0.0
    values, whole = {}, [1, 2, 4, 5, 7, 8]  # lists of four
    for name, words in (("holed", holed), ("zeros", zeros)):
        for form in ("list", "margin"):
            said = {**data.pair_scores, "words": words}
            task = task_of(vote(form))
            values[name, form] = run_once(task, replace(data, pair_scores=said), whole)[2].total.item()
    assert np.isfinite(list(values.values())).all()
    assert values["holed", "list"] != pytest.approx(values["zeros", "list"], rel=1e-3)
    short = replace(data, mined=np.where(np.arange(4) == 1, -1, data.mined))
    kept = {name: np.where(np.arange(4) == 1, np.nan, scores) for name, scores in data.pair_scores.items()}
    expected = run_once(task_of(vote("list")), replace(short, pair_scores=kept), whole)[2].total.item()
    assert values["holed", "list"] == pytest.approx(expected, rel=1e-5)


def test_scores_of_every_document_are_standardised_weighed_and_added():
    """The sum that hybrid search ranks by: z-scores of each query over the whole collection."""
    data = data_with()
    random = np.random.default_rng(3)
    words = random.gamma(1.0, 3.0, size=(30, len(data.documents))).astype(np.float32)
    words[2, 5] = np.nan
    data = replace(data, whole={"words": lambda queries: words[queries]})
    spec = ObjectiveSpec(
        family="ensemble",
        form="logits",
        teachers=("teacher", "words"),
        documents="all",
        student_temperature=1.0,
        vote=VoteSpec(zscore=True, weights=(0.7, 0.3), temperatures=(0.5, 0.5)),
    )
    task = task_of(spec)
    check(task, data)
    _, outputs, losses = run_once(task, data)
    documents, total = data.documents.array, []
    for query in range(12):
        mine = documents @ data.query_targets.gather(np.array([query]))[0]
        voices = [mine, words[query]]
        z = [(v - np.nanmean(v)) / np.nanstd(v) for v in voices]
        there = ~np.isnan(words[query])
        logits = (0.7 * z[0] + 0.3 * z[1])[there] / 0.5
        p = np.exp(logits - logits.max())
        p /= p.sum()
        student = documents[there] @ outputs.queries[query].detach().numpy()
        q = np.exp(student - student.max())
        total.append((p * np.log(p / (q / q.sum()))).sum())
    assert losses.total.item() == pytest.approx(np.mean(total), rel=1e-4)
    losses.total.backward()


def test_soft_votes_have_all_a_say():
    data = data_with()
    task = task_of(vote("list", soft=0.5, sharpness=4.0))
    batch, outputs, losses = run_once(task, data)
    losses.total.backward()
    (told,) = task.details(outputs, batch)["votes"].values()
    assert all(0 < weight < 1 for weight in told["weight"].values())
    assert told["entropy"] > 0.1


def test_weights_carry_no_gradient():
    student = torch.rand(3, 4).softmax(dim=1).requires_grad_()
    assert not list_vote_weights(student, torch.rand(3, 3, 4).softmax(dim=2)).requires_grad


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"teachers": ("a",)}, "two names or more"),
        ({"teachers": ("a", "a")}, "one vote"),
        ({"teachers": ("a", "b"), "teacher": "a"}, "a list of two names"),
        ({"teachers": ("a", "b"), "vote": VoteSpec(temperatures=(1.0,))}, "2 teachers and 1 temperatures"),
    ],
)
def test_ballots_that_make_no_sense(spec, says):
    with pytest.raises(ValueError, match=says):
        ObjectiveSpec(family="vote", **spec)
    with pytest.raises(ValueError, match="families vote"):
        ObjectiveSpec(family="scores", teachers=("a", "b"))


def test_what_is_refused():
    with pytest.raises(InputError, match="own candidates"):
        build_terms([ObjectiveSpec(family="vote", teachers=("a", "b"), prefixes=(4,), documents="mined")])
    with pytest.raises(InputError, match="known beforehand"):
        build_terms([vote("list", ("a", "b"))], live={"a": True})
    with pytest.raises(InputError, match="no scores of other"):
        check(task_of(vote("list", ("words", "other"))), data_with())
