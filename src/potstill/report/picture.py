"""One picture of the results for a README or a slide: quality against the time of one query, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import InputError, MissingExtra
from .numbers import latency, percent, score, times
from .runfiles import at, group, number, read_run
from .summary import summarise

_COLOURS = {"teacher": "#34577f", "student": "#a8481a"}
_OTHER, _INK, _SOFT, _RULE = "#6b665f", "#1d1b19", "#5f5a54", "#e3ded7"


def results_picture(run: Path, out: Path) -> Path:
    """Draw a run's systems by main measure and median latency of one query (ms, log scale); returns `out`.

    Args:
        run: a run folder with `evaluation.json`.
        out: the file to write; its ending (.svg or .png) chooses the format.

    Raises:
        InputError: the ending is neither, or the run has no judged quality or no measured cost.
        MissingExtra: matplotlib is not installed.

    """
    run, out = Path(run), Path(out)
    kind = out.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise InputError("a picture is .svg or .png", where=str(out), fix="choose one of the two endings")
    summary = summarise(read_run(run))
    main, evaluation = summary.main, summary.files.evaluation
    if main is None:
        raise InputError("nothing was judged in this run", where=str(run), fix="evaluate on judged queries first")
    points = []
    for name in group(evaluation, "systems"):
        value = number(at(evaluation, "systems", name, main.name))
        median = number(at(evaluation, "cost", name, "query_ms_p50"))
        if value is not None and median:
            interval = group(evaluation, "intervals", name, main.name)
            points.append((name, median, value, number(interval.get("low")), number(interval.get("high"))))
    if len(points) < 2:
        raise InputError("costs were not measured in this run", where=str(run), fix="evaluate with `cost: true`")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "train") from None

    font = {"font.family": "sans-serif", "font.size": 11, "svg.hashsalt": "potstill", "text.parse_math": False}
    with rc_context(font), replacing(out) as temporary:
        figure = Figure(figsize=(7.2, 4.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        times_ms = [p[1] for p in points]
        ends = [end for p in points for end in p[2:] if end is not None]
        apart = len(points) == 2 and max(times_ms) / min(times_ms) > 60
        for n, (name, median, value, low, high) in enumerate(sorted(points, key=lambda point: point[1])):
            colour = _COLOURS.get(name, _OTHER)
            error = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(median, value, yerr=error, fmt="o", markersize=10, capsize=5, color=colour, elinewidth=2)
            label = {"teacher": summary.teacher, "student": "student"}.get(name, name)
            place = _beside(median, times_ms) if apart else _beyond(ends, n)
            axes.annotate(
                f"{label}\n{score(value)} · {latency(median)}",
                (median, place.pop("y", value)),
                textcoords="offset points",
                color=colour,
                fontweight="bold",
                **place,
            )
        axes.set_xscale("log")
        axes.set_xlim(min(times_ms) / 2.5, max(times_ms) * 2.5)
        axes.margins(y=0.2 if apart else 0.45)
        axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("time of one query, median (one thread, log scale)", color=_SOFT)
        axes.set_ylabel(main.name, color=_SOFT)
        axes.set_title(
            _title(summary.collection, main.kept.value, summary.speed_up), loc="left", fontsize=12, color=_INK
        )
        axes.grid(color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_SOFT)
        figure.savefig(temporary, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return out


def _beside(median: float, times_ms: list[float]) -> dict[str, Any]:
    """Place a label beside its point, towards the middle."""
    if median == max(times_ms):
        return {"xytext": (-12, 0), "ha": "right", "va": "center"}
    return {"xytext": (12, 0), "ha": "left", "va": "center"}


def _beyond(ends: list[float], n: int) -> dict[str, Any]:
    """Place a label under or over all intervals in turn, so that it meets neither a bar nor its neighbour."""
    if n % 2 == 0:
        return {"y": min(ends), "xytext": (0, -9), "ha": "center", "va": "top"}
    return {"y": max(ends), "xytext": (0, 9), "ha": "center", "va": "bottom"}


def _title(collection: str, kept: float | None, speed_up: float | None) -> str:
    parts = [f"{percent(kept)} of the quality"] if kept is not None else []
    if speed_up is not None and speed_up >= 1:
        parts.append(f"{times(speed_up)} times the query speed")
    return f"{collection}: {', '.join(parts)}" if parts else collection


def _tick(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds >= 0.1 else f"{milliseconds * 1000:g} µs"
