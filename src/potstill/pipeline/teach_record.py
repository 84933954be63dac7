"""What teachings of every kind share: how they begin, what their folder holds, and what `teach.json` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from ..collection import Collection, open_collection
from ..progress import say
from ..recipe import TeachGeneratorSpec, TeachSpec
from ..teachers.loading import weights_identity
from ..teachers.sentence_encoder import stored_numbers
from ..teaching.judged import Judged, judged_pairs

SPEC, RECORD, MODEL = "teach.yaml", "teach.json", "model"
NONE_BETTER = "no epoch beat the untrained model: lower training.learning_rate, or give more pairs"

AnySpec = TeachSpec | TeachGeneratorSpec


def opened(spec: AnySpec) -> tuple[Collection, Judged]:
    """Open the collection and choose the judgments to learn from; says what is odd and what is left out.

    Raises:
        InputError: a collection that cannot be read, or judgments that cannot be learned from.
    """
    collection = open_collection(spec.collection)
    judged = judged_pairs(collection, spec)
    for line in collection.notes.lines():
        say(f"collection: {line}")
    for reason, count in judged.excluded.items():
        say(f"judgments: left out: {count:,} {reason}")
    return collection, judged


def about(spec: AnySpec, collection: Collection, judged: Judged, module: nn.Module) -> dict[str, Any]:
    """What the record says of every kind, before training; the sizes are those of `module`."""
    count, size = stored_numbers([module])
    return {
        "kind": spec.kind,
        "base": {"model": spec.base, "weights": weights(spec)},
        "collection": collection.about(),
        "split": spec.split,
        "queries": {"train": len(judged.train), "held_out": len(judged.held_out), "excluded": judged.excluded},
        "model": {"folder": MODEL, "parameters": count, "bytes": size},
    }


def identity(spec: AnySpec, collection: Collection, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """What decides a training beside its own settings: the others but those named, the documents and the weights."""
    settings = spec.model_dump_json(exclude={"training", "collection", "base", "revision", *without})
    return {"settings": settings, "collection": collection.fingerprint(), "base": weights(spec)}


def weights(spec: AnySpec) -> str:
    """Which weights the base has."""
    return weights_identity(spec.base, spec.revision)[1] or spec.base


def validations(path: Path, best: int | None) -> dict[str, dict[str, float]]:
    """The measures `before` the first update and `after`, at the best step, as `metrics.jsonl` has them."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line["validation"] for line in lines if "validation" in line}
    return {
        name: {key: value for key, value in by_step[step].items() if key != "score"}
        for name, step in (("before", 0), ("after", best or 0))
    }
