"""What a service allows: sizes, times and who may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeSettings:
    """Limits of a service. Each is answered with a JSON error where a request goes beyond it.

    Attributes:
        max_body: bytes of a request's body; more is 413.
        max_texts: texts of one request; more is 413.
        max_batch_texts: texts that are encoded together.
        max_batch_tokens: tokens, padding counted, that are encoded together; one longer text goes alone.
        max_concurrency: requests in work at a time; more are 429.
        timeout: seconds for a request, its arrival included; after them it is 408.
        api_key: what `Authorization: Bearer` must say; None lets everyone in.
    """

    max_body: int = 2_000_000
    max_texts: int = 512
    max_batch_texts: int = 64
    max_batch_tokens: int = 16_384
    max_concurrency: int = 512
    timeout: float = 30.0
    api_key: str | None = None
