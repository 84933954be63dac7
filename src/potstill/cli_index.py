"""The command line: build, search and check an index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InputError

index_app = typer.Typer(help="The index that a student searches.", no_args_is_help=True)

_Collection = Annotated[str | None, typer.Option("--collection", help="Folder, file, hf:NAME or ir_datasets:NAME.")]
_Ids = Annotated[Path | None, typer.Option("--ids", help="Ids of the vectors, one a line, or a JSON list.")]
_Metric = Annotated[str | None, typer.Option("--metric", help="dot | cosine | l2, where nothing else says so.")]
_Signals = Annotated[
    Path | None,
    typer.Option("--signals", help="Folder of the signal store; default: POTSTILL_HOME or the user's cache."),
]
_Index = Annotated[
    Path,
    typer.Option("--index", help="A built index, a faiss file, DATABASE/TABLE.lance, or .npy, .safetensors, .parquet."),
]
_Queries = Annotated[Path | None, typer.Option("--queries", help="JSON lines, id TAB text, or a text a line.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(index_app, name="index")


@index_app.command()
def build(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    kind: Annotated[str, typer.Option("--kind", help="exact | faiss-flat | faiss-hnsw | faiss-ivfpq | lancedb.")],
    collection: _Collection = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="A model id or folder; it encodes.")] = None,
    vectors: Annotated[
        Path | None, typer.Option("--vectors", help="Vectors that exist: .npy, .safetensors, .parquet, faiss, LanceDB.")
    ] = None,
    ids: _Ids = None,
    metric: _Metric = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="m, ef_construction, nlist, m_pq, ...; teacher.KEY=VALUE."),
    ] = None,
    signals: _Signals = None,
) -> None:
    """Build an index of a teacher's documents, or of vectors that exist."""
    own, of_teacher = _parted(settings or ())
    spec = _teacher(teacher, of_teacher) if teacher else None
    from .pipeline import indexing

    made = indexing.build(
        out,
        kind=kind,
        collection=collection,
        teacher=spec,
        vectors=vectors,
        ids=ids,
        metric=_metric(metric),
        settings=own,
        signals=signals,
    )
    said = ", ".join(f"{name} {value}" for name, value in made["settings"].items())
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    _say(
        f"index: {out}/  ({made['kind']}, {made['count']:,} documents of {made['dimensions']} numbers,"
        f" compared by {made['metric']}{', ' + said if said else ''}, {size / 1e6:,.1f} MB)"
    )


@index_app.command()
def search(
    index: _Index,
    student: Annotated[str, typer.Option("--student", help="A run, a student folder, or a model id.")],
    query: Annotated[list[str] | None, typer.Option("--query", help="A query's text; repeatable.")] = None,
    queries: _Queries = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents a query.")] = 10,
    effort: Annotated[int | None, typer.Option("--effort", min=1, help="efSearch or nprobe.")] = None,
    collection: _Collection = None,
    ids: _Ids = None,
    metric: _Metric = None,
    run: Annotated[Path | None, typer.Option("--run", help="A TREC run to write.")] = None,
) -> None:
    """Search an index with a student's queries."""
    from .pipeline import indexing

    asked = {} if queries is None else indexing.read_queries(queries)
    for number, text in enumerate(query or (), 1):
        asked[str(number) if queries is None else f"query-{number}"] = text
    found = indexing.search(
        index,
        student,
        asked,
        k=k,
        effort=effort,
        collection=collection,
        ids=ids,
        metric=_metric(metric),
        run=run,
    )
    if run is not None:
        _say(f"run: {run}  ({len(found):,} queries)")
    if run is None or query:
        _show(found if queries is None or run is None else found[-len(query or ()) :])


@index_app.command()
def check(
    index: _Index,
    teacher: Annotated[str, typer.Option("--teacher", help="The model that is said to have made the vectors.")],
    student: Annotated[
        str | None, typer.Option("--student", help="A run, a student folder, or a model id; none: the index alone.")
    ] = None,
    collection: _Collection = None,
    queries: _Queries = None,
    split: Annotated[str | None, typer.Option("--split", help="Judged split; default: test.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Vectors to encode again.")] = 64,
    k: Annotated[int, typer.Option("-k", min=1, help="How deep rankings are compared.")] = 10,
    ids: _Ids = None,
    metric: _Metric = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Keys below teacher.")
    ] = None,
    signals: _Signals = None,
) -> None:
    """Prove that an index holds a teacher's vectors and that a student works on it; exit code 1 if not."""
    own, of_teacher = _parted(settings or ())
    if own:
        raise InputError(f"{own[0]!r} is no key below teacher", where="--set", fix="write teacher.KEY=VALUE")
    if queries is not None and split is not None:
        raise InputError("queries of a file or of a split", where="--queries, --split", fix="give one of the two")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError("this is no place for a file", where=str(out), fix="give --out FILE.json in a folder there is")
    spec = _teacher(teacher, of_teacher)
    from .index.table import check_table
    from .pipeline import index_check, indexing

    found = index_check.check(
        index,
        spec,
        student=student,
        collection=collection,
        queries=None if queries is None else indexing.read_queries(queries),
        split=split,
        sample=sample,
        k=k,
        ids=ids,
        metric=_metric(metric),
        signals=signals,
        out=out,
    )
    _say(check_table(found))
    if not found["compatible"]:
        raise typer.Exit(1)


def _parted(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the index, and those of the teacher."""
    of_teacher = [line for line in settings if line.startswith("teacher.")]
    return [line for line in settings if not line.startswith("teacher.")], of_teacher


def _teacher(teacher: str, settings: list[str]) -> Any:
    from .recipe import load_recipe

    return load_recipe(None, flags={"collection": "-", "teacher": teacher}, settings=settings).teacher


def _metric(metric: str | None) -> Any:
    if metric not in (None, "dot", "cosine", "l2"):
        raise InputError(f"there is no metric {metric!r}", where="--metric", fix="choose dot, cosine or l2")
    return metric


def _show(found: list[dict[str, Any]]) -> None:
    """Rankings: tables on a terminal, lines parted by tabs elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        for asked in found:
            table = Table(title=escape(asked["query"]), title_justify="left")
            for name in ("rank", "score", "id", "title"):
                table.add_column(name, justify="right" if name in ("rank", "score") else "left")
            for rank, each in enumerate(asked["found"], 1):
                table.add_row(str(rank), f"{each['score']:.4f}", escape(each["id"]), escape(each["title"]))
            Console().print(table)
        return
    for asked in found:
        _say(f"query {asked['id']}: {asked['query']}")
        for rank, each in enumerate(asked["found"], 1):
            _say(f"{rank}\t{each['score']:.4f}\t{each['id']}\t{each['title']}".rstrip("\t"))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
