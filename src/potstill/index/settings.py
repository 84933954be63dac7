"""What can be set when an index is built, and what it is otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from .index import KINDS

DEFAULTS: dict[str, dict[str, int | str | None]] = {
    "exact": {},
    "faiss-flat": {},
    "faiss-hnsw": {"m": 32, "ef_construction": 200, "ef_search": 64, "threads": 1},
    "faiss-ivfpq": {"nlist": None, "m_pq": None, "bits": 8, "nprobe": 8, "seed": 0},
    "lancedb": {"index": "none", "nlist": None, "m_pq": None, "bits": 8, "nprobe": 20},
}
_LANCE = ("none", "ivf-flat", "ivf-pq")
_PER_LIST = 39  # vectors that faiss wants a list, to place its centre by
_PER_LIST_OF_LANCE = 256  # with fewer, LanceDB makes fewer lists
_PER_PART = 8  # numbers that one byte of a product quantiser stands for, at the least


def settled(
    kind: str, given: Sequence[str] | Mapping[str, Any], count: int, dimensions: int
) -> dict[str, int | str | None]:
    """Every setting of a kind of index: as given, or what suits so many vectors of that width.

    Args:
        kind: one of `KINDS`.
        given: `name=value` lines or a mapping. An empty value means the default.
        count: vectors to come.
        dimensions: their width.

    Raises:
        InputError: an unknown kind or name, a value that is no whole number from 1 (a seed: from 0), or settings that
            these vectors do not allow.
    """
    if kind not in KINDS:
        raise InputError(f"there is no kind of index {kind!r}", where="--kind", fix=f"choose one of {', '.join(KINDS)}")
    values = dict(DEFAULTS[kind])
    for name, value in _pairs(given):
        if name not in values:
            there = f"it has {', '.join(values)}" if values else "it has none"
            raise InputError(f"{kind} has no setting {name!r}", where="--set", fix=there)
        if value not in ("", None):
            values[name] = _value(name, value)
    if values.get("index") == "none":
        if values != DEFAULTS[kind]:
            raise InputError(
                "a table without an index has no lists", where="--set", fix="add index=ivf-flat or index=ivf-pq"
            )
        return {"index": "none"}
    if "nlist" in values:
        enough = _PER_LIST_OF_LANCE if kind == "lancedb" else _PER_LIST
        values["nlist"] = values["nlist"] or max(1, min(round(4 * count**0.5), count // enough))
        values["m_pq"] = values["m_pq"] or _parts(dimensions)
        _check(values, count, dimensions)
    return values


def _pairs(given: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return list(given.items())
    for line in given:
        if "=" not in line:
            raise InputError(f"{line!r} is no setting", where="--set", fix="write NAME=VALUE, e.g. m=32")
    return [(line.partition("=")[0].strip(), line.partition("=")[2].strip()) for line in given]


def _value(name: str, value: Any) -> int | str:
    if name == "index":
        if value not in _LANCE:
            raise InputError(f"index={value} is unknown", where="--set", fix=f"choose one of {', '.join(_LANCE)}")
        return str(value)
    least = 0 if name == "seed" else 1
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise InputError(f"{name}={value} is no whole number from {least}", where="--set", fix=f"e.g. {name}=32")
    return number


def _parts(dimensions: int) -> int:
    fitting = [m for m in range(1, dimensions + 1) if dimensions % m == 0 and dimensions // m >= _PER_PART]
    return max(fitting, default=1)


def _check(values: Mapping[str, Any], count: int, dimensions: int) -> None:
    if values["nlist"] > count:
        raise InputError(f"nlist={values['nlist']} lists for {count} vectors", where="--set", fix="ask for fewer lists")
    if values.get("index", "ivf-pq") != "ivf-pq":
        return
    if dimensions % values["m_pq"]:
        raise InputError(
            f"m_pq={values['m_pq']} does not divide the vectors' {dimensions} numbers",
            where="--set",
            fix=f"e.g. m_pq={_parts(dimensions)}",
        )
    if values["bits"] > 8:
        raise InputError(f"bits={values['bits']}", where="--set", fix="a code has at most 8 bits")
    if count < 2 ** values["bits"]:
        raise InputError(
            f"a product quantiser of {values['bits']} bits is trained on {2 ** values['bits']} vectors or more, "
            f"and there are {count}",
            where="--set bits",
            fix="ask for fewer bits (bits=4), or for faiss-hnsw: so few vectors need no quantiser",
        )
