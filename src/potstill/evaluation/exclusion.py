"""Which documents a query may not find: itself, where a collection keeps its queries among its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ..errors import InputError
from ..texts import normalise

Mode = Literal["auto", "always", "never"]


class Document(Protocol):
    """What is needed of a document."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def full(self) -> str:
        """Title and text."""


class Collection(Protocol):
    """What evaluation needs of a collection; `potstill.collection.Collection` has it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def queries(self) -> Mapping[str, str]:
        """Text by query id."""

    @property
    def document_ids(self) -> Sequence[str]:
        """Ids in the order of the documents."""

    def documents(self) -> Iterator[Document]:
        """Stream the documents in order."""

    def qrels(self, split: str) -> Mapping[str, Mapping[str, int]]:
        """Give the judgments of a split."""


@dataclass(frozen=True)
class Exclusion:
    """Per query the rows of documents to leave out (`rows`, for `exact_search`), and how many there are in all."""

    rows: list[np.ndarray]
    count: int


def exclude_self(collection: Collection, query_ids: Sequence[str], mode: Mode = "auto") -> Exclusion:
    """Find the documents that are their own query.

    In some collections (duplicate questions, counter-arguments) a query is a document, would find itself first, and is
    not judged. In most, equal ids mean nothing: query 1 and document 1 are just both first.

    Args:
        collection: its documents are streamed once, and only if a query shares its id with a document and `mode` is
            "auto".
        query_ids: the queries, in order.
        mode: "auto" leaves out the document with the query's id if its text contains the query's text (both
            normalised); "always" leaves it out in any case; "never" leaves out nothing.
    """
    if mode not in ("auto", "always", "never"):
        raise InputError(f"evaluate.exclude_self: {mode!r} is not a way to exclude", fix="write auto, always or never")
    row_of: dict[str, int] = {}
    if mode != "never":
        wanted = set(query_ids)
        row_of = {document_id: row for row, document_id in enumerate(collection.document_ids) if document_id in wanted}
    if mode == "auto" and row_of:
        row_of = _that_contain_their_query(collection, row_of)
    none = np.empty(0, dtype=np.int64)
    rows = [np.array([row_of[i]], dtype=np.int64) if i in row_of else none for i in query_ids]
    return Exclusion(rows, sum(len(row) for row in rows))


def _that_contain_their_query(collection: Collection, row_of: Mapping[str, int]) -> dict[str, int]:
    last = max(row_of.values())
    kept = {}
    for row, document in enumerate(collection.documents()):
        if row_of.get(document.id) == row:
            query = normalise(collection.queries.get(document.id, ""))
            if query and query in normalise(document.full):
                kept[document.id] = row
        if row == last:
            break
    return kept
