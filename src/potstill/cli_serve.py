"""The command line: serve a student over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError
from .progress import say

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(serve)


def serve(
    student: Annotated[str, typer.Argument(help="A run, a student's folder, or a model id.", show_default=False)],
    host: Annotated[str, typer.Option("--host", help="Address; anything but loopback is reachable by others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    name: Annotated[
        str | None, typer.Option("--name", help="What clients call it; default: the folder's name.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the page that compares a run with its teacher, at /.")
    ] = False,
    against: Annotated[
        list[str] | None, typer.Option("--with", metavar="RUN", help="A further run on that page; may be repeated.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Where that run's collection lies now.")
    ] = None,
    signals: Annotated[Path | None, typer.Option("--signals", help="Folder of the signal store.")] = None,
    documents: Annotated[
        bool, typer.Option("--documents", help="Open the document tower too; it may be the teacher.")
    ] = False,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", help="Environment variable that holds the API key.")
    ] = "POTSTILL_API_KEY",
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Bytes of a request.")] = 2_000_000,
    max_texts: Annotated[int, typer.Option("--max-texts", min=1, help="Texts of a request.")] = 512,
    max_batch_texts: Annotated[int, typer.Option("--max-batch-texts", min=1, help="Texts encoded together.")] = 64,
    max_batch_tokens: Annotated[
        int, typer.Option("--max-batch-tokens", min=1, help="Tokens encoded together.")
    ] = 16384,
    max_concurrency: Annotated[int, typer.Option("--max-concurrency", min=1, help="Requests in work.")] = 512,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds for a request.")] = 30.0,
) -> None:
    """Serve a student: /v1/embeddings (OpenAI's shape), /embed and /rerank, /info, /health, /metrics."""
    from .serving.app import create_app
    from .serving.models import open_served
    from .serving.running import run_service
    from .serving.settings import ServeSettings

    key = os.environ.get(api_key_env) or None
    if api_key_env != "POTSTILL_API_KEY" and key is None:
        raise InputError("it holds no key", where=api_key_env, fix="set the variable, or leave --api-key-env out")
    if host not in _LOOPBACK and key is None:
        say(f"warning: {host} can be reached by others and no API key is set: set {api_key_env}")
    settings = ServeSettings(max_body, max_texts, max_batch_texts, max_batch_tokens, max_concurrency, timeout, key)
    served = open_served(student, name, documents=documents)
    routers = []
    if against and not compare:
        raise InputError("it is for the page alone", where="--with", fix="add --compare")
    if compare:
        from .pipeline.side_by_side import open_sides
        from .serving.compare import router

        runs = [Path(run) for run in (student, *(against or ()))]
        routers.append(router(open_sides(runs, collection=collection, signals=signals)))
    width = getattr(served, "dimensions", None)
    say(f"student: {served.name}, {f'{width} dimensions' if width else 'a ranker'}")
    run_service(create_app(served, settings, routers), host, port, timeout)
