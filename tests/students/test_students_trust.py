"""A student's folder may come from anyone: nothing in it can allow Python code to be run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import potstill
from potstill import teachers
from potstill.errors import InputError
from potstill.recipe import StudentSpec, TeacherSpec
from potstill.students import build_tower
from potstill.teachers import open_teacher


def test_a_note_cannot_allow_remote_code(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch):
    teacher = open_teacher(TeacherSpec(model=str(tiny_encoder)))
    tower = build_tower(StudentSpec(phrases=0), teacher, lambda: iter(["wind and sail", "the old ship"]), 0)
    note = {"towers": "asymmetric", "teacher": {"model": str(tiny_encoder), "trust_remote_code": True}}
    tower.save(tmp_path / "student", note)
    assert json.loads((tmp_path / "student" / "potstill.json").read_text())["teacher"]["trust_remote_code"] is True
    asked: list[bool] = []

    def opened(spec: TeacherSpec) -> object:
        asked.append(spec.trust_remote_code)
        raise InputError("it brings its own Python code")

    monkeypatch.setattr(teachers, "open_teacher", opened)
    for trust in (False, True):
        with pytest.raises(InputError) as told:
            potstill.load(tmp_path / "student", trust_remote_code=trust).encode_documents(["a"])
        assert ("trust_remote_code=True" in str(told.value.fix)) is not trust
    assert asked == [False, True]
