"""A loopback embedding service whose answers a test scripts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from potstill.texts import digest


def vector_of(text: str, dimensions: int = 8) -> np.ndarray:
    """A unit vector that depends on the text alone."""
    seed = int.from_bytes(digest(text)[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class Reply:
    """One scripted answer; `body` None means: answer the request properly."""

    status: int = 200
    body: bytes | Callable[[dict[str, Any]], Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Service:
    """The service: `script` is used up first, a reply a request; then it answers properly."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, path: str, asked: dict[str, Any]) -> Any:
        if path.endswith("/embed"):
            return [vector_of(text).tolist() for text in asked["inputs"]]
        rows = [
            {"object": "embedding", "index": i, "embedding": vector_of(t).tolist()}
            for i, t in enumerate(asked["input"])
        ]
        return {"object": "list", "data": rows, "model": asked.get("model")}


@contextmanager
def running() -> Iterator[Service]:
    """Serve on a free port of this machine until left."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append(
                {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "json": asked}
            )
            reply = state.script.pop(0) if state.script else Reply()
            time.sleep(reply.delay)
            body = reply.body
            if body is None:
                body = json.dumps(state.answer(self.path, asked)).encode()
            elif callable(body):
                body = json.dumps(body(state.answer(self.path, asked))).encode()
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
