"""The service: `/v1/embeddings`, `/embed`, `/rerank`, `/info`, `/health`, `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel

from ..candidates.vectors import unit
from ..errors import MissingExtra, PotstillError
from ..recipe import Role
from ..version import __version__
from .batching import Batcher
from .limits import Limits, Refusal, error_body
from .metrics import Metrics
from .models import Ranker, Towers
from .settings import ServeSettings
from .wire import EmbeddingsRequest, EmbedRequest, RerankRequest, as_list, in_base64, read, schema

try:
    import orjson
    from fastapi import APIRouter, FastAPI, Request, Response
    from starlette.exceptions import HTTPException
except ImportError as _error:  # pragma: no cover - tried in a venv without the extra
    raise MissingExtra(_error.name or "fastapi", "serve") from None

PATHS = ("/v1/embeddings", "/v1/models", "/embed", "/rerank", "/info", "/health", "/metrics", "/openapi.json")
_AT_ONCE = 4_000  # characters that an instant encoder turns to vectors on the event loop: under a millisecond
_ERRORS = (400, 401, 404, 408, 413, 422, 429, 500)
_SHAPE: dict[str, Any] = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
_TOLD: dict[int | str, dict[str, Any]] = {
    status: {"description": "An error, with a message for people.", "content": _SHAPE} for status in _ERRORS
}


class Service:
    """A student, its batches and its counts.

    Args:
        model: what is served.
        settings: its limits.
    """

    def __init__(self, model: Towers | Ranker, settings: ServeSettings) -> None:
        self.model, self.settings, self.metrics = model, settings, Metrics()
        self.batchers: dict[str, Batcher] = {}

    async def start(self) -> None:
        """Begin to take batches; on the running event loop."""
        model = self.model
        calls: dict[str, Any]
        if isinstance(model, Ranker):
            calls = {"pair": model.scores}
        else:
            calls = {role: partial(model.encode, role) for role in model.encoders}
        for role, call in calls.items():
            most = self.settings.max_batch_texts, self.settings.max_batch_tokens
            self.batchers[role] = Batcher(call, *most, watch=self.metrics.batches.add)
            await self.batchers[role].start()

    async def stop(self) -> None:
        """Stop taking batches."""
        for batcher in self.batchers.values():
            await batcher.stop()

    async def vectors(self, role: Role, texts: Sequence[str], whole: bool = False) -> tuple[np.ndarray, int, int]:
        """Vectors `(n, d)`, tokens read, and how many texts were cut.

        Args:
            role: which tower.
            texts: the texts.
            whole: refuse a text that would be cut.

        Raises:
            Refusal: this student has no vectors, or none of that role; a text is too long and must not be cut.
        """
        model = self.model
        if isinstance(model, Ranker):
            raise Refusal(400, "this student reads a query and a text together: ask /rerank")
        if role not in model.encoders:
            try:
                model.encoder(role)
            except PotstillError as error:
                raise Refusal(400, f"{error.message}: {error.fix}") from None
        small = sum(map(len, texts)) <= _AT_ONCE
        if small and len(texts) == 1 and model.instant(role):
            vector, tokens = model.encoder(role).encode_counted(texts[0])
            self.metrics.batches.add(1)
            self.metrics.texts(role, 1, tokens)
            return vector, tokens, 0
        if small:
            costs = model.costs(role, texts)
        else:
            costs = await asyncio.get_running_loop().run_in_executor(None, model.costs, role, texts)
        limit = model.limit(role)
        cut = sum(cost > limit for cost in costs) if limit else 0
        if cut and whole:
            raise Refusal(413, f"{cut} texts have more than the {limit} tokens that are read, and truncate is false")
        if small and model.instant(role):
            found = model.encode(role, texts)
            self.metrics.batches.add(len(texts))
        else:
            found = await self.batchers[role].encode(texts, [min(cost, limit or cost) for cost in costs])
        self.metrics.texts(role, len(texts), sum(costs))
        return found, sum(costs), cut

    async def scores(self, query: str, texts: Sequence[str], raw: bool, whole: bool) -> np.ndarray:
        """Scores of texts for a query, float32 `(n,)`: a ranker's, or of the towers' vectors."""
        model = self.model
        if isinstance(model, Ranker):
            pairs = [(query, text) for text in texts]
            costs = await asyncio.get_running_loop().run_in_executor(None, model.costs, pairs)
            found = await self.batchers["pair"].encode(pairs, costs)
            self.metrics.texts("pair", len(pairs), sum(costs))
            return found if raw else np.asarray(1 / (1 + np.exp(-found.astype(np.float64))), dtype=np.float32)
        (asked, _, _), (read_, _, _) = await asyncio.gather(
            self.vectors("query", [query], whole), self.vectors("document", texts, whole)
        )
        if model.metric == "cosine":
            asked, read_ = unit(asked), unit(read_)
        return np.asarray(read_ @ asked[0], dtype=np.float32)


def create_app(
    model: Towers | Ranker, settings: ServeSettings | None = None, routers: Sequence[APIRouter] = ()
) -> Limits:
    """The service as an ASGI application.

    Args:
        model: what is served; see `models.open_served`.
        settings: limits; None: the defaults.
        routers: further routes, such as the page that compares.
    """
    settings = settings or ServeSettings()
    service = Service(model, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(title="Potstill", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(Exception, _failed)
    answers = _answers(service)
    for router in (_routes(service, answers), *routers):
        app.include_router(router)
    return Limits(app, settings, service.metrics, PATHS, {path: answer for path, (answer, _) in answers.items()})


Answer = Callable[[bytes], Awaitable[Response]]


def _answers(service: Service) -> dict[str, tuple[Answer, type[BaseModel]]]:
    """What is answered to a body: path to function and the body's shape."""
    most = service.settings.max_texts

    async def embeddings(body: bytes) -> Response:
        """Vectors of texts, as OpenAI's clients ask for them."""
        asked = read(EmbeddingsRequest, body, 400)
        texts = as_list(asked.input, most, 400)
        width = getattr(service.model, "dimensions", None)
        if asked.dimensions is not None and asked.dimensions != width:
            raise Refusal(400, f"dimensions: this student gives {width} numbers, not {asked.dimensions}")
        found, tokens, cut = await service.vectors(asked.input_type, texts)
        shown: Any = map(in_base64, found) if asked.encoding_format == "base64" else found
        data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(shown)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "data": data, "model": service.model.name, "usage": usage}, cut)

    async def embed(body: bytes) -> Response:
        """Vectors of texts, as text-embeddings-inference gives them."""
        asked = read(EmbedRequest, body, 422)
        texts = as_list(asked.inputs, most, 422)
        found, _, cut = await service.vectors(asked.prompt_name, texts, whole=not asked.truncate)
        return _json(unit(found) if asked.normalize else found, cut)

    async def rerank(body: bytes) -> Response:
        """Texts in the order of their scores for a query."""
        asked = read(RerankRequest, body, 422)
        texts = as_list(asked.texts, most, 422)
        scores = await service.scores(asked.query, texts, asked.raw_scores, not asked.truncate)
        order = np.argsort(-scores, kind="stable").tolist()
        rows = [{"index": place, "score": float(scores[place])} for place in order]
        if asked.return_text:
            rows = [{**row, "text": texts[row["index"]]} for row in rows]
        return _json(rows)

    return {
        "/v1/embeddings": (embeddings, EmbeddingsRequest),
        "/embed": (embed, EmbedRequest),
        "/rerank": (rerank, RerankRequest),
    }


def _described(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """An answer as a route: what describes it, and serves it where nothing stands before the application."""

    async def route(request: Request) -> Response:
        return await answer(await request.body())

    route.__name__, route.__doc__ = answer.__name__, answer.__doc__
    return route


def _routes(service: Service, answers: Mapping[str, tuple[Answer, type[BaseModel]]]) -> APIRouter:
    router = APIRouter(responses=_TOLD)
    for path, (answer, shape) in answers.items():
        router.add_api_route(path, _described(answer), methods=["POST"], openapi_extra=schema(shape))

    @router.get("/v1/models")
    async def models() -> Response:
        """The one student that is served."""
        one = {"id": service.model.name, "object": "model", "created": 0, "owned_by": "potstill"}
        return _json({"object": "list", "data": [one]})

    @router.get("/info")
    async def info() -> Response:
        """What is served, and its limits."""
        model, settings = service.model, service.settings
        return _json(
            {
                "model_id": model.name,
                "model_type": "reranker" if isinstance(model, Ranker) else "embedding",
                "dimensions": getattr(model, "dimensions", None),
                "metric": model.metric,
                "roles": list(getattr(model, "encoders", ())),
                "max_batch_tokens": settings.max_batch_tokens,
                "max_client_batch_size": settings.max_texts,
                "max_concurrent_requests": settings.max_concurrency,
                "max_body_bytes": settings.max_body,
                "timeout_seconds": settings.timeout,
                "version": __version__,
            }
        )

    @router.get("/health")
    async def health() -> Response:
        """That it lives."""
        return _json({"status": "ok"})

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def metrics() -> Response:
        """Counts for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _json(content: Any, cut: int = 0, status: int = 200) -> Response:
    """A response; texts that were cut at the student's longest are told in a header."""
    headers = {"x-potstill-truncated": str(cut)} if cut else None
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _json(error_body(request.url.path, error.status, error.message), status=error.status)


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "there is no such path", 405: "this path takes another method"}.get(error.status_code, error.detail)
    response = _json(error_body(request.url.path, error.status_code, message), status=error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    message = error.message if isinstance(error, PotstillError) else "the student failed on this request"
    return _json(error_body(request.url.path, 500, message), status=500)
