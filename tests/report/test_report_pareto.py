"""Several runs on one page: frontier, tests of all pairs, refusals, and the command."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from potstill.errors import InputError
from potstill.evaluation import holm, retention
from potstill.report.pareto import compare_runs, frontier


def make_run(folder: Path, values: list[float], *, ms: float | None = 1.0, size: int = 10, **changed: object) -> Path:
    folder.mkdir(parents=True)
    mean = sum(values) / len(values)
    evaluation = {
        "collection": "c",
        "split": "test",
        "systems": {"student": {"nDCG@10": mean}},
        "intervals": {"student": {"nDCG@10": {"low": mean - 0.1, "high": mean + 0.1}}},
        "retention": {"nDCG@10": {"value": mean / 0.8, "low": 0.5, "high": 1.1, "p": 0.5}},
        "cost": {"student": {"query_ms_p50": ms, "bytes": size}},
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation | changed))
    rows = [{"query_id": str(i), "measures": {"student": {"nDCG@10": v}}} for i, v in enumerate(values)]
    (folder / "per_query.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    draw = random.Random(1)
    base = [draw.random() for _ in range(40)]
    better = [min(1.0, v + 0.1 * draw.random()) for v in base]
    return [
        make_run(tmp_path / "small", base, ms=0.1, size=10),
        make_run(tmp_path / "large", better, ms=10.0, size=1000),
        make_run(tmp_path / "poor", [v * 0.5 for v in base], ms=1.0, size=100),
    ]


def test_holm_has_its_golden_values():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_pairs_are_tested_as_the_evaluation_tests_and_corrected_together(three: list[Path]):
    found = compare_runs(three)
    assert [(p.first, p.second) for p in found.pairs] == [("small", "large"), ("small", "poor"), ("large", "poor")]
    assert [p.corrected for p in found.pairs] == pytest.approx(holm([p.p for p in found.pairs]))
    values = {}
    for run in three[:2]:
        rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text().splitlines()]
        values[run.name] = {row["query_id"]: row["measures"]["student"]["nDCG@10"] for row in rows}
    alone = retention(values["large"], values["small"])
    assert found.pairs[0].difference.value == pytest.approx(alone.difference.value)
    assert 0 < found.pairs[0].p < 0.05
    assert found.pairs[0].queries == 40


def test_the_frontier_is_what_no_other_run_beats(three: list[Path]):
    assert [run.fast for run in compare_runs(three).runs] == [True, True, False]
    assert frontier([(0.5, 1.0), (0.5, 1.0), (0.4, 2.0), (None, 0.1), (0.9, None)]) == [True, True, False, False, False]


def test_along_the_frontier_quality_rises_with_cost():
    draw = random.Random(3)
    points = [(draw.random(), draw.random()) for _ in range(200)]
    kept = sorted((c, q) for (q, c), on in zip(points, frontier(points), strict=True) if on)
    assert all(a[1] < b[1] for a, b in pairwise(kept))
    assert all(any(q >= p[0] and c <= p[1] for c, q in kept) for p in points)


def test_queries_that_not_all_have_are_counted(tmp_path: Path):
    found = compare_runs([make_run(tmp_path / "a", [0.1] * 5), make_run(tmp_path / "b", [0.2] * 7)])
    assert (found.queries, found.left_out) == (5, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"collection": "d"}, "different collections: .* of c, .* of d"),
        ({"split": "dev"}, "different splits: .* of test, .* of dev"),
        ({"systems": {"student": {"AP": 0.1}}}, "nDCG@10 was not measured; there is AP"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path, changed: dict[str, object], said: str):
    one, other = make_run(tmp_path / "a", [0.1]), make_run(tmp_path / "b", [0.1], **changed)
    with pytest.raises(InputError, match=said):
        compare_runs([one, other])


def test_one_run_or_the_same_twice_is_refused(tmp_path: Path):
    one = make_run(tmp_path / "a", [0.1])
    with pytest.raises(InputError, match="nothing to compare"):
        compare_runs([one])
    with pytest.raises(InputError, match="given twice"):
        compare_runs([one, one])


def test_the_command_prints_tables_and_json_and_writes_a_page_that_needs_nothing_else(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("jinja2", reason="the page is made with Jinja")
    from potstill.cli_compare import compare

    page = tmp_path / "page.html"
    compare(three, out=page, measure="nDCG@10", as_json=False)
    printed = capsys.readouterr().out
    assert "p (Holm)" in printed
    assert "large − small" in printed
    html = page.read_text(encoding="utf-8")
    assert html.count("<circle") == 6
    assert html.count("dot front") == 4
    assert "http:" not in html
    assert "https:" not in html
    compare(three, out=None, measure="nDCG@10", as_json=True)
    assert [run["name"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["small", "large", "poor"]


def test_names_are_escaped_in_the_page(tmp_path: Path):
    pytest.importorskip("jinja2", reason="the page is made with Jinja")
    from potstill.report.pareto_page import render_compared

    runs = [make_run(tmp_path / "<b>x", [0.1, 0.2]), make_run(tmp_path / "y", [0.3, 0.2])]
    html = render_compared(compare_runs(runs))
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html
