"""What makes a run the run it is: a run is resumed only as itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..recipe import TrainingSpec
from ..students.tokens import Tokens
from .trainable import DataT, Trainable

FREE_TO_CHANGE = {"checkpoint_seconds", "keep_checkpoints", "threads"}


def identity(
    spec: TrainingSpec, data: DataT, task: Trainable[DataT], digest: str | Mapping[str, str]
) -> dict[str, Any]:
    """What decides the result, by name; JSON can hold it."""
    named = {"recipe and data": digest} if isinstance(digest, str) else dict(digest)
    settings = spec.model_dump(mode="json", exclude=FREE_TO_CHANGE)
    return {
        **named,
        **{f"training.{name}": value for name, value in settings.items()},
        f"number of {task.unit}": len(data),
        **task.identity(data),
    }


def tokens_digest(*parts: Tokens | None) -> str:
    """Digest of all that is read: another vocabulary gives the rows of a table other meanings."""
    said = hashlib.blake2b(digest_size=16)
    for tokens in parts:
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
