from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_toys import (
    WIDTH,
    DenseTower,
    bytes_of,
    objectives,
    some_data,
    some_tokens,
    static_tower,
    toy_task,
    unit,
)

from potstill.errors import InputError
from potstill.objectives import functional
from potstill.recipe import ObjectiveSpec
from potstill.training.checks import check
from potstill.training.data import ArrayVectors, StoredVectors, TrainingSet
from potstill.training.task import Outputs, Task
from potstill.training.terms import build_terms

ROWS = np.array([4, 1, 30, 7, 22, 9])


def two_sided(mode="shared", *texts, **more):
    data = replace(some_data(), trained_documents=np.array([3, 0, 11]))
    terms = build_terms(objectives(*(texts or ("match:l2",)), **more))
    other = static_tower(9) if mode == "separate" else None
    return data, Task(static_tower(), terms, mode=mode, document_tower=other)


def perfect(batch) -> Outputs:
    """A student that is a copy of the teacher."""
    return Outputs(batch.query_targets.clone(), None if batch.document_targets is None else batch.document_targets)


@pytest.mark.parametrize("documents", ["batch", "sample", "mined", "all"])
@pytest.mark.parametrize("prefixes", [(), (2, 4)])
@pytest.mark.parametrize("mode", ["asymmetric", "shared", "separate"])
def test_a_copy_of_the_teacher_is_perfect(documents, prefixes, mode):
    if documents == "all":
        mode = "asymmetric"  # the others refuse it
    data, _ = two_sided()
    role = "query" if mode == "asymmetric" else "both"
    specs = [
        *objectives("match:l2", "match:cosine", role=role, prefixes=prefixes),
        *objectives("scores:kl", documents=documents, count=5),
    ]
    other = static_tower(9) if mode == "separate" else None
    task = Task(static_tower(), build_terms(specs), mode=mode, document_tower=other)
    check(task, data)
    batch = task.prepare(data, np.append(ROWS, data.queries + 1) if mode != "asymmetric" else ROWS, 0)
    losses = task.losses(perfect(batch), batch)
    for name, value in losses.terms.items():
        assert float(value) == pytest.approx(0, abs=1e-5), name
    assert float(losses.total) == pytest.approx(0, abs=1e-4)


def test_terms_are_what_the_functions_say():
    data = some_data()
    specs = [*objectives("match:squared", weight=2.0), *objectives("scores:kl", documents="batch", weight=0.5)]
    task = Task(static_tower(), build_terms(specs))
    batch = task.prepare(data, ROWS, 0)
    outputs = task(batch)
    losses = task.losses(outputs, batch)
    teacher = torch.from_numpy(data.query_targets.gather(ROWS))
    sources = np.unique(data.sources[ROWS])
    documents = torch.from_numpy(data.documents.gather(sources[sources >= 0]))
    match = functional.embedding_match(outputs.queries, teacher, "squared")
    scores = functional.score_kl(outputs.queries @ documents.T, teacher @ documents.T, 0.05, 0.05)
    torch.testing.assert_close(losses.terms["match:squared"], match)
    torch.testing.assert_close(losses.terms["scores:kl@batch"], scores)
    torch.testing.assert_close(losses.total, 2.0 * match + 0.5 * scores)


def test_mined_candidates_are_each_querys_own_and_padding_does_not_count():
    data = some_data()
    task = Task(static_tower(), build_terms(objectives("scores:kl", documents="mined")))
    batch = task.prepare(data, ROWS, 0)
    outputs = task(batch)
    value = task.losses(outputs, batch).terms["scores:kl@mined"]
    rows = []
    for i, query in enumerate(ROWS):
        own = data.mined[query]
        documents = torch.from_numpy(data.documents.gather(own[own >= 0]))
        teacher = torch.from_numpy(data.query_targets.gather(ROWS[i : i + 1]))
        rows.append(functional.score_kl(outputs.queries[i : i + 1] @ documents.T, teacher @ documents.T, 0.05, 0.05))
    torch.testing.assert_close(value, torch.stack(rows).mean())


def test_mined_candidates_at_prefixes_agree_with_candidates_for_all():
    """Where every query has the same list, own lists and one list for all are the same thing."""
    data = some_data()
    same = replace(data, mined=np.tile(np.arange(20), (data.queries, 1)))
    values = []
    for documents in ("mined", "all"):
        task = Task(static_tower(), build_terms(objectives("scores:kl", documents=documents, prefixes=(3,))))
        batch = task.prepare(same, ROWS, 0)
        values.append(task.losses(task(batch), batch).total)
    torch.testing.assert_close(values[0], values[1])


def test_samples_depend_on_seed_and_step_alone():
    data = some_data()

    def drawn(step, seed=0):
        terms = build_terms(objectives("scores:kl", documents="sample", count=6))
        task = Task(static_tower(), terms, seed=seed)
        return task.prepare(data, ROWS, step).candidates["scores:kl@sample"].documents.tolist()

    state = torch.get_rng_state()
    assert drawn(3) == drawn(3)
    assert torch.equal(state, torch.get_rng_state())
    assert len(set(drawn(3))) == 6
    assert drawn(3) != drawn(4)
    assert drawn(3) != drawn(3, seed=1)


def test_cosine_scores_do_not_see_lengths():
    data = some_data()
    stretched = replace(data, documents=ArrayVectors(unit(20, 7) * np.linspace(1, 5, 20, dtype=np.float32)[:, None]))
    values = []
    for given in (data, stretched):
        task = Task(static_tower(), build_terms(objectives("scores:kl", documents="all")), metric="cosine")
        batch = task.prepare(given, ROWS, 0)
        values.append(task.losses(task(batch), batch).total)
    torch.testing.assert_close(values[0], values[1])


def test_asymmetric_leaves_the_documents_bytes_alone():
    data = some_data()
    before = data.documents.array.tobytes()
    specs = [*objectives("match:l2"), *objectives("scores:kl", documents="all")]
    task = Task(static_tower(), build_terms(specs))
    for step in range(3):
        batch = task.prepare(data, ROWS, step)
        task.losses(task(batch), batch).total.backward()
    assert data.documents.array.tobytes() == before
    assert not any(chosen._teacher.requires_grad for chosen in batch.candidates.values())
    assert list(task.towers) == ["query"]


def test_each_distinct_document_is_encoded_once():
    data, task = two_sided("shared", "match:l2", role="both")
    task = Task(
        task.query_tower, build_terms([*objectives("match:l2", role="both"), *objectives("scores:kl")]), mode="shared"
    )
    rows = np.append(ROWS, [data.queries, data.queries + 1, data.queries + 2])
    batch = task.prepare(data, rows, 0)
    sources = data.sources[ROWS]
    assert len(batch.document_tokens) == len(set(sources[sources >= 0]) | {3, 0, 11})
    outputs = task(batch)
    expected = task.query_tower(data.document_tokens.select([3, 0, 11]))
    torch.testing.assert_close(outputs.documents[batch.matched], expected)


def test_role_both_is_one_mean_over_all_rows():
    data, task = two_sided("separate", "match:squared", role="both")
    batch = task.prepare(data, np.append(ROWS, data.queries + 2), 0)
    outputs = task(batch)
    students = torch.cat([outputs.queries, task.document_tower(data.document_tokens.select([11]))])
    teachers = torch.from_numpy(data.targets(np.append(ROWS, data.queries + 2)))
    expected = functional.embedding_match(students, teachers, "squared")
    torch.testing.assert_close(task.losses(outputs, batch).total, expected)


@pytest.mark.parametrize("mode", ["shared", "separate"])
def test_all_that_is_trained_is_in_the_state(mode):
    data, task = two_sided(mode, "match:l2", role="both")
    batch = task.prepare(data, np.append(ROWS, data.queries), 0)
    task.train()
    task.losses(task(batch), batch).total.backward()
    touched = task.touched()
    prefixes = {"query", "document"} if mode == "separate" else {"query"}
    assert {name.split(".")[0] for name in touched} == prefixes
    state = task.state_dict()
    pointers = {value.data_ptr() for value in state.values()}
    assert all(use.table.data_ptr() in pointers for uses in touched.values() for use in uses)
    assert len(touched["query.table"]) == (2 if mode == "shared" else 1)


def test_gradient_norms_are_those_of_the_weighted_terms():
    """Unsquared L2 pulls every row with length 1/n, so all n rows together with 1/sqrt(n)."""
    data = some_data()
    specs = [*objectives("match:l2", weight=3.0), *objectives("match:squared")]
    task = Task(static_tower(), build_terms(specs))
    batch = task.prepare(data, ROWS, 0)
    outputs = task(batch)
    losses = task.losses(outputs, batch)
    norms = task.gradient_norms(losses, outputs)
    assert norms["match:l2"] == pytest.approx(3.0 / np.sqrt(len(ROWS)), rel=1e-5)
    distance = (outputs.queries - batch.query_targets).norm().item()
    assert norms["match:squared"] == pytest.approx(2 * distance / len(ROWS), rel=1e-5)
    losses.total.backward()  # still possible


def test_a_batch_without_queries_or_sources_costs_nothing():
    data, _ = two_sided()
    specs = [*objectives("match:l2"), *objectives("scores:kl")]
    task = Task(static_tower(), build_terms(specs), mode="shared")
    batch = task.prepare(data, np.array([data.queries, data.queries + 1]), 0)
    outputs = task(batch)
    losses = task.losses(outputs, batch)
    assert float(losses.total) == 0.0
    assert task.gradient_norms(losses, outputs) == {"match:l2": 0.0, "scores:kl@batch": 0.0}
    none = replace(data, sources=np.full(data.queries, -1))
    asymmetric = toy_task("static", "scores:kl")
    batch = asymmetric.prepare(none, ROWS, 0)
    assert float(asymmetric.losses(asymmetric(batch), batch).total) == 0.0


def test_lengths_count_the_documents_that_a_query_brings():
    data, task = two_sided("shared", "scores:kl")
    lengths = task.lengths(data)
    assert lengths.shape == (len(data), 2)
    document = data.document_tokens.lengths
    sources = data.sources
    expected = np.where(sources >= 0, document[sources], 0)
    assert lengths[: data.queries, 0].tolist() == data.query_tokens.lengths.tolist()
    assert lengths[: data.queries, 1].tolist() == expected.tolist()
    assert lengths[data.queries :].tolist() == [[0, document[d]] for d in (3, 0, 11)]
    assert toy_task("static", "scores:kl").lengths(data).shape == (data.queries, 1)


def test_names_are_distinct_and_say_the_documents():
    specs = [*objectives("match:l2", "match:l2", "match:l2"), *objectives("scores:kl", documents="all")]
    names = [term.name for term in build_terms(specs)]
    assert names == ["match:l2", "match:l2#2", "match:l2#3", "scores:kl@all"]


NARROW = ArrayVectors(np.ones((20, 3), np.float32))
NO_DOCUMENTS = {"documents": None, "document_tokens": None, "sources": None, "mined": None}


@pytest.mark.parametrize(
    ("specs", "mode", "change", "message"),
    [
        (objectives("match:l2", role="document"), "asymmetric", {}, "teacher's own"),
        (objectives("match:l2", role="document"), "shared", {}, "no documents are chosen"),
        (objectives("scores:kl"), "asymmetric", {"sources": None}, "came from"),
        (objectives("scores:kl", documents="mined"), "asymmetric", {"mined": None}, "mined"),
        (objectives("scores:kl", documents="all"), "shared", {}, "every document"),
        (objectives("scores:kl"), "asymmetric", NO_DOCUMENTS, "document vectors"),
        (objectives("match:l2"), "shared", {"document_tokens": None}, "encode documents"),
        (objectives("match:l2", prefixes=(WIDTH + 1,)), "asymmetric", {}, "beyond"),
        (objectives("scores:kl", documents="all"), "asymmetric", {"documents": NARROW}, "dimensions"),
        (objectives("match:l2"), "asymmetric", {"query_targets": ArrayVectors(np.ones((90, 3)))}, "dimensions"),
    ],
)
def test_what_cannot_be_trained_is_told_before_it_starts(specs, mode, change, message):
    task = Task(static_tower(), build_terms(specs), mode=mode)
    with pytest.raises(InputError, match=message) as told:
        check(task, replace(some_data(), **change))
    assert told.value.fix


def test_objectives_that_mean_nothing_are_refused():
    with pytest.raises(InputError, match="nothing to train"):
        build_terms([])
    with pytest.raises(InputError, match="compare a query") as told:
        build_terms([ObjectiveSpec(family="match"), ObjectiveSpec(family="scores", role="both")])
    assert told.value.where == "objectives.1.role"
    with pytest.raises(InputError, match="prefixes"):
        build_terms(objectives("match:l2", prefixes=(0,)))


def test_auto_documents_must_be_settled_first():
    with pytest.raises(ValueError, match="documents: auto"):
        build_terms([ObjectiveSpec(family="scores")])


def test_towers_and_mode_go_together():
    with pytest.raises(ValueError, match="separate"):
        Task(static_tower(), build_terms(objectives("match:l2")), mode="separate")


def test_rows_missing_from_a_table_are_refused():
    with pytest.raises(ValueError, match="2 texts have no vector"):
        StoredVectors(ArrayVectors(unit(4, 0)), np.array([0, -1, 2, -1]))


def test_stored_vectors_are_looked_up_by_row():
    array = unit(10, 0).astype(np.float16)
    vectors = StoredVectors(ArrayVectors(array), np.array([7, 7, 2]))
    assert vectors.gather(np.array([2, 0])).dtype == np.float32
    np.testing.assert_array_equal(vectors.gather(np.array([2, 0])), array[[2, 7]].astype(np.float32))
    assert len(vectors) == 3
    assert vectors.dimensions == WIDTH


def test_a_training_set_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="one target"):
        TrainingSet(some_tokens(5), ArrayVectors(unit(4, 0)))
    with pytest.raises(ValueError, match="sources in range"):
        replace(some_data(), sources=np.full(90, 20))


def test_rows_are_queries_then_documents():
    data, _ = two_sided()
    assert data.roles.tolist() == [0] * 90 + [1] * 3
    queries, documents = data.split(np.array([91, 5, 90]))
    assert queries.tolist() == [5]
    assert documents.tolist() == [0, 3]
    got = data.targets(np.array([91, 5, 90]))
    np.testing.assert_array_equal(got[0], data.documents.gather(np.array([0]))[0])
    np.testing.assert_array_equal(got[1], data.query_targets.gather(np.array([5]))[0])


def test_a_padding_tower_says_so():
    assert Task(DenseTower(), build_terms(objectives("match:l2"))).padded
    assert not toy_task().padded
    assert bytes_of(toy_task()) == bytes_of(toy_task())


def test_each_mined_term_takes_its_own_count_of_the_nearest():
    data = some_data()
    data = replace(data, mined=np.tile([5, 2, 7, 1], (len(data.query_tokens), 1)))
    few = objectives("scores:kl", documents="mined", count=2)
    many = objectives("scores:kl", documents="mined", count=4)
    task = Task(static_tower(), build_terms([*few, *many]))
    chosen = task.prepare(data, ROWS, 0).candidates
    assert [each.documents.tolist() for each in chosen.values()] == [[2, 5], [1, 2, 5, 7]]
