"""A teacher trained with its student: a learning rate and a clip of its own, in every checkpoint, resumed exactly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from layer_toys import KINDS, layer_task
from safetensors.torch import load_file

from potstill.recipe import TrainingSpec
from potstill.training.loop import train
from potstill.training.optimiser import Optimiser
from potstill.training.task import Task

CHILD = Path(__file__).with_name("train_child.py")
SPEC = TrainingSpec(
    learning_rate=1e-3,
    epochs=4,
    max_texts_per_batch=3,
    tokens_per_batch=10_000,
    select="last",
    checkpoint_seconds=1e-6,
    threads=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joint")


def state(task: Task) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_in_the_same_bytes_teacher_included(folder, tmp_path, monkeypatch, kind):
    task, data = layer_task(folder, kind, layers={"redraw": 2})
    before = state(task)
    train(task, data, SPEC, tmp_path / "whole")
    expected = state(task)
    moved = {name for name, value in expected.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("ranked.trained.teacher.") for name in moved)
    assert any(name.startswith("query_tower.") for name in moved)

    class Stopped(Exception):
        pass

    plain, steps = Task.prepare, []

    def stopping(self, data, rows, step, epoch=0):
        steps.append(step)
        if step == 5 and steps.count(5) == 1:
            raise Stopped
        return plain(self, data, rows, step, epoch)

    monkeypatch.setattr(Task, "prepare", stopping)
    with pytest.raises(Stopped):
        train(layer_task(folder, kind, layers={"redraw": 2})[0], data, SPEC, tmp_path / "run")
    kept = load_file(sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1] / "task.safetensors")
    assert any(name.startswith("ranked.trained.teacher.") for name in kept)
    again, data = layer_task(folder, kind, layers={"redraw": 2})
    train(again, data, SPEC, tmp_path / "run", resume=True)
    assert steps.count(4) == 1
    found = state(again)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_frozen_teacher_is_in_no_checkpoint_and_never_changes(folder, tmp_path):
    task, data = layer_task(folder, "dual-encoder", trained=False)
    teacher = task.ranked.rankers["teacher"]
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    train(task, data, SPEC, tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    kept = load_file(sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1] / "task.safetensors")
    assert not any("ranked" in name for name in kept)


def test_the_teachers_group_has_its_own_rate_and_clip(folder):
    task, _ = layer_task(folder, "dual-encoder")
    task.teacher_rate = 1e-4
    optimiser = Optimiser(task, table_rate=1e-3, dense_rate=1e-3, weight_decay=0.0, clip=1.0)
    names = dict(task.named_trainable())
    for name, value in names.items():  # the student's gradient is short, the teacher's far too long
        value.grad = torch.full_like(value, 1e-6 if name.startswith("query_tower.") else 1e3)
    teacher = [value for name, value in names.items() if name.startswith("ranked.")]
    student = next(value for name, value in names.items() if name.startswith("query_tower."))
    seen = {}
    plain = optimiser.dense.step

    def step():
        seen["teacher"] = float(torch.cat([value.grad.flatten() for value in teacher]).norm())
        seen["student"] = float(student.grad.flatten()[0])
        plain()

    optimiser.dense.step = step
    before = student.detach().clone(), teacher[0].detach().clone()
    optimiser.step(0.5)
    assert seen["teacher"] == pytest.approx(1.0, rel=1e-3)
    assert seen["student"] == pytest.approx(1e-6)
    assert float((student - before[0]).detach().abs().max()) == pytest.approx(5e-4, rel=0.1)
    assert float((teacher[0] - before[1]).detach().abs().max()) == pytest.approx(5e-5, rel=0.1)


def test_two_processes_train_to_the_weights_of_one(folder, tmp_path):
    task, data = layer_task(folder, "late-interaction")
    train(task, data, SPEC, tmp_path / "one")
    children = [
        subprocess.Popen([sys.executable, str(CHILD), "joint", str(folder), str(tmp_path), str(rank), "2"])
        for rank in range(2)
    ]
    assert [child.wait(timeout=180) for child in children] == [0, 0]
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, value in task.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=2e-4, msg=name)
    lines = [(tmp_path / run / "metrics.jsonl").read_text().count("\n") for run in ("one", "two")]
    assert lines[0] == lines[1] > 0
    names = [sorted(path.name for path in (tmp_path / run / "checkpoints").iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]
