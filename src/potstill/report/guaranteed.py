"""What the length of the student's error proves, beside what was measured: the page's section on guarantees."""

from __future__ import annotations

from typing import Any

from .numbers import NONE, SPACE, count, percent, percent_range, score, score_range
from .runfiles import at, group, items, number
from .summary import Estimate

_Cell = tuple[str, str]


def guaranteed_view(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Sentences and a table of bounds against measurements; None where no guarantee was evaluated."""
    found = group(evaluation, "guarantee")
    error = Estimate.read(found.get("error"))
    if error.value is None:
        return None
    first, depth = count(number(found.get("k"))), count(number(found.get("depth")))
    groups = {
        "top": f"Order of two documents of the teacher’s top{SPACE}{first}",
        "rest": f"Order of one of its top{SPACE}{first} and one of the rest of its top{SPACE}{depth}",
    }
    rows = [(name, *_shares(group(found, key))) for key, name in groups.items() if group(found, key)]
    for loss in items(found, "losses"):
        temperature, bound = number(at(loss, "temperature")), Estimate.read(at(loss, "bound"))
        if temperature is not None and bound.value is not None:
            rows.append(
                (
                    f"Change of the loss at temperature {temperature:g}",
                    (f"at most {score(bound.value)}", score_range(bound.low, bound.high)),
                    _score(Estimate.read(at(loss, "gap"))),
                )
            )
    return {
        "said": _said(found, error, first),
        "rows": rows,
        "directions": _directions(group(found, "directions")),
        "depth": depth,
    }


def _said(found: dict[str, Any], error: Estimate, first: str) -> list[str]:
    interval = score_range(error.low, error.high)
    length = (
        f"The student’s query vectors lie {score(error.value)} from the teacher’s on average"
        f"{f' (95{SPACE}% interval {interval})' if interval else ''}"
    )
    certified, kept, radius = (Estimate.read(at(found, "top", key)) for key in ("certified", "kept", "radius"))
    if certified.value is not None and kept.value is not None:
        length += (
            f": whatever the direction of these errors, their length proves the order of {percent(certified.value)} "
            f"of the pairs in the teacher’s top{SPACE}{first}, while {percent(kept.value)} do keep it"
        )
    said = [length + "."]
    if radius.value is not None:
        said.append(f"Half of the pairs would be proved at an error below {score(radius.value)}.")
    broken = sum(number(at(found, key, "violations")) or 0.0 for key in ("top", "rest"))
    if broken > 0:
        said.append(
            f"{count(broken)} pairs contradict the proof, which cannot be: something is wrong with the vectors."
        )
    return said


def _directions(found: dict[str, Any]) -> str:
    """Say where the error points; empty where that is not known."""
    share, weighted = Estimate.read(found.get("share")), Estimate.read(found.get("weighted"))
    leading, width = number(found.get("leading")), number(found.get("dimensions"))
    if share.value is None or weighted.value is None or leading is None or not width or width < 0:
        return ""
    return (
        "An error moves scores apart only along the directions in which documents differ: "
        f"{percent(share.value)} of the squared error lies in the {count(leading)} of {count(width)} directions that "
        f"hold {percent(number(found.get('variance')), 0)} of the documents’ variance ({percent(leading / width)} for "
        f"an error without a preferred direction), and it moves score differences {weighted.value:.2f} times as far as "
        "such an error would."
    )


def _shares(order: dict[str, Any]) -> tuple[_Cell, _Cell]:
    certified, kept = (Estimate.read(order.get(key)) for key in ("certified", "kept"))
    cells = [(percent(found.value), percent_range(found.low, found.high)) for found in (certified, kept)]
    return cells[0], cells[1]


def _score(found: Estimate) -> _Cell:
    return (NONE, "") if found.value is None else (score(found.value), score_range(found.low, found.high))
