"""Recipes with stages: each begins with the student of the one before; a stage that is done is not run again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_runs import check_evaluation, quick_run, read

import potstill
from potstill.errors import InputError
from potstill.pipeline import single
from potstill.recipe import load_recipe
from tiny import make_tiny_encoder

STAGES = [
    {"objectives": ["match:l2"], "training": {"epochs": 2}},
    {"objectives": ["match:cosine", "scores:kl"], "training": {"learning_rate": 1e-9, "select": "last"}},
]


def staged(run: Path, collection: Path, teacher: Path, signals: Path, *settings: str, stages=STAGES, **more):
    settings = ("stages=" + json.dumps(stages), *settings)
    return quick_run(run, collection=collection, teacher=teacher, signals=signals, settings=settings, **more)


@pytest.mark.parametrize(("student", "towers"), [("static", "asymmetric"), ("layers:0", "separate")])
def test_each_stage_begins_with_the_student_of_the_one_before(
    tmp_path, tiny_collection, tiny_encoder, signals, student, towers
):
    run = tmp_path / "run"
    stages = [{**stage, "objectives": ["match:l2"]} for stage in STAGES] if towers == "separate" else STAGES
    check_evaluation(staged(run, tiny_collection, tiny_encoder, signals, stages=stages, student=student, towers=towers))
    first, second = potstill.load(run / "stages" / "1"), potstill.load(run)
    texts = ["a cask of malt", "storm"]
    np.testing.assert_allclose(first.encode_queries(texts), second.encode_queries(texts), atol=1e-4)
    if towers == "separate":
        np.testing.assert_allclose(first.encode_documents(texts), second.encode_documents(texts), atol=1e-4)
    told = read(run / "run.json")["told"]["stages"]
    assert len(told) == 1
    assert told[0].startswith("stage 1: nDCG@10 ")
    assert "stage 1" in (run / "report.html").read_text(encoding="utf-8")
    kept = load_recipe(run / "recipe.yaml").stages
    assert [stage["objectives"] for stage in kept] == [stage["objectives"] for stage in stages]


def test_a_stage_that_is_done_is_not_run_again(tmp_path, tiny_collection, tiny_encoder, signals, monkeypatch):
    run = tmp_path / "run"
    expected = staged(tmp_path / "whole", tiny_collection, tiny_encoder, signals)
    begun = []
    plain = single.Distillation.go

    def go(self):
        begun.append(self.run.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(single.Distillation, "go", go)
    with pytest.raises(KeyboardInterrupt):
        staged(run, tiny_collection, tiny_encoder, signals)
    found = staged(run, tiny_collection, tiny_encoder, signals, resume=True)
    assert begun == ["1", "run", "run"]
    assert found == expected
    for name in ("model.safetensors", "0_StaticEmbedding/model.safetensors"):
        ours, theirs = run / "student" / name, tmp_path / "whole" / "student" / name
        assert ours.exists() == theirs.exists()
        assert not ours.exists() or ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"student": "static"}], "stages.0 cannot change `student`"),
        ([{"training": {"epochs": 0}}], "stages.0.training.epochs"),
        ([{}, {"objectives": ["nonsense"]}], "stages.1.objectives.0.family"),
        ([{}, {"objectives": ["contrastive"]}], "judged to fit"),
    ],
)
def test_what_is_wrong_with_a_stage_is_told_before_the_first_begins(
    tmp_path, tiny_collection, tiny_encoder, stages, said
):
    with pytest.raises(InputError) as error:
        staged(tmp_path / "run", tiny_collection, tiny_encoder, tmp_path / "store", stages=stages)
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_a_share_of_the_teachers_layers(tmp_path, tiny_collection, signals):
    teacher = make_tiny_encoder(tmp_path / "teacher", layers=4)
    recipe = load_recipe(
        None, flags={"collection": str(tiny_collection), "teacher": str(teacher), "student": "layers:1/2"}
    )
    assert recipe.student.share == 0.5
    run = tmp_path / "run"
    quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals, student="layers:1/2")
    config = read(run / "student" / "config.json")
    assert config["num_hidden_layers"] == 2
    from potstill.students.shrink import evenly

    assert evenly(24, 0.5) == tuple(range(1, 24, 2))
    assert evenly(12, 0.5) == (1, 3, 5, 7, 9, 11)
    assert evenly(6, 0.1) == (5,)
    with pytest.raises(InputError, match="give one"):
        load_recipe(
            None, flags={"collection": "x", "teacher": "y", "student": {"kind": "layers", "layers": [0], "share": 0.5}}
        )
