"""The page that compares: one query box, the teacher's and a student's ten side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Response

from .limits import Refusal
from .sides import Sides

_LONGEST = 2_000
_FILES = {"": "text/html", "compare.css": "text/css", "compare.js": "text/javascript"}
# Nothing is fetched from anywhere else, and no script runs that is not in the file beside the page.
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def router(sides: Sides) -> APIRouter:
    """Routes of the page: `/`, its style and script, `/compare/about` and `/compare/search?q=&s=`.

    Args:
        sides: what is compared. The teacher is opened in the background once the service starts.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="potstill-compare")  # one search at a time: times mean something

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sides.teacher.start()
        yield
        thread.shutdown(wait=False, cancel_futures=True)

    found = APIRouter(lifespan=lifespan, include_in_schema=False)

    for name, kind in _FILES.items():
        content = (files(__package__) / (name or "compare.html")).read_bytes()
        found.add_api_route(f"/{name}", partial(_file, content, kind), methods=["GET"])

    @found.get("/compare/about")
    async def about() -> Response:
        return _json(sides.about())

    @found.get("/compare/search")
    async def search(q: str = "", s: int = 0) -> Response:
        if not q.strip() or len(q) > _LONGEST:
            raise Refusal(422, f"q: a query of 1 to {_LONGEST:,} characters is wanted")
        if not 0 <= s < len(sides.students):
            raise Refusal(422, f"s: there are {len(sides.students)} students, numbered from 0")
        return _json(await asyncio.get_running_loop().run_in_executor(thread, sides.search, q, s))

    return found


async def _file(content: bytes, kind: str) -> Response:
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", headers=_HEADERS)
