"""Results of a benchmark as a JSON list of cells that survive a crash: a long grid can go on later.

A cell is `{collection, arm, seed, measure, value, low, high, p}`; the first four are its key. Typical use:

    cells = Cells("benchmarks/results/static.json")
    if not cells.has(collection="scifact", arm="static", seed=0):
        cells.add([cell("scifact", "static", 0, "nDCG@10", 0.64, low=0.63, high=0.66, p=0.2)])
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.atomic import write_json

KEY = ("collection", "arm", "seed", "measure")
FIELDS = (*KEY, "value", "low", "high", "p")


def cell(
    collection: str,
    arm: str,
    seed: int | None,
    measure: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    p: float | None = None,
) -> dict[str, Any]:
    """One result; `low` and `high` bound its interval, `p` is its test's."""
    return dict(zip(FIELDS, (collection, arm, seed, measure, value, low, high, p), strict=True))


def paired_cells(
    collection: str,
    pair: str,
    before: list[Mapping[str, float]],
    after: list[Mapping[str, float]],
    measure: str,
) -> list[dict[str, Any]]:
    """The difference of two arms with its interval and p, and how many seeds it is over; said too.

    Args:
        collection: key of the cells.
        pair: the arms' names, as key.
        before: value by query of the first arm, for each seed.
        after: of the second.
        measure: what the values are.
    """
    from potstill.evaluation import paired

    found = paired(after, before)
    gap = found.difference
    print(f"{collection}, {pair}: {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}), p {found.p:.4f}")
    return [
        cell(collection, pair, None, f"difference {measure}", gap.value, low=gap.low, high=gap.high, p=found.p),
        cell(collection, pair, None, "seeds", float(max(len(before), len(after)))),
    ]


class Cells:
    """The cells of one results file; several processes may add to it at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = self._read()

    def has(self, **key: Any) -> bool:
        """Whether there is a cell with these fields, e.g. `has(collection="scifact", arm="static", seed=0)`."""
        return any(True for _ in self.find(**key))

    def find(self, **key: Any) -> Iterator[dict[str, Any]]:
        """The cells with these fields, in file order."""
        unknown = key.keys() - set(FIELDS)
        if unknown:
            raise ValueError(f"a cell has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS)}")
        return (row for row in self.rows if all(row[name] == value for name, value in key.items()))

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put cells into the file, at once and whole; a cell with the key of an old one takes its place."""
        new = {}
        for row in rows:
            if set(row) != set(FIELDS):
                raise ValueError(f"a cell has the fields {', '.join(FIELDS)}, not {', '.join(row)}")
            new[tuple(row[name] for name in KEY)] = dict(row)
        with self._locked():
            held = {tuple(row[name] for name in KEY): row for row in self._read()}
            held.update(new)
            write_json(self.path, list(held.values()))
            self.rows = list(held.values())

    def _read(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder, so that two grids writing one file lose nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
