from __future__ import annotations

import json
import os
import random

import numpy as np
import pytest
import torch

from potstill.training import random_states
from potstill.training.checkpoint import Checkpoints
from potstill.training.metrics import MetricsLog


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"table": torch.full((4, 3), value), "head": torch.arange(3.0) * value}


def save(checkpoints, step, best=None, **state):
    checkpoints.save(step, state, weights(step), {"moment": torch.full((2,), float(step))}, best=best)


def test_what_is_saved_is_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    save(checkpoints, 5, note="ä", number=0.1 + 0.2)
    back = Checkpoints(tmp_path / "c", keep=2).newest()
    assert back.state["note"] == "ä"
    assert back.state["number"] == 0.1 + 0.2
    assert back.state["step"] == 5
    assert torch.equal(back.task["table"], weights(5)["table"])
    assert torch.equal(back.optimiser["moment"], torch.full((2,), 5.0))


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 30, 100):
        save(checkpoints, step)
    assert checkpoints.steps() == [30, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000030", "step-00000100"]


def test_the_best_weights_live_on_in_later_checkpoints_without_being_written_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert checkpoints.newest() is None
    save(checkpoints, 1, best="this")
    first = os.stat(tmp_path / "step-00000001" / "best.safetensors").st_ino
    save(checkpoints, 2, best="before")
    save(checkpoints, 3, best="before")
    assert checkpoints.steps() == [3]
    assert torch.equal(checkpoints.best()["table"], weights(1)["table"])
    assert os.stat(tmp_path / "step-00000003" / "best.safetensors").st_ino == first
    save(checkpoints, 4, best="this")
    assert torch.equal(checkpoints.best()["table"], weights(4)["table"])


def flip(path):
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(bytes(held))


@pytest.mark.parametrize("name", ["task.safetensors", "optimiser.safetensors", "best.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["flip", "remove", "cut"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_used(tmp_path, capsys, name, harm):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1, best="this", counters={"texts": 1234567})
    save(checkpoints, 2, best="this", counters={"texts": 1234567})
    broken = tmp_path / "step-00000002" / name
    if name == "best.safetensors":  # by itself: it shares its bytes with task.safetensors
        copy = broken.read_bytes()
        broken.unlink()
        broken.write_bytes(copy)
    if harm == "flip":
        flip(broken)
    elif harm == "remove":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:-9])
    back = checkpoints.newest()
    assert back.state["step"] == 1
    told = capsys.readouterr().err
    assert "step-00000002" in told
    assert name in told
    assert checkpoints.steps() == [1]


def test_a_changed_digit_of_the_state_is_damage(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1, seconds=12.5)
    path = tmp_path / "step-00000001" / "state.json"
    path.write_text(path.read_text().replace("12.5", "13.5"))
    assert checkpoints.newest() is None
    assert "state.json is damaged" in capsys.readouterr().err


def test_unfinished_folders_are_swept_away(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1)
    (tmp_path / ".step-00000002.abc").mkdir()
    (tmp_path / ".step-00000002.abc" / "task.safetensors").write_bytes(b"half")
    assert checkpoints.newest().state["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_tied_and_transposed_weights_come_back(tmp_path):
    table = torch.randn(3, 4)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {}, {"in": table, "out": table, "turned": table.T}, {}, best=None)
    back = checkpoints.newest().task
    assert torch.equal(back["in"], table)
    assert torch.equal(back["out"], table)
    assert torch.equal(back["turned"], table.T)


def test_nothing_is_pickled(tmp_path):
    save(Checkpoints(tmp_path, keep=1), 1, best="this")
    names = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {".json", ".safetensors"}


def test_random_states_come_back_through_json():
    random_states.seed_all(3)
    random.gauss(0, 1)
    np.random.normal()  # noqa: NPY002
    saved = json.loads(json.dumps(random_states.states()))

    def draw():
        numpy = np.random.normal(size=3).tolist()  # noqa: NPY002
        return random.gauss(0, 1), random.random(), numpy, torch.rand(3).tolist()

    first = draw()
    random_states.restore(saved)
    assert draw() == first


def test_what_is_drawn_inside_leaves_no_trace():
    random_states.seed_all(3)
    expected = torch.rand(2).tolist()
    random_states.seed_all(3)
    with random_states.untouched():
        torch.rand(100)
        random.random()
    assert torch.rand(2).tolist() == expected


def test_metrics_after_a_resume_are_as_if_never_interrupted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, None)
    for step in (20, 40, 60):
        log.write({"step": step})
        assert path.read_text().count("\n") == step // 20  # flushed at once
    log.close()
    with path.open("a") as file:
        file.write('{"step": 80, "lo')
    MetricsLog(path, 40).close()
    assert path.read_text() == '{"step": 20}\n{"step": 40}\n'
    MetricsLog(path, None).close()
    assert path.read_text() == ""
