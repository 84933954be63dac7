"""The judgments that a split is measured by, where they are not simply the collection's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..collection import Collection, Document
from ..collection.records import read_judgments
from ..collection.tables import open_table
from ..errors import InputError
from ..progress import say


@dataclass(frozen=True)
class Judged:
    """A collection with the judgments of one split that are measured by.

    Attributes:
        collection: the rest.
        grades: query id -> document id -> grade; documents that the collection lacks are among them.
    """

    collection: Collection
    grades: Mapping[str, Mapping[str, int]]

    @property
    def name(self) -> str:
        """The collection's."""
        return self.collection.name

    @property
    def queries(self) -> Mapping[str, str]:
        """The collection's."""
        return self.collection.queries

    @property
    def document_ids(self) -> Sequence[str]:
        """The collection's."""
        return self.collection.document_ids

    def documents(self) -> Iterator[Document]:
        """The collection's."""
        return self.collection.documents()

    def qrels(self, split: str) -> Mapping[str, Mapping[str, int]]:
        """The judgments, whatever the split."""
        return self.grades


def judgments_of(collection: Collection, split: str, *, qrels: Path | None = None, answered: bool = False) -> Judged:
    """The collection with the judgments of one split; says what is left out.

    Args:
        collection: the collection.
        split: the split.
        qrels: a file of judgments in their place; None: the collection's own.
        answered: leave out queries without a relevant document, as is usual for answer sentences.

    Raises:
        InputError: no such split, or no such file.
    """
    grades: Mapping[str, Mapping[str, int]]
    if qrels is None:
        grades = collection.qrels(split)
    else:
        if not qrels.is_file():
            raise InputError("there is no such file of judgments", where=str(qrels), fix="check --qrels")
        read: dict[str, dict[str, int]] = {}
        for _, each in read_judgments(open_table(qrels, judgments=True)):
            read.setdefault(each.query, {})[each.document] = each.grade
        grades = read
        known = set(collection.document_ids)
        foreign = sum(document not in known for row in read.values() for document in row)
        if foreign:
            say(f"qrels: {foreign:,} judged documents are not in the collection; they count as not found")
    if not answered:
        return Judged(collection, grades)
    kept = {query: row for query, row in grades.items() if any(grade > 0 for grade in row.values())}
    say(f"qrels: {len(grades) - len(kept):,} queries without a relevant document are left out, {len(kept):,} stay")
    return Judged(collection, kept)
