"""Numbers as people read them: percentages, sizes, times and p-values, each with the digits it deserves."""

from __future__ import annotations

import math

SPACE = "\u00a0"
MINUS = "\u2212"
DASH = "\u2013"
NONE = "\u2014"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of one as `99.1 %`."""
    return NONE if share is None else f"{_signed(100 * share, digits)}{SPACE}%"


def percent_range(low: float | None, high: float | None) -> str:
    """Two shares of one as `97.2–101.0 %`; empty when an end is missing."""
    if low is None or high is None:
        return ""
    return f"{_signed(100 * low, 1)}{DASH}{_signed(100 * high, 1)}{SPACE}%"


def score(value: float | None) -> str:
    """Write a measure with three decimals."""
    return NONE if value is None else _signed(value, 3)


def score_range(low: float | None, high: float | None) -> str:
    """Write the interval of a measure; empty when an end is missing."""
    return "" if low is None or high is None else f"{_signed(low, 3)}{DASH}{_signed(high, 3)}"


def change(value: float) -> str:
    """Write a difference with its sign and two decimals."""
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{abs(value):.2f}"


def excerpt(text: object, most: int = 160) -> str:
    """The beginning of a text, cut after a word, with dots where something is left out."""
    said = str(text)
    return said if len(said) <= most else f"{(said[:most].rpartition(' ')[0] or said[:most]).rstrip()} …"


def count(value: float | None) -> str:
    """Write a whole number with thousands marked."""
    return NONE if value is None else f"{value:,.0f}"


def size(number_of_bytes: float | None) -> str:
    """Bytes as `512 B`, `45.4 MB` (decimal units)."""
    if number_of_bytes is None:
        return NONE
    value = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f}{SPACE}{unit}" if value >= 100 or unit == "B" else f"{value:.1f}{SPACE}{unit}"


def large(value: float | None) -> str:
    """Write a large count as `22.7 M`; small ones in full."""
    if value is None:
        return NONE
    for unit, step in (("B", 1e9), ("M", 1e6)):
        if value >= step:
            return f"{value / step:#.3g}".rstrip(".") + f"{SPACE}{unit}"
    return count(value)


def latency(milliseconds: float | None) -> str:
    """Milliseconds as `15.2 ms`, or `47 µs` when under a tenth of one."""
    if milliseconds is None:
        return NONE
    if milliseconds < 0.1:
        return f"{milliseconds * 1000:.{0 if milliseconds >= 0.01 else 1}f}{SPACE}µs"
    digits = 2 if milliseconds < 1 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:,.{digits}f}{SPACE}ms"


def times(ratio: float) -> str:
    """How many times: two digits that count (`310`, `42`, `4.2`)."""
    if ratio >= 100:
        step = 10 ** (math.floor(math.log10(ratio)) - 1)
        return f"{round(ratio / step) * step:,}"
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def p_value(p: float | None) -> str:
    """`p = 0.31`, `p = 0.004`, `p < 0.001`."""
    if p is None:
        return ""
    if p < 0.001:
        return f"p{SPACE}<{SPACE}0.001"
    return f"p{SPACE}={SPACE}{p:.{3 if p < 0.1 else 2}f}"


def _signed(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return f"{MINUS}{text}" if value < 0 and float(text) else text
