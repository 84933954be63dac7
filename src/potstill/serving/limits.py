"""What stands before the service: the key, the number of requests in work, the size of a body, the time of it all."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from ..errors import PotstillError
from .metrics import Metrics
from .settings import ServeSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_log = logging.getLogger(__name__)
_OPEN = ("/health",)  # who asks whether it lives needs no key, and never waits
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(path: str, status: int, message: str) -> dict[str, Any]:
    """An error in the shape that the path's clients read: OpenAI's under /v1, text-embeddings-inference's elsewhere."""
    if path.startswith("/v1/"):
        kind = _KINDS.get(status, "server_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": status}}
    kind = "Overloaded" if status == 429 else "Validation" if status < 500 else "Backend"
    return {"error": message, "error_type": kind}


class Refusal(Exception):
    """A request that is not served: its status and a message for people."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Limits:
    """An ASGI application around another.

    A body is read whole, within its size and the request's time, before the application sees the request; so a slow
    sender holds a place among the requests in work for `timeout` seconds at most.

    Args:
        app: what is guarded.
        settings: the limits.
        metrics: where requests are counted.
        paths: paths that are counted under their own names.
        direct: POST paths whose bodies are answered without the application; its routing costs more than a static
            student's whole work.
    """

    def __init__(
        self,
        app: Any,
        settings: ServeSettings,
        metrics: Metrics,
        paths: Collection[str],
        direct: Mapping[str, Callable[[bytes], Awaitable[Any]]],
    ) -> None:
        self.app, self.settings, self.metrics, self.paths = app, settings, metrics, frozenset(paths)
        self.direct = dict(direct)
        self._key = None if settings.api_key is None else f"Bearer {settings.api_key}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, began, status = str(scope["path"]), time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        self.metrics.in_work += 1
        try:
            self._admit(scope, path)
            async with asyncio.timeout(self.settings.timeout):
                body = await self._body(scope, receive)
                answer = self.direct.get(path) if scope["method"] == "POST" else None
                if answer is None:
                    await self.app(scope, _replayed(body, receive), sending)
                else:
                    await (await answer(body))(scope, receive, sending)
        except Refusal as refusal:
            await _refuse(sending, path, refusal.status, refusal.message)
        except TimeoutError:
            if not status:
                await _refuse(sending, path, 408, f"not done within {self.settings.timeout:g} seconds")
        except Exception as error:
            if status:
                raise
            message = error.message if isinstance(error, PotstillError) else "the student failed on this request"
            _log.exception("%s failed", path)
            await _refuse(sending, path, 500, message)
        finally:
            self.metrics.in_work -= 1
            named = path if path in self.paths else "other"
            self.metrics.request(named, status, time.perf_counter() - began)

    def _admit(self, scope: Message, path: str) -> None:
        if path in _OPEN:
            return
        headers = dict(scope["headers"])
        if self._key is not None and not hmac.compare_digest(headers.get(b"authorization", b""), self._key):
            raise Refusal(401, "the API key is missing or wrong: send it as Authorization: Bearer KEY")
        if self.metrics.in_work > self.settings.max_concurrency:
            raise Refusal(429, f"{self.settings.max_concurrency} requests are in work already: try again in a moment")
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told) > self.settings.max_body:
            raise Refusal(413, f"the body has {int(told):,} bytes, and at most {self.settings.max_body:,} are read")

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the connection ended before the body did")
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > self.settings.max_body:
                raise Refusal(413, f"the body has more than the {self.settings.max_body:,} bytes that are read")
        return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body that was read, then whatever the connection still has to say."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, path: str, status: int, message: str) -> None:
    body = json.dumps(error_body(path, status, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413):  # what is left of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
