"""A teacher as it is named where others read it: in a student's note, in a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..recipe import TeacherSpec
from ..teachers.http_wire import without_secrets


def absolute(spec: TeacherSpec) -> TeacherSpec:
    """The teacher with local folders and files spelled from the root, so that the student finds it from anywhere."""
    names = ("model", "query_model", "document_model", "index", "index_ids", "query_vectors", "query_vector_ids")
    found = {name: getattr(spec, name) for name in names if getattr(spec, name) is not None}
    local = {name: type(value)(Path(value).resolve()) for name, value in found.items() if Path(value).exists()}
    return spec.model_copy(update=local)


def without_key(spec: TeacherSpec) -> TeacherSpec:
    """The teacher without user name, password and query in its address, which is where keys are put."""
    return spec if spec.url is None else spec.model_copy(update={"url": without_secrets(spec.url)})
