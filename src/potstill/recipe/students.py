"""What is trained."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from .base import Prompts, Strict


class StudentSpec(Strict):
    """A student.

    Short forms: `static`, `static:128` (rank), `layers:0,5`, `layers:1/2`, `tiny:2x128`, or any model id or folder.

    `reads: pairs` makes a ranker of it, a cross-encoder that reads a query and a document together and gives a logit;
    short: `cross-encoder:tiny:2x128`, `cross-encoder:layers:0,5`, `cross-encoder:ID`. It learns scores alone.

    `share` keeps that part of the teacher's layers, evenly spread, the top one included: half of 24 are 12, half of 12
    are 6. `document_model` is the start of a document tower of its own (towers: separate), where that is another model.
    """

    kind: Literal["static", "layers", "tiny", "model"] = "static"
    reads: Literal["texts", "pairs"] = "texts"
    layers: tuple[int, ...] | None = None
    share: float | None = Field(default=None, gt=0, le=1)
    depth: int = Field(default=2, ge=1)
    width: int | None = Field(default=None, ge=8)
    embedding_rank: int | None = Field(default=None, ge=4)
    rank: int | None = Field(default=None, ge=4)
    vocabulary: Literal["teacher", "trimmed", "corpus"] | None = None
    vocabulary_size: int | None = Field(default=None, ge=32)
    phrases: int = Field(default=0, ge=0)
    parameters: int | None = Field(default=None, ge=1_000)
    model: str | None = None
    document_model: str | None = None
    pooling: Literal["mean", "cls"] | None = None
    max_length: int | None = Field(default=None, ge=4)
    prompts: Prompts = Prompts()

    @model_validator(mode="after")
    def _whole(self) -> StudentSpec:
        if self.reads == "pairs" and self.kind == "static":
            raise ValueError("a static student encodes words one by one, and cannot read pairs: use tiny or layers")
        if self.kind == "model" and not self.model:
            raise ValueError("a student of kind `model` needs `model`: an id or a folder")
        if self.share is not None and self.layers is not None:
            raise ValueError("`layers` and `share` both say which of the teacher's layers are kept: give one")
        return self


def short_student(value: Any) -> Any:
    """`static:128` and the like, or a model's id or folder."""
    if not isinstance(value, str):
        return value
    name, _, rest = value.partition(":")
    if value == "cross-encoder":
        raise ValueError("a cross-encoder of what? cross-encoder:tiny:2x128, cross-encoder:layers:0,5 or an id")
    if name == "cross-encoder" and rest:
        found = short_student(rest)
        return {**found, "reads": "pairs"} if isinstance(found, dict) else found
    try:
        if name == "static":
            return {"kind": "static", "rank": int(rest)} if rest else {"kind": "static"}
        if name == "layers" and "/" in rest:
            part, _, whole = rest.partition("/")
            return {"kind": "layers", "share": int(part) / int(whole)}
        if name == "layers":
            return {"kind": "layers", "layers": [int(n) for n in rest.split(",")] if rest else None}
        if name == "tiny":
            depth, _, width = rest.partition("x")
            return {"kind": "tiny", "depth": int(depth), "width": int(width)} if rest else {"kind": "tiny"}
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"cannot read student {value!r}: write static, static:128, layers:0,5, layers:1/2, tiny:2x128 or a model id"
        ) from None
    meant = difflib.get_close_matches(name, ("static", "layers", "tiny"), n=1, cutoff=0.75)
    if meant and "/" not in value and not Path(value).exists():
        raise ValueError(f"there is no student {value!r}; did you mean `{meant[0]}`? (a model's folder: ./{value})")
    return {"kind": "model", "model": value}
