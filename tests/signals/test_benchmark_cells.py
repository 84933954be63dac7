"""Benchmark results: cells are kept, replaced by key, never lost; the store's benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from cells import Cells, cell  # noqa: E402


def test_cells_are_kept_and_found(tmp_path):
    path = tmp_path / "results" / "grid.json"
    Cells(path).add([cell("scifact", "static", 0, "nDCG@10", 0.5, low=0.4, high=0.6, p=0.1)])
    cells = Cells(path)
    cells.add([cell("scifact", "static", 1, "nDCG@10", 0.6)])
    assert cells.has(collection="scifact", arm="static", seed=0)
    assert not cells.has(collection="scifact", arm="static", seed=2)
    assert [row["value"] for row in Cells(path).find(arm="static")] == [0.5, 0.6]
    first = json.loads(path.read_text())[0]
    assert list(first) == ["collection", "arm", "seed", "measure", "value", "low", "high", "p"]


def test_a_cell_done_again_takes_the_old_ones_place(tmp_path):
    cells = Cells(tmp_path / "grid.json")
    cells.add([cell("c", "a", 0, "m", 1.0), cell("c", "b", 0, "m", 2.0)])
    cells.add([cell("c", "a", 0, "m", 3.0)])
    assert [(row["arm"], row["value"]) for row in Cells(cells.path).rows] == [("a", 3.0), ("b", 2.0)]


def test_two_grids_lose_nothing(tmp_path):
    one, two = Cells(tmp_path / "grid.json"), Cells(tmp_path / "grid.json")
    one.add([cell("c", "a", 0, "m", 1.0)])
    two.add([cell("c", "b", 0, "m", 2.0)])
    assert len(Cells(one.path).rows) == len(two.rows) == 2


def test_wrong_fields_and_values_leave_the_file_alone(tmp_path):
    cells = Cells(tmp_path / "grid.json")
    cells.add([cell("c", "a", 0, "m", 1.0)])
    with pytest.raises(ValueError, match="fields"):
        cells.add([{"collection": "c"}])
    with pytest.raises(ValueError, match="no system"):
        cells.has(system="a")
    with pytest.raises(ValueError, match="JSON"):
        cells.add([cell("c", "b", 0, "m", float("nan"))])
    assert len(Cells(cells.path).rows) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_the_store_benchmark_runs(tmp_path):
    out = tmp_path / "store_read.json"
    small = ["--rows", "300", "--dimensions", "16", "--batch", "8", "--rounds", "5", "--out", str(out)]
    subprocess.run([sys.executable, str(BENCHMARKS / "store_read.py"), *small], check=True, capture_output=True)
    assert Cells(out).has(collection="random 300x16", arm="store", measure="gather / bare")
