"""What kind of teacher a folder holds, by its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .loading import find_model


def kind_of(model: str) -> str:
    """`vectors`, `cross-encoder`, `dual-pooled`, `late-interaction` or `sparse`.

    Raises:
        InputError: no such folder, one whose files do not tell, or an id of the hub, whose files are not read for this.
    """
    from .dual_pooled import NOTE  # with torch, which files and BM25 do without
    from .late_interaction import KINDS

    place, local = find_model(model)
    if not local:
        raise InputError(
            "the kind of a model that is not in a folder here must be said",
            where=model,
            fix=f"write vectors:{model}, cross-encoder:{model}, late-interaction:{model} or sparse:{model}",
        )
    folder = Path(place)
    if (folder / NOTE).is_file():
        return "dual-pooled"
    saved = _read(folder / "config_sentence_transformers.json").get("model_type")
    if saved in KINDS:
        return "late-interaction"
    if saved == "SparseEncoder":
        return "sparse"
    architectures = _read(folder / "config.json").get("architectures") or [""]
    if saved == "CrossEncoder" or "ForSequenceClassification" in str(architectures[0]):
        return "cross-encoder"
    if (folder / "modules.json").is_file():
        return "vectors"
    raise InputError(
        "the folder does not say what kind of teacher it holds",
        where=model,
        fix=f"write it before the folder, for example cross-encoder:{model}",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
