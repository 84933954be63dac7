"""Folders of every kind of student, tiny and untrained, and their exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_students import SPECS, TEXTS

pytest.importorskip("onnxscript")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Callable[..., Path]:
    """Makes a run's folder with a student of a kind in it."""
    from potstill.recipe import StudentSpec, TeacherSpec
    from potstill.students import build_tower
    from potstill.teachers import open_teacher

    teacher = open_teacher(TeacherSpec(model=str(tiny_encoder), device="cpu"))

    def make(spec: dict[str, Any], towers: str = "asymmetric", **note: Any) -> Path:
        folder = tmp_path_factory.mktemp("run")
        texts = lambda: iter(TEXTS * 3)  # noqa: E731
        for name, role in (("student", "query"), ("student-documents", "document")):
            if role == "document" and towers != "separate":
                continue
            tower = build_tower(StudentSpec(**spec), teacher, texts, 0 if role == "query" else 1, role=role)
            tower.save(folder / name, {"teacher": str(tiny_encoder), "towers": towers, **note})
        return folder

    return make


@pytest.fixture(scope="session")
def student(build) -> Callable[[str], Path]:
    """The run's folder of one kind, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = build(SPECS[kind])
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The folder of a tiny ranker with Potstill's note."""
    import torch

    from potstill.atomic import write_json
    from potstill.teaching.rankers import CrossEncoderModel

    folder = tmp_path_factory.mktemp("ranker") / "student"
    model = CrossEncoderModel.from_base(tiny_encoder, max_length=24, seed=3)
    with torch.no_grad():  # a random classifier gives all pairs nearly one score
        for parameter in (*model.model.classifier.parameters(), *model.model.bert.pooler.parameters()):
            parameter.mul_(20.0)
        kinds = model.model.get_submodule("bert.embeddings.token_type_embeddings").weight
        kinds[1] += 1.0
    model.save(folder)
    write_json(folder / "potstill.json", {"kind": "ranker", "reads": "pairs", "max_length": 24})
    return folder
