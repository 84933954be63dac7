"""Two ways of asking a service for vectors: OpenAI's `/v1/embeddings` and text-embeddings-inference's `/embed`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from ..errors import InputError

Api = Literal["openai", "tei"]


class BadAnswer(Exception):
    """The service answered with something that is not one finite vector for each text."""


def endpoint(url: str, api: Api) -> str:
    """The address to post to, from a base address or the full one.

    Raises:
        InputError: not an http(s) address.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or too large
        sound = False
    if not sound:
        raise InputError("not an http(s) address", where=f"teacher.url {url}", fix="give for example http://host:8080")
    path = parts.path.rstrip("/")
    if api == "tei":
        path = path if path.endswith("/embed") else f"{path}/embed"
    elif not path.endswith("/embeddings"):
        path = f"{path}/embeddings" if path.endswith("/v1") else f"{path}/v1/embeddings"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def without_secrets(url: str) -> str:
    """The address without user name, password, query and fragment: fit for messages and identities."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def payload(api: Api, model: str | None, texts: Sequence[str], normalize: bool | None) -> dict[str, Any]:
    """The JSON that asks for the vectors of the texts."""
    if api == "openai":
        return {"input": list(texts), **({"model": model} if model else {})}
    asked: dict[str, Any] = {"inputs": list(texts), "truncate": True}
    return asked if normalize is None else {**asked, "normalize": normalize}


def read_answer(api: Api, body: bytes, count: int) -> np.ndarray:
    """The vectors (count, d) float32 of an answer, in the order of the texts.

    Raises:
        BadAnswer: not JSON, or not `count` finite vectors of one width.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        raise BadAnswer(f"the answer is not JSON: {_excerpt(body)}") from None
    rows = _openai_rows(answer, count) if api == "openai" else answer
    if not isinstance(rows, list):
        raise BadAnswer(f"the answer holds no list of vectors: {_excerpt(body)}")
    if len(rows) != count:
        raise BadAnswer(f"{len(rows)} vectors came back for {count} texts")
    vectors = [_vector(row) for row in rows]
    widths = {len(vector) for vector in vectors}
    if len(widths) != 1:
        raise BadAnswer(f"vectors of different widths came back: {', '.join(map(str, sorted(widths)))}")
    array = np.stack(vectors)
    if not array.shape[1] or not np.isfinite(array).all():
        raise BadAnswer("an empty vector or one with numbers that are not finite came back")
    return array


def _openai_rows(answer: Any, count: int) -> list[Any]:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list) or not all(isinstance(one, Mapping) and "embedding" in one for one in data):
        raise BadAnswer("the answer has no `data` list of embeddings")
    if len(data) != count:
        raise BadAnswer(f"{len(data)} vectors came back for {count} texts")
    places = [one.get("index", place) for place, one in enumerate(data)]
    if sorted(places, key=str) != sorted(range(count), key=str):
        raise BadAnswer("the `index` numbers of the answer do not count its texts")
    ordered: list[Any] = [None] * count
    for place, one in zip(places, data, strict=True):
        ordered[place] = one["embedding"]
    return ordered


def _vector(row: Any) -> np.ndarray:
    """One vector: a list of numbers, or base64 of little-endian float32."""
    try:
        if isinstance(row, str):
            return np.frombuffer(base64.b64decode(row, validate=True), dtype="<f4")
        if isinstance(row, list) and all(isinstance(value, int | float) for value in row):
            return np.array(row, dtype=np.float32)
    except (binascii.Error, ValueError, OverflowError):
        pass
    raise BadAnswer("a vector came back that is neither a list of numbers nor base64 of float32")


def _excerpt(body: bytes) -> str:
    text = body[:120].decode("utf-8", "replace").strip()
    return repr(text) if text else "(empty)"
