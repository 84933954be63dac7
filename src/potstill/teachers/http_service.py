"""A teacher behind HTTP: an embedding service. Asked in batches, patiently; what it answers is checked."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingExtra, PotstillError
from ..progress import say, warn
from ..recipe import Role, TeacherSpec
from ..signals import Fingerprint
from .http_wire import BadAnswer, endpoint, payload, read_answer, without_secrets
from .teacher import Metric

if TYPE_CHECKING:
    import httpx
    from sentence_transformers import SentenceTransformer

    from .precomputed import PrecomputedIndex

_FIRST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_ASKED_S = 0.5, 30.0, 300.0
_OPENING_RETRIES = 2
_CHARACTERS_PER_TOKEN = 4
_LATER = (408, 425, 429)  # and all from 500 on: try again
_ELSEWHERE = ("max_length", "pooling", "device", "dtype", "trust_remote_code")  # what the service alone decides
_UNIT = 1e-2


class _Unanswered(Exception):
    """An attempt that failed in a way that another one may not; `wait` is what the service asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class HttpTeacher:
    """An embedding service as a teacher; see `VectorTeacher` for what its members mean.

    The service cuts long texts as it likes and does not say so: `max_length` is None and `truncated` 0. `lengths` is an
    estimate, four characters to a token.
    """

    can_encode_queries: bool = True
    can_encode_documents: bool = True
    recomputable: bool = True
    parameters: int | None = None
    bytes: int | None = None
    index: PrecomputedIndex | None = None
    query_vectors: PrecomputedIndex | None = None
    tokenizer: Any | None = None

    def __init__(self, spec: TeacherSpec, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Ask the service for one vector.

        Raises:
            InputError: no service there, a refused key, an unknown model, an answer that is no vector, or an option
                that only the service itself could honour.
        """
        try:
            import httpx
        except ImportError:
            raise MissingExtra("httpx", "train") from None
        given = [name for name in _ELSEWHERE if getattr(spec, name) != TeacherSpec.model_fields[name].default]
        if spec.api == "openai" and spec.normalize is False:
            given.append("normalize: false")
        if given:
            raise InputError(
                f"teacher.{given[0]} cannot be set from here for this service",
                where="teacher.url",
                fix="set it where the service runs, and leave it out of the recipe",
            )
        self._spec, self._sleep = spec, sleep
        self._endpoint = endpoint(str(spec.url), spec.api)
        self._shown = without_secrets(self._endpoint)
        self._key = _key(spec.api_key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(headers=headers, timeout=spec.timeout)
        self.name = f"{spec.model} at {self._shown}" if spec.model else self._shown
        self.dimensions = 0
        try:
            probe = self._ask(["a short text to see what comes out"], min(spec.retries, _OPENING_RETRIES))
        except InputError:
            raise
        except PotstillError as error:
            raise InputError(error.message, where=error.where, fix=error.fix) from None
        self.dimensions = probe.shape[1]
        unit = bool(spec.normalize) or abs(float(np.linalg.norm(probe)) - 1) < _UNIT
        if spec.metric is None and not unit:
            raise InputError(
                "the service's vectors do not have length 1, so dot product and cosine rank differently",
                where=self._shown,
                fix="set teacher.metric to dot or cosine, or teacher.normalize to true",
            )
        self.metric: Metric = spec.metric or "cosine"
        say(f"{self.name}: {self.dimensions} dimensions; texts over its own maximum length are cut there, uncounted")

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """None: the model is elsewhere."""
        return None

    def max_length(self, role: Role) -> int | None:
        """None: the service knows."""
        return None

    def prompt(self, role: Role) -> str:
        """The text put before every text of this role; "" for none."""
        return getattr(self._spec.prompts, role) or ""

    def fingerprint(self, role: Role) -> Fingerprint:
        """Identity as far as it shows: address, model, interface, prompt. `teacher.revision` tells versions apart."""
        alike = self.prompt("query") == self.prompt("document")
        return Fingerprint(
            kind="http",
            model=self._spec.model or "",
            revision=self._spec.revision,
            role="any" if alike else role,
            prompt=self.prompt(role),
            pooling=None,
            max_length=None,
            normalize=self._spec.normalize,
            dtype="float32",
            dimensions=self.dimensions,
            extra=(("url", self._shown), ("api", self._spec.api)),
        )

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32 of the texts, asked for `teacher.batch_size` at a time.

        Raises:
            InputError: the service refuses the request (its key, model or texts).
            PotstillError: the service stayed away through all retries, or answers with something else than vectors.
        """
        prompt, size = self.prompt(role), self._spec.batch_size
        whole = [prompt + text or " " for text in texts]  # services refuse an empty text, and the batch with it
        parts = [self._ask(whole[at : at + size], self._spec.retries) for at in range(0, len(whole), size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimensions), dtype=np.float32)

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Tokens (n,) int64 of each text, estimated from its characters."""
        extra = len(self.prompt(role))
        return np.array([1 + (extra + len(text)) // _CHARACTERS_PER_TOKEN for text in texts], dtype=np.int64)

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """0: the service does not say what it cuts."""
        return 0

    def _ask(self, texts: Sequence[str], retries: int) -> np.ndarray:
        """One request, again after a while where that may help."""
        for attempt in range(retries + 1):
            try:
                return self._attempt(texts)
            except _Unanswered as failure:
                if attempt == retries:
                    raise PotstillError(
                        f"no answer after {attempt + 1} attempts: {failure}",
                        where=self._shown,
                        fix="see that the service runs and can be reached, then run again: what is done is kept",
                    ) from None
                wait = _pause(attempt, failure.wait)
                warn(f"{self._shown}: {failure}; next attempt in {wait:.1f} s")
                self._sleep(wait)
        raise AssertionError("unreachable")

    def _attempt(self, texts: Sequence[str]) -> np.ndarray:
        import httpx

        try:
            answer = self._client.post(
                self._endpoint, json=payload(self._spec.api, self._spec.model, texts, self._spec.normalize)
            )
        except httpx.TimeoutException:
            raise _Unanswered(f"nothing came within {self._spec.timeout:g} s") from None
        except httpx.RequestError as error:
            raise _Unanswered(self._clean(str(error)) or type(error).__name__) from None
        if answer.status_code in _LATER or answer.status_code >= 500:
            raise _Unanswered(f"status {answer.status_code} {self._said(answer)}".strip(), _asked_wait(answer))
        if answer.status_code != 200:
            raise self._refused(answer)
        try:
            vectors = read_answer(self._spec.api, answer.content, len(texts))
            if self.dimensions and vectors.shape[1] != self.dimensions:
                raise BadAnswer(
                    f"vectors of {vectors.shape[1]} dimensions came back after vectors of {self.dimensions}"
                )
        except BadAnswer as error:
            raise PotstillError(
                self._clean(str(error)),
                where=self._shown,
                fix="check that teacher.api is right (openai or tei) and that one model answers at this address",
            ) from None
        if self._spec.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _refused(self, answer: httpx.Response) -> InputError:
        status = answer.status_code
        fix = "see what the service says, and check teacher.model and the lengths of the texts"
        if status in (401, 403):
            fix = "name the environment variable that holds the key in teacher.api_key_env, and check the key"
        elif status == 404:
            fix = "check teacher.url, teacher.model and teacher.api (openai posts to /v1/embeddings, tei to /embed)"
        elif status == 413:
            fix = "lower teacher.batch_size"
        elif 300 <= status < 400:
            fix = "give the address that it moved to as teacher.url"
        return InputError(f"the service answers {status} {self._said(answer)}".strip(), where=self._shown, fix=fix)

    def _said(self, answer: httpx.Response) -> str:
        page = "html" in answer.headers.get("content-type", "").lower() or answer.text.lstrip()[:1] == "<"
        text = answer.reason_phrase if page else " ".join(answer.text[:300].split())  # a page is for browsers
        moved = answer.headers.get("location")
        return self._clean(f"({text})" if text else f"(moved to {without_secrets(moved)})" if moved else "")

    def _clean(self, text: str) -> str:
        """Never show the key, whoever repeats it."""
        return text.replace(self._key, "***") if self._key else text


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value or not value.isascii() or not value.isprintable():
        what = "holds characters that no key has" if value else "is not set"
        raise InputError(
            f"the environment variable {variable} {what}", where="teacher.api_key_env", fix=f"export {variable}=..."
        )
    return value


def _pause(attempt: int, asked: float | None) -> float:
    """Seconds to wait: what the service asked for, else twice as long each time; both with jitter on top."""
    jitter = random.uniform(0.0, 0.25)
    if asked is not None:
        return min(asked, _LONGEST_ASKED_S) + jitter
    return min(_FIRST_WAIT_S * 2.0**attempt, _LONGEST_WAIT_S) * (1.0 + jitter)


def _asked_wait(answer: httpx.Response) -> float | None:
    """Seconds of the Retry-After header, given as seconds or as a date (RFC 9110, 10.2.3)."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
