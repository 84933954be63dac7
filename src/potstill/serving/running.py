"""Serving until told to stop."""

from __future__ import annotations

import signal
from typing import Any

from ..errors import InputError, MissingExtra
from ..progress import say


def run_service(app: Any, host: str, port: int, grace: float) -> None:
    """Serve on `host:port` until SIGINT or SIGTERM; requests in work are finished first, for `grace` seconds at most.

    Raises:
        InputError: the address cannot be bound.
    """
    import socket

    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra(error.name or "uvicorn", "serve") from None

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer waits 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen there: {error.strerror}", where=f"{host}:{port}", fix="choose another --port or --host"
        ) from None
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=int(grace) + 1, lifespan="on"
    )
    server = uvicorn.Server(config)
    shown = f"[{host}]" if ":" in host else host
    say(f"serving on http://{shown}:{bound.getsockname()[1]} (Ctrl-C stops)")
    # uvicorn raises the signal again once it has stopped in good order; a stop that was asked for is no failure.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: None)
    server.run(sockets=[bound])
    say("stopped; every request in work was answered first")
