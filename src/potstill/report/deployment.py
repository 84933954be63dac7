"""The table of what a student was exported to: each target's size, speed and quality, as `deployment.json` has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .numbers import NONE, count, latency, percent, percent_range, score, size
from .runfiles import RunFiles, number

FILE = "deployment.json"
HEADS = (
    "Target",
    "Size",
    "Query, median",
    "Query, 99 %",
    "Queries/s",
    "Least cosine",
    "Quality",
    "Kept of the teacher",
)
_LISTS = ("deployments", "targets", "variants", "rows", "results")
_MEASURE = "nDCG@10"
_ENDS = ("low", "high")


@dataclass(frozen=True)
class DeploymentView:
    """Rows as text, in the order of `HEADS`; `note` says what could not be read, empty where all could."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def deployment_view(files: RunFiles) -> DeploymentView | None:
    """Read the run's `deployment.json`; None where there is none. A file that cannot be read is said to be so."""
    path = files.path / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return DeploymentView(HEADS, (), f"{FILE} cannot be read: {error}")
    listed = _listed(found)
    rows = [row for row in listed if isinstance(row, dict)]
    left = len(listed) - len(rows)
    if not rows:
        return DeploymentView(HEADS, (), f"{FILE} lists nothing that was exported")
    return DeploymentView(HEADS, tuple(_row(row) for row in rows), f"{left} entries cannot be read" if left else "")


def _listed(found: Any) -> list[Any]:
    """The list, or the first list under a name that stands for it."""
    if isinstance(found, list):
        return found
    if isinstance(found, dict):
        return next((found[name] for name in _LISTS if isinstance(found.get(name), list)), [])
    return []


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    kept = row.get("retention")
    interval = kept if isinstance(kept, dict) else {end: row.get(f"retention_{end}", row.get(end)) for end in _ENDS}
    value = number(kept.get("value") if isinstance(kept, dict) else kept)
    between = percent_range(number(interval.get("low")), number(interval.get("high")))
    name = " ".join(str(row[key]) for key in ("target", "precision") if row.get(key))
    cosine = number(row.get("cosine_min"))
    return (
        name or str(row.get("file") or NONE),
        size(number(row.get("bytes"))),
        latency(number(row.get("query_ms_p50"))),
        latency(number(row.get("query_ms_p99"))),
        count(number(row.get("queries_per_s"))),
        NONE if cosine is None else f"{cosine:.5f}",
        score(number(row.get(_MEASURE))),
        percent(value) + (f" ({between})" if between else ""),
    )
