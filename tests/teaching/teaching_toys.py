"""A collection and a base that a teacher learns from within seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from potstill.pipeline.teach import teach
from potstill.recipe import TeachSpec, load_spec

KINDS = ("cross-encoder", "dual-pooled")
APART = ("dual-encoder", "late-interaction")
QUICK = (
    "max_length=48",
    "rerank=20",
    "negatives=5",
    "training.epochs=2",
    "training.learning_rate=0.002",
    "training.max_texts_per_batch=8",
)


def spec_of(kind: str, collection: Path, base: Path, *settings: str) -> TeachSpec:
    flags = {"kind": kind, "collection": str(collection), "base": str(base)}
    return load_spec(TeachSpec, None, flags=flags, settings=[*QUICK, *settings])


def taught(
    out: Path, kind: str, collection: Path, base: Path, signals: Path, *settings: str, resume: bool = False
) -> dict[str, Any]:
    return teach(spec_of(kind, collection, base, *settings), out, resume=resume, signals=signals)


def bytes_of(out: Path) -> dict[str, bytes]:
    """Every file of the model, and all weights that training ended with."""
    model = out / "model"
    return {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "model" / "model.safetensors")


def lines_of(out: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl` without its times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
