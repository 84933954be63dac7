from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest


class Doc(NamedTuple):
    id: str
    full: str


@dataclass
class TinyCollection:
    """Stands in for a collection: what evaluation needs of one, nothing else."""

    docs: list[Doc]
    queries: dict[str, str] = field(default_factory=dict)
    judged: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    name: str = "tiny"
    streamed: int = 0

    @property
    def document_ids(self) -> list[str]:
        return [doc.id for doc in self.docs]

    @property
    def document_count(self) -> int:
        return len(self.docs)

    def documents(self) -> Iterator[Doc]:
        for doc in self.docs:
            self.streamed += 1
            yield doc

    def qrels(self, split: str) -> dict[str, dict[str, int]]:
        return self.judged[split]


@pytest.fixture
def tiny_collection() -> type[TinyCollection]:
    return TinyCollection


@pytest.fixture
def make_doc() -> type[Doc]:
    return Doc
