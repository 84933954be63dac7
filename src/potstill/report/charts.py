"""Small charts as inline SVG, drawn by hand so that the page's own colours (light and dark) apply to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from .numbers import latency, score


@dataclass(frozen=True)
class System:
    """One system in the quality-against-latency plot; latency in milliseconds."""

    name: str
    kind: str
    latency: float
    slowest: float | None
    value: float
    low: float | None
    high: float | None


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that cover `low` to `high`, about `wanted` of them."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Write ticks with as many decimals as tell them apart, the same for all."""
    step = min((b - a for a, b in pairwise(values)), default=0.0) or 1.0
    texts: list[str] = []
    for digits in range(12):
        texts = [f"{value + 0.0:.{digits}f}" for value in values]
        if all(abs(float(text) - value) < 0.01 * step for text, value in zip(texts, values, strict=True)):
            break
    return texts


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive numbers; with 2 and 5 when there are fewer than three of them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = [10.0**e for e in exponents if low <= 10.0**e <= high]
    if len(decades) >= 3:
        return decades
    return [m * 10.0**e for e in exponents for m in (1, 2, 5) if low <= m * 10.0**e <= high]


def tradeoff(systems: Sequence[System], measure: str, unit: str = "query") -> Markup:
    """Quality against the time of one query (log scale), with each system's interval and its slowest per cent."""
    width, height, left, right, top, bottom = 460, 330, 54, 14, 12, 50
    fastest = min(s.latency for s in systems)
    slowest = max(s.slowest or s.latency for s in systems)
    x_low, x_high = fastest / 2.5, slowest * 2.5
    bounds = [end for s in systems for end in (s.low, s.value, s.high) if end is not None]
    apart = len(systems) == 2 and slowest / fastest > 60
    pad = max((0.18 if apart else 0.4) * (max(bounds) - min(bounds)), 0.01)
    y_low, y_high = min(bounds) - pad, max(bounds) + pad

    def x(value: float) -> float:
        return left + (math.log(value / x_low) / math.log(x_high / x_low)) * (width - left - right)

    def y(value: float) -> float:
        return top + (y_high - value) / (y_high - y_low) * (height - top - bottom)

    parts: list[str] = []
    for tick, text in zip(marks := ticks(y_low, y_high), tick_labels(marks), strict=True):
        parts.append(_line("grid", left, y(tick), width - right, y(tick)))
        parts.append(_label(left - 8, y(tick) + 4.5, text, "end"))
    for tick in log_ticks(x_low, x_high):
        parts.append(_line("grid", x(tick), top, x(tick), height - bottom))
        parts.append(_label(x(tick), height - bottom + 19, _short_latency(tick), "middle"))
    parts.append(
        _label(
            (left + width - right) / 2,
            height - 8,
            f"time of one {unit}, median (log scale)" if unit == "query" else f"time of one {unit} (log scale)",
            "middle",
        )
    )
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(12 {(top + height - bottom) / 2:.1f}) '
        f'rotate(-90)">{escape(measure)}</text>'
    )
    for n, s in enumerate(sorted(systems, key=lambda system: system.latency)):
        cx, cy = x(s.latency), y(s.value)
        parts.append(f'<g class="{escape(s.kind)}">')
        if s.slowest is not None and s.slowest > s.latency:
            parts.append(_line("tail", cx, cy, x(s.slowest), cy))
        if s.low is not None and s.high is not None:
            parts.append(_line("bar", cx, y(s.low), cx, y(s.high)))
            parts += [_line("bar", cx - 6, y(end), cx + 6, y(end)) for end in (s.low, s.high)]
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="6.5"/>')
        if apart:
            tx, ty, anchor = (cx - 14 if cx > width / 2 else cx + 14), cy - 11, ("end" if cx > width / 2 else "start")
        else:  # under or over all intervals in turn, so that no label meets a bar or its neighbour
            half = 4.2 * max(len(s.name), 15)
            tx, anchor = min(max(cx, left + half), width - right - half), "middle"
            ty = y(min(bounds)) + 24 if n % 2 == 0 else y(max(bounds)) - 27
        parts.append(_label(tx, ty, s.name, anchor, "name"))
        parts.append(
            _label(tx, ty + (32 if apart else 17), f"{score(s.value)} · {latency(s.latency)}", anchor, "figure")
        )
        parts.append("</g>")
    said = "; ".join(f"{s.name}: {measure} {score(s.value)}, {latency(s.latency)} a {unit}" for s in systems)
    return _svg(width, height, parts, f"{measure} against the time of one {unit}. {said}.", "tradeoff")


def curve(
    title: str, points: Sequence[tuple[float, float]], *, kind: str, mark: tuple[float, float] | None = None
) -> Markup:
    """One series against the training step; `mark` is a point to single out."""
    width, height, left, right, top, bottom = 320, 176, 46, 14, 10, 26
    points = thin(points)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_low, x_high = min(0.0, xs[0]), max(xs[-1], xs[0] + 1)
    spread = max(ys) - min(ys) or abs(ys[0]) * 0.1 or 0.1
    y_low, y_high = min(ys) - 0.08 * spread, max(ys) + 0.08 * spread

    def x(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (width - left - right)

    def y(value: float) -> float:
        return top + (y_high - value) / (y_high - y_low) * (height - top - bottom)

    parts: list[str] = []
    for tick, text in zip(marks := ticks(y_low, y_high, 4), tick_labels(marks), strict=True):
        parts.append(_line("grid", left, y(tick), width - right, y(tick)))
        parts.append(_label(left - 7, y(tick) + 4, text, "end"))
    for tick in ticks(x_low, x_high, 3):
        parts.append(_label(min(x(tick), width - right - 8), height - 7, _short_count(tick), "middle"))
    path = " ".join(f"{'L' if i else 'M'}{x(px):.1f} {y(py):.1f}" for i, (px, py) in enumerate(points))
    parts.append(f'<path class="curve {escape(kind)}" d="{path}"/>')
    if len(points) <= 24:
        parts += [f'<circle class="{escape(kind)}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="2.5"/>' for px, py in points]
    if mark:
        parts.append(f'<circle class="mark" cx="{x(mark[0]):.1f}" cy="{y(mark[1]):.1f}" r="5.5"/>')
    said = f"{title}: from {ys[0]:.4g} at step {xs[0]:,.0f} to {ys[-1]:.4g} at step {xs[-1]:,.0f}."
    return _svg(width, height, parts, said, "curve")


def interval(value: float, low: float | None, high: float | None, span: tuple[float, float]) -> Markup:
    """Draw a retention with its interval on a line over `span`, 100 % marked; its figures stand beside it."""
    width, height = 150, 22

    def x(share: float) -> float:
        return 7 + (share - span[0]) / (span[1] - span[0]) * (width - 14)

    parts = [_line("axis", 7, 11, width - 7, 11), _line("whole", x(1), 1, x(1), 21)]
    if low is not None and high is not None:
        parts.append(_line("bar", x(low), 11, x(high), 11))
    parts.append(f'<circle cx="{x(value):.1f}" cy="11" r="5"/>')
    return _svg(width, height, parts, "", "interval")


def differences(values: Sequence[float]) -> Markup:
    """Per-query differences (student minus teacher), sorted: losses on the left, wins on the right."""
    width, height, middle = 540, 110, 55
    ordered = sorted(values)
    most = max(abs(ordered[0]), abs(ordered[-1]), 1e-9)
    step = width / len(ordered)
    parts = []
    for kind, sign in (("down", -1), ("up", 1)):
        places = [i for i, value in enumerate(ordered) if value * sign > 0]
        if not places:
            continue
        outline = [f"M{places[0] * step:.2f} {middle}"]
        for i in places:
            level = middle - ordered[i] / most * (middle - 3)
            outline.append(f"L{i * step:.2f} {level:.2f} L{(i + 1) * step:.2f} {level:.2f}")
        outline.append(f"L{(places[-1] + 1) * step:.2f} {middle} Z")
        parts.append(f'<path class="{kind}" d="{" ".join(outline)}"/>')
    parts.append(_line("axis", 0, middle, width, middle))
    worse, better = sum(v < 0 for v in values), sum(v > 0 for v in values)
    said = f"Differences of {len(values)} queries, sorted: {worse} worse, {better} better, largest {most:.2f}."
    return _svg(width, height, parts, said, "differences", stretch=True)


def thin(points: Sequence[tuple[float, float]], limit: int = 240) -> list[tuple[float, float]]:
    """At most `limit` points: neighbours are averaged, so that a long run stays a small page."""
    if len(points) <= limit:
        return list(points)
    chunk = math.ceil(len(points) / limit)
    groups = [points[i : i + chunk] for i in range(0, len(points), chunk)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _short_latency(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:g} s"
    return f"{milliseconds:g} ms" if milliseconds >= 0.1 else f"{milliseconds * 1000:g} µs"


def _short_count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(x: float, y: float, text: str, anchor: str, kind: str = "axis") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], said: str, kind: str, *, stretch: bool = False) -> Markup:
    spoken = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    shape = ' preserveAspectRatio="none"' if stretch else ""
    return Markup(f'<svg class="{kind}" viewBox="0 0 {width} {height}"{shape} {spoken}>{"".join(parts)}</svg>')
