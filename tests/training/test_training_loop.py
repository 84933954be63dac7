from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_toys import (
    bytes_of,
    closeness,
    lines_of,
    objectives,
    settings,
    some_data,
    static_tower,
    toy_task,
)

from potstill.errors import InputError, PotstillError
from potstill.training.batches import Batches
from potstill.training.loop import LOG_EVERY, train
from potstill.training.task import Task
from potstill.training.terms import build_terms


@pytest.mark.parametrize("kind", ["static", "head", "dense"])
def test_the_loss_falls_and_the_student_comes_closer(tmp_path, kind):
    data, task = some_data(), toy_task(kind)
    validate = closeness(data)
    task.eval()
    before = validate(task)["score"]
    rate = 0.02 if kind == "dense" else 0.1
    result = train(task, data, settings(epochs=12, learning_rate=rate), tmp_path, validate=validate)
    losses = [line["loss"] for line in lines_of(tmp_path) if "loss" in line]
    assert losses[-1] < 0.75 * losses[0]  # two of the toys are too narrow for more
    assert result.best_score > before + 0.2
    assert validate(task)["score"] == pytest.approx(result.best_score)
    assert not task.training


def test_it_stops_at_the_exact_step(tmp_path):
    data, task, spec = some_data(), toy_task(), settings()
    result = train(task, data, spec, tmp_path)
    batches = Batches(task.lengths(data), tokens_per_batch=60, max_texts=8, seed=0, padded=False)
    assert result.steps == sum(len(batches.plan(epoch)) for epoch in range(3))
    assert result.texts == 3 * len(data)
    assert result.epochs == 3
    assert result.best_score is None
    assert not result.stopped_early
    assert 0 < result.share_of_compute <= 1


def test_metrics_have_terms_gradient_norms_and_validations(tmp_path):
    data = some_data()
    specs = [*objectives("match:l2"), *objectives("scores:kl", documents="all", weight=0.1)]
    task = Task(static_tower(), build_terms(specs))
    result = train(task, data, settings(), tmp_path, validate=closeness(data))
    lines = lines_of(tmp_path)
    updates = [line for line in lines if "loss" in line]
    assert [line["step"] for line in updates] == [*range(LOG_EVERY, result.steps, LOG_EVERY), result.steps]
    for line in updates:
        assert set(line["terms"]) == {"match:l2", "scores:kl@all"}
        assert line["loss"] == pytest.approx(line["terms"]["match:l2"] + 0.1 * line["terms"]["scores:kl@all"], rel=1e-5)
        if line["step"] % LOG_EVERY == 0:
            assert all(norm > 0 for norm in line["gradient_norms"].values())
    validations = [line for line in lines if "validation" in line]
    assert [line["epoch"] for line in validations] == [0, 1, 2, 3]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def test_losses_of_a_line_are_means_since_the_line_before(tmp_path, monkeypatch):
    import potstill.training.loop as loop

    each, seen = [], Task.losses

    def spy(self, outputs, batch):
        losses = seen(self, outputs, batch)
        each.append(float(losses.total.detach()))
        return losses

    monkeypatch.setattr(Task, "losses", spy)
    monkeypatch.setattr(loop, "LOG_EVERY", 7)
    data = some_data()
    train(toy_task(), data, settings(), tmp_path)
    lines = [line for line in lines_of(tmp_path) if "loss" in line]
    assert lines[0]["loss"] == pytest.approx(np.mean(each[:7]), rel=1e-5)
    assert lines[1]["loss"] == pytest.approx(np.mean(each[7:14]), rel=1e-5)


def scripted(*scores):
    """A validation that gives these scores in turn, and remembers the weights it saw."""
    left, seen = list(scores), []

    def validate(task):
        seen.append(bytes_of(task))
        return {"score": left.pop(0), "extra": 1.0}

    return validate, seen


def test_the_best_weights_win_not_the_last(tmp_path):
    data, task = some_data(), toy_task()
    validate, seen = scripted(0.1, 0.3, 0.9, 0.5)
    result = train(task, data, settings(), tmp_path, validate=validate)
    assert bytes_of(task) == seen[2]
    assert bytes_of(task) != seen[3]
    assert result.best_score == 0.9


def test_an_untrained_student_may_be_the_best(tmp_path):
    data, task = some_data(), toy_task()
    start = bytes_of(task)
    result = train(task, data, settings(), tmp_path, validate=scripted(0.9, 0.1, 0.2, 0.3)[0])
    assert result.best_step == 0
    assert bytes_of(task) == start


def test_early_stop_counts_validations_without_progress(tmp_path):
    data, task = some_data(), toy_task()
    validate, seen = scripted(0.1, 0.5, 0.5, 0.4, 0.9, 0.9)
    result = train(task, data, settings(epochs=9, patience=2), tmp_path, validate=validate)
    assert result.stopped_early
    assert result.epochs == 3
    assert len(seen) == 4
    assert bytes_of(task) == seen[1]


def test_validation_by_updates_also_comes_at_the_end(tmp_path):
    data = some_data()
    result = train(toy_task(), data, settings(epochs=2, validate_every=10), tmp_path, validate=closeness(data))
    steps = [line["step"] for line in lines_of(tmp_path) if "validation" in line]
    assert steps == [*range(0, result.steps, 10), result.steps]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    def run(name, seed):
        task = toy_task("dense")
        train(task, some_data(), settings(seed=seed, epochs=2), tmp_path / name)
        return bytes_of(task)

    assert run("a", 0) == run("b", 0)
    assert run("a", 0) != run("c", 1)


def test_validation_that_draws_numbers_changes_nothing(tmp_path):
    def noisy(task):
        torch.rand(7)
        return {"score": 0.0}

    def run(name, validate):
        task = toy_task("dense")
        run = tmp_path / name
        train(task, some_data(), settings(epochs=2), run, validate=validate)
        from potstill.training.checkpoint import Checkpoints

        return {
            key: value.numpy().tobytes() for key, value in Checkpoints(run / "checkpoints", 2).newest().task.items()
        }

    assert run("a", noisy) == run("b", None)


def test_documents_are_trained_with_two_sides(tmp_path):
    data = replace(some_data(), trained_documents=np.arange(20))
    specs = [*objectives("match:l2", role="both"), *objectives("scores:kl", documents="batch")]
    task = Task(static_tower(), build_terms(specs), mode="separate", document_tower=static_tower(4))
    before = bytes_of(task)
    train(task, data, settings(), tmp_path)
    after = bytes_of(task)
    changed = {name for name in before if before[name] != after[name]}
    assert {"query_tower.table", "separate_document_tower.table"} <= changed


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path):
    data = some_data()
    bad = data.query_targets.array.copy()
    bad[7] = math.nan
    from potstill.training.data import ArrayVectors

    with pytest.raises(PotstillError, match="not finite"):
        train(toy_task(), replace(data, query_targets=ArrayVectors(bad)), settings(), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("step-*[1-9]"))


def test_data_that_lacks_something_is_refused_before_anything_is_written(tmp_path):
    data = replace(some_data(), sources=None)
    with pytest.raises(InputError):
        train(toy_task("static", "scores:kl"), data, settings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_new_run_removes_what_an_older_one_left(tmp_path):
    train(toy_task(), some_data(), settings(epochs=2), tmp_path)
    train(toy_task(), some_data(), settings(epochs=1), tmp_path)
    assert max(line["epoch"] for line in lines_of(tmp_path)) == 1
    states = [json.loads(path.read_text()) for path in tmp_path.glob("checkpoints/*/state.json")]
    assert max(state["counters"]["epoch"] for state in states) == 1


def test_threads_are_those_of_the_spec_and_put_back(tmp_path):
    seen = []

    def validate(task):
        seen.append(torch.get_num_threads())
        return {"score": 0.0}

    before = torch.get_num_threads()
    train(toy_task(), some_data(), settings(epochs=1, threads=2), tmp_path, validate=validate)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_bf16_on_request(tmp_path):
    data, task = some_data(), toy_task("dense")
    result = train(task, data, settings(bf16=True, learning_rate=0.02, epochs=8), tmp_path, validate=closeness(data))
    assert result.best_score > 0.3
    assert all(value.dtype == torch.float32 for value in task.state_dict().values())
