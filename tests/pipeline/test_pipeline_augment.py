"""Runs whose recipe augments: from the command line to the report, and what is refused before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback_service import running
from pipeline_runs import QUICK, check_run, lines, quick_run, read

from potstill.cli import run as cli
from potstill.errors import InputError
from potstill.pipeline.doctor import examine
from potstill.recipe import load_recipe

AUGMENT = ("augment.mix=0.5", "augment.disagree=0.5", "augment.share=0.5")
NAMES = {"match:l2", "match:l2@mixed", "match:l2@disagreement"}


def logged(run: Path) -> set[str]:
    return {name for line in lines(run / "metrics.jsonl") for name in line.get("terms", ())}


@pytest.mark.parametrize("student", ["static", "layers:0"])
def test_from_the_command_line(student: str, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    run = tmp_path / "run"
    settings = [part for one in (*QUICK, *AUGMENT) for part in ("--set", one)]
    named = ["--collection", str(tiny_collection), "--teacher", str(tiny_encoder), "--student", student]
    assert cli(["distill", *named, "--out", str(run), "--signals", str(signals), *settings]) == 0
    check_run(run, read(run / "evaluation.json"))
    assert logged(run) >= NAMES
    assert "match:l2@mixed" in (run / "report.html").read_text(encoding="utf-8")


def test_the_form_is_the_first_matching_objectives_and_its_roles_take_part(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    settings = [
        *AUGMENT,
        "objectives=[{family: scores}, {family: match, form: cosine, role: both, prefixes: [8]}, match:l2]",
    ]
    where = {"collection": tiny_collection, "teacher": tiny_encoder, "signals": signals, "student": "layers:0"}
    found = quick_run(tmp_path / "run", settings=settings, towers="separate", **where)
    check_run(tmp_path / "run", found)
    assert {"match:cosine@mixed", "match:cosine@disagreement"} < logged(tmp_path / "run")


def test_scores_alone_are_augmented_by_l2(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    settings = [*AUGMENT[:1], "objectives=[scores:kl]"]
    found = quick_run(
        tmp_path / "run", collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings
    )
    check_run(tmp_path / "run", found)
    assert logged(tmp_path / "run") == {"scores:kl@all", "match:l2@mixed"}


def test_another_amount_is_another_run(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    where = {"collection": tiny_collection, "teacher": tiny_encoder, "signals": signals}
    quick_run(tmp_path / "run", settings=AUGMENT, **where)
    with pytest.raises(InputError, match="this run cannot be resumed"):
        quick_run(tmp_path / "run", settings=[*AUGMENT, "augment.mix_alpha=0.9"], resume=True, **where)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (["student.vocabulary=corpus"], "student.vocabulary"),
        (["student.phrases=5"], "student.phrases"),
    ],
)
def test_students_with_entries_of_their_own_are_refused(
    settings: list[str], where: str, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    with pytest.raises(InputError, match=r"queries\.mixed") as told:
        quick_run(
            tmp_path / "run",
            collection=tiny_collection,
            teacher=tiny_encoder,
            signals=signals,
            settings=[*AUGMENT, *settings],
        )
    assert told.value.where == where
    assert not (tmp_path / "run").exists()


def test_a_student_model_with_other_entries_is_refused(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path):
    from tiny import make_tiny_encoder

    other = make_tiny_encoder(tmp_path / "other", more_words=["foreign"])
    flags = {"collection": str(tiny_collection), "teacher": str(tiny_encoder), "student": str(other)}
    found = examine(load_recipe(None, flags=flags, settings=[*QUICK, *AUGMENT]), signals=tmp_path / "signals")
    assert found[-1].level == "problem"
    assert "'foreign'" in found[-1].message
    assert "queries.mixed" in found[-1].fix


def test_a_service_cannot_be_asked_about_mixtures(tmp_path: Path, tiny_collection: Path, signals: Path):
    with running() as service:
        teacher = {"url": service.url, "model": "any", "api": "tei"}
        with pytest.raises(InputError, match=r"does not run on this machine[\s\S]*queries\.mixed"):
            quick_run(
                tmp_path / "run", collection=tiny_collection, teacher=teacher, signals=signals, settings=AUGMENT[:1]
            )
    assert not (tmp_path / "run").exists()


def test_amounts_out_of_range(tiny_encoder: Path):
    flags = {"collection": "any", "teacher": str(tiny_encoder)}
    for setting in ("mix=-1", "mix_alpha=0", "share=0", "share=1.5", "disagree_steps=0", "disagree_size=0"):
        with pytest.raises(InputError, match=rf"augment\.{setting.partition('=')[0]}"):
            load_recipe(None, flags=flags, settings=[f"augment.{setting}"])
    assert not load_recipe(None, flags=flags).augment.mix
