"""The table of exported models in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.report.deployment import deployment_view
from potstill.report.runfiles import read_run

ROW = {
    "target": "onnx",
    "precision": "int8",
    "file": "model.onnx",
    "bytes": 11_800_000,
    "query_ms_p50": 0.05,
    "query_ms_p99": 0.2,
    "queries_per_s": 21_000,
    "cosine_min": 0.99912,
    "nDCG@10": 0.6612,
    "retention": 1.025,
    "low": 0.998,
    "high": 1.05,
}
SHOWN = ("onnx int8", "11.8 MB", "50 µs", "0.20 ms", "21,000", "0.99912", "0.661", "102.5 % (99.8–105.0 %)")


def view(run: Path, content: Any) -> Any:
    (run / "recipe.yaml").write_text("")
    text = content if isinstance(content, str) else json.dumps(content)
    (run / "deployment.json").write_text(text, encoding="utf-8")
    return deployment_view(read_run(run))


def plain(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(cell.replace("\u00a0", " ") for cell in row)


@pytest.mark.parametrize("wrapped", [[ROW], {"targets": [ROW]}, {"version": 1, "rows": [ROW]}])
def test_rows_are_shown_from_a_list_or_below_a_name(tmp_path: Path, wrapped: Any):
    found = view(tmp_path, wrapped)
    assert [plain(row) for row in found.rows] == [SHOWN]
    assert found.note == ""


def test_the_interval_of_what_export_writes_is_shown(tmp_path: Path):
    row = {key: value for key, value in ROW.items() if key not in ("low", "high")}
    found = view(tmp_path, [row | {"retention_low": 0.998, "retention_high": 1.05}])
    assert [plain(row) for row in found.rows] == [SHOWN]


def test_retention_may_be_an_interval_and_figures_may_be_absent(tmp_path: Path):
    row = {"target": "numpy", "retention": {"value": 0.9, "low": 0.8, "high": 1.0}}
    found = view(tmp_path, [row, "odd"])
    assert plain(found.rows[0]) == ("numpy", "—", "—", "—", "—", "—", "—", "90.0 % (80.0–100.0 %)")
    assert found.note == "1 entries cannot be read"


@pytest.mark.parametrize(("content", "said"), [("{", "cannot be read"), ({}, "lists nothing"), ([], "lists nothing")])
def test_a_file_that_gives_nothing_is_told(tmp_path: Path, content: Any, said: str):
    found = view(tmp_path, content)
    assert found.rows == ()
    assert said in found.note


def test_the_report_has_the_section_only_where_there_is_a_file(tmp_path: Path):
    pytest.importorskip("jinja2", reason="the page is made with Jinja")
    from potstill.report import render_report

    (tmp_path / "recipe.yaml").write_text("")
    assert 'id="deployment"' not in render_report(tmp_path)
    view(tmp_path, [ROW | {"target": "<i>onnx"}])
    page = render_report(tmp_path)
    assert 'id="deployment"' in page
    assert "&lt;i&gt;onnx int8" in page
    assert "<i>onnx" not in page
