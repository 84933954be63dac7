"""The page of several runs: two plots, a table of runs, a table of tests. One HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MissingExtra
from .numbers import NONE, latency, percent, percent_range, score, score_range, size
from .pareto import Compared, RunRow

RUN_HEADS = ("Run", "Quality", "95 % interval", "Kept of the teacher", "95 % interval", "Query", "Size", "Frontier")
PAIR_HEADS = ("Second − first", "Difference", "95 % interval", "Queries", "p", "p (Holm)")

_HERE = Path(__file__).parent


def run_table(found: Compared) -> list[tuple[str, ...]]:
    """The table of runs as text, in the order of `RUN_HEADS`."""
    return [
        (
            run.name,
            score(run.quality.value),
            score_range(run.quality.low, run.quality.high) or NONE,
            percent(run.retention.value),
            percent_range(run.retention.low, run.retention.high) or NONE,
            latency(run.ms),
            size(run.bytes),
            ", ".join(word for word, on in (("time", run.fast), ("size", run.small)) if on) or "no",
        )
        for run in found.runs
    ]


def pair_table(found: Compared) -> list[tuple[str, ...]]:
    """The table of tests as text, in the order of `PAIR_HEADS`."""
    return [
        (
            f"{pair.second} − {pair.first}",
            score(pair.difference.value),
            _from_to(pair.difference.low, pair.difference.high),
            f"{pair.queries:,}",
            f"{pair.p:.4f}",
            f"{pair.corrected:.4f}",
        )
        for pair in found.pairs
    ]


def _from_to(low: float | None, high: float | None) -> str:
    """An interval whose ends may be negative: a dash between two minus signs cannot be read."""
    return NONE if low is None or high is None else f"{score(low)} to {score(high)}"


def render_compared(found: Compared) -> str:
    """The page as HTML text.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("jinja2", "train") from None
    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    from markupsafe import Markup

    return environment.get_template("pareto.html.jinja").render(
        c=found,
        css=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        charts=[
            ("Median time of encoding a query", _plot(found, lambda r: r.ms, lambda r: r.fast, latency)),
            ("Size of the student", _plot(found, lambda r: r.bytes, lambda r: r.small, size)),
        ],
        run_heads=RUN_HEADS,
        run_rows=run_table(found),
        pair_heads=PAIR_HEADS,
        pair_rows=pair_table(found),
    )


def _plot(
    found: Compared,
    cost: Callable[[RunRow], float | None],
    front: Callable[[RunRow], bool],
    show: Callable[[float | None], str],
) -> Any:
    """Quality against a cost on a logarithmic axis, as inline SVG; None where nothing was measured."""
    from .charts import _label, _line, _svg, tick_labels, ticks

    runs = [(run, float(run.quality.value), float(c)) for run in found.runs if run.quality.value and (c := cost(run))]
    if not runs:
        return None
    width, height, left, right, top, bottom = 460, 300, 54, 20, 20, 40
    ends = [end for run, value, _ in runs for end in (run.quality.low, run.quality.high, value) if end is not None]
    low, high = min(ends) - 0.01, max(ends) + 0.01
    begin, end = math.log10(min(c for *_, c in runs)) - 0.3, math.log10(max(c for *_, c in runs)) + 0.3

    def x(value: float) -> float:
        return left + (math.log10(value) - begin) / (end - begin) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = []
    marks = [tick for tick in ticks(low, high) if low <= tick <= high]
    for tick, said in zip(marks, tick_labels(marks), strict=True):
        parts += [_line("grid", left, y(tick), width - right, y(tick)), _label(left - 8, y(tick) + 4, said, "end")]
    for place in {min(c for *_, c in runs), max(c for *_, c in runs)}:
        parts.append(_label(x(place), height - bottom + 20, show(place), "middle"))
    for run, value, place in runs:
        if run.quality.low is not None and run.quality.high is not None:
            parts.append(_line("bar", x(place), y(run.quality.low), x(place), y(run.quality.high)))
        kind = "dot front" if front(run) else "dot"
        parts.append(f'<circle class="{kind}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="6"/>')
        late = x(place) > (left + width) / 2
        parts.append(
            _label(x(place) + (-11 if late else 11), y(value) - 7, run.name, "end" if late else "start", "name")
        )
    said = "; ".join(f"{run.name}: {found.measure} {score(value)}, {show(place)}" for run, value, place in runs)
    return _svg(width, height, parts, said, "pareto")
