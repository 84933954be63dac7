"""The command line: compare runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders of one collection and split.")],
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write.", show_default=False)] = None,
    measure: Annotated[str, typer.Option("--measure", help="As evaluation.json names it.")] = "nDCG@10",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the tables.")] = False,
) -> None:
    """Put several runs on one page: quality against cost, and paired tests corrected for their number."""
    from .atomic import write_text
    from .report.pareto import compare_runs
    from .report.pareto_page import PAIR_HEADS, RUN_HEADS, pair_table, render_compared, run_table

    found = compare_runs(runs, measure)
    if out is not None:
        write_text(out, render_compared(found))
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    left = f", {found.left_out} that not every run has are left out" if found.left_out else ""
    typer.echo(f"{found.collection}, split {found.split}, {found.measure}: {found.queries} common queries{left}\n")
    typer.echo(_table(RUN_HEADS, run_table(found)))
    typer.echo("\n" + _table(PAIR_HEADS, pair_table(found)))
    if out is not None:
        typer.echo(f"\npage: {out}")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line, the first to the left and the others to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
