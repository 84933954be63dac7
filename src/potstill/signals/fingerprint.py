"""What made a signal: everything that can change a vector, and its digest, which names the table on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

_FORMAT = 1  # of the store on disk; a later format gets other digests, so it can never meet these files


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a table of vectors. Two fingerprints that differ anywhere never share a row.

    Attributes:
        kind: sort of source, e.g. `sentence-transformers`, `http`, `imported`.
        model: id, folder or service name of what made the vectors.
        revision: commit or a digest of the weights or of the file; None when the source cannot tell.
        role: `query` or `document` where the role changes the vectors, `any` where both roles get the
            same; `pair` for what is said of a query and a document together.
        prompt: text put before every text; "" for none.
        pooling: how token vectors become one, None when unknown.
        max_length: tokens after which a text is cut, None when unknown.
        normalize: whether the vectors have unit length by construction, None when unknown.
        dtype: precision that the model computed in (the store's own precision is kept apart, in the table's name).
        dimensions: width of the vectors.
        extra: further (name, value) pairs that change the vectors; their order means nothing.
    """

    kind: str
    model: str
    revision: str | None
    role: Literal["query", "document", "any", "pair"]
    prompt: str
    pooling: str | None
    max_length: int | None
    normalize: bool | None
    dtype: str
    dimensions: int
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", tuple(sorted((str(name), str(value)) for name, value in self.extra)))

    def digest(self) -> str:
        """32 hex digits: BLAKE2b-128 over every field."""
        text = json.dumps({"format": _FORMAT, **self.as_dict()}, sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values; `from_dict` reads them back."""
        return {**asdict(self), "extra": [list(pair) for pair in self.extra]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `as_dict`.

        Raises:
            TypeError, ValueError: a field is missing, unknown, or `extra` is not made of pairs.
        """
        return cls(**{**values, "extra": tuple((name, value) for name, value in values["extra"])})
