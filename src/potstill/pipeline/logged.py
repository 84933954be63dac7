"""What the last line of a training's metrics says of its relations and votes, for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def last_logged(run: Path) -> dict[str, list[str]]:
    """Sentences by topic; nothing of a topic that was not logged."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    said = {}
    for topic, sentence in (("relations", _relation), ("votes", _vote)):
        last: dict[str, Any] = next((row[topic] for row in reversed(rows) if row.get(topic)), {})
        if last:
            said[topic] = [f"{name}, at the end: {sentence(of)}" for name, of in last.items()]
    return said


def _relation(of: dict[str, Any]) -> str:
    return (
        f"KL gap {of['kl_gap']:.4f} nats over a teacher entropy of {of['teacher_entropy']:.3f}; "
        f"{of['effective_neighbours']:.1f} effective neighbours, the first one kept for {of['top1_agreement']:.0%}"
    )


def _vote(of: dict[str, Any]) -> str:
    dropped = ", ".join(f"{name} is dropped in {share:.0%}" for name, share in of["dropped"].items())
    return f"{of['contested']:.0%} contested, entropy of the weights {of['entropy']:.2f} nats; {dropped}"
