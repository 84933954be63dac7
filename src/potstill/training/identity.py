"""What makes a run the run it is: a run is resumed only as itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..recipe import TrainingSpec
from .data import TrainingSet
from .task import Task

FREE_TO_CHANGE = {"checkpoint_seconds", "keep_checkpoints", "threads"}


def identity(spec: TrainingSpec, data: TrainingSet, task: Task, digest: str | Mapping[str, str]) -> dict[str, Any]:
    """What decides the result, by name; JSON can hold it."""
    named = {"recipe and data": digest} if isinstance(digest, str) else dict(digest)
    settings = spec.model_dump(mode="json", exclude=FREE_TO_CHANGE)
    return {
        **named,
        **{f"training.{name}": value for name, value in settings.items()},
        "number of texts": len(data),
        "tokens": _tokens(data),
        "towers": task.mode,
        "objectives": [repr(term) for term in task.terms],
    }


def _tokens(data: TrainingSet) -> str:
    """Digest of all that the student reads: another vocabulary gives the rows of a table other meanings."""
    said = hashlib.blake2b(digest_size=16)
    for tokens in (data.query_tokens, data.document_tokens):
        if tokens is not None:
            said.update(tokens.offsets.data)
            said.update(tokens.ids.data)
    return said.hexdigest()


def require_same_run(before: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Raise InputError, naming what changed, unless both say the same."""
    changed = [name for name in (*before, *(n for n in now if n not in before)) if before.get(name) != now.get(name)]
    if changed:
        said = "; ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in changed)
        raise InputError(
            f"this run cannot be resumed, for it was a different one: {said}",
            where=str(run),
            fix="put back what changed, or start a new run in another folder",
        )
