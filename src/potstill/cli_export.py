"""The command line: export and shrink a student."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InputError

_CHOICES = {"--format": ("onnx", "static"), "--precision": ("fp32", "fp16", "int8")}


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(export)


def export(
    run: Annotated[str, typer.Argument(help="A run, a student's folder, or a model id.", metavar="RUN")],
    more: Annotated[list[str] | None, typer.Argument(help="Further precisions.", hidden=True)] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx: one graph (default) | static: an int8 table for numpy; repeatable."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="fp32 (default) | fp16 | int8; several: --precision fp32 int8."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; default: RUN/export/FORMAT-PRECISION.", show_default=False),
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", help="Cut vectors to so many dimensions.", show_default=False)
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", help="Measure on it: folder, hf:NAME or ir_datasets:NAME.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Judged split.")] = "test",
    signals: Annotated[
        Path | None,
        typer.Option("--signals", help="Folder of the signal store; default: POTSTILL_HOME or the user's cache."),
    ] = None,
) -> None:
    """Write a student as one ONNX graph or a small table, check it, and measure what it costs and keeps."""
    forms = _among("--format", formats or ["onnx"])
    asked = [*(precision or ([] if more else ["int8" if forms == ["static"] else "fp32"])), *(more or [])]
    precisions = _among("--precision", asked)
    from .pipeline.exporting import export as run_export

    rows = run_export(
        run,
        formats=forms,
        precisions=precisions,
        out=out,
        dimensions=dimensions,
        collection=collection,
        split=split,
        signals=signals,
    )
    sys.stdout.write(_table(rows) + "\n")


def _among(option: str, given: list[str]) -> list[Any]:
    """The values given, commas taken apart."""
    values = [part.strip() for each in given for part in each.split(",")]
    known = _CHOICES[option]
    for value in values:
        if value not in known:
            raise InputError(f"there is no {value!r}", where=option, fix=f"give {', '.join(known)}")
    return list(dict.fromkeys(values))


def _table(rows: list[dict[str, Any]]) -> str:
    """One line a target."""
    measured = "query_ms_p50" in rows[-1]
    judged = "nDCG@10" in rows[-1]
    apart = "score diff." if "score_difference" in rows[-1] else "cosine"
    head = f"{'target':<9}{'weights':<9}{'MB':>8}{apart:>13}"
    head += f"{'p50 ms':>9}{'p99 ms':>9}{'queries/s':>11}" if measured else ""
    head += f"{'nDCG@10':>9}   retention (95 % interval)" if judged else ""
    lines = [head]
    for row in rows:
        difference = f"{row['score_difference']:.1e}" if "score_difference" in row else f"{row['cosine_min']:.7f}"
        line = f"{row['target']:<9}{row['precision']:<9}{row['bytes'] / 1e6:>8,.1f}{difference:>13}"
        if measured:
            line += f"{row['query_ms_p50']:>9.3f}{row['query_ms_p99']:>9.3f}{row['queries_per_s']:>11,.0f}"
        if judged:
            line += f"{row['nDCG@10']:>9.4f}   {_kept(row)}"
        lines.append(line)
    return "\n".join(lines)


def _kept(row: dict[str, Any]) -> str:
    if row["retention_low"] is None:
        return f"{100 * row['retention']:.1f} %"
    return f"{100 * row['retention']:.1f} % ({100 * row['retention_low']:.1f} to {100 * row['retention_high']:.1f})"
