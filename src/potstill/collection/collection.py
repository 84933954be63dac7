"""A collection: documents, queries and judgments, checked when opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checking import Checked, check
from .finding import find_source
from .notes import CollectionNotes
from .records import Document, Qrels, read_documents
from .source import Source


class Collection:
    """Documents (streamed), queries and judgments (held). Made by `open_collection`.

    Attributes:
        name: a short name: the folder's or the data set's.
        source: the path or source string that opened it.
        queries: query id -> text, of every split, in file order; empty where there are none.
        splits: names of the splits that have judgments.
        document_ids: ids in the order of `documents()`, a read-only sequence with `rows(ids)` for look-up.
        notes: counts, and everything that was dropped or is odd.
    """

    def __init__(self, source: Source, checked: Checked) -> None:
        self.name = source.name
        self.source = source.address
        self.queries = checked.queries
        self.splits = tuple(checked.qrels)
        self.document_ids = checked.ids
        self.notes: CollectionNotes = checked.notes
        self._tables = source.corpus
        self._qrels = checked.qrels
        self._fingerprint = checked.fingerprint

    def __repr__(self) -> str:
        return f"Collection({self.name!r}: {self.notes.lines()[0]})"

    @property
    def document_count(self) -> int:
        """Number of documents."""
        return len(self.document_ids)

    @property
    def characters(self) -> int:
        """Characters of all documents, title and text joined."""
        return self.notes.characters

    def documents(self) -> Iterator[Document]:
        """Stream the documents in order; the corpus is never held in memory.

        Raises:
            InputError: the documents are no longer those that were checked.
        """
        count = 0
        for table, row, document in read_documents(self._tables):
            if count == len(self.document_ids) or document.id != self.document_ids[count]:
                raise self._changed(table.where(row))
            yield document
            count += 1
        if count < len(self.document_ids):
            raise self._changed(self.source)

    def texts(self, rows: Iterable[int] | None = None) -> Iterator[str]:
        """Stream the full texts of documents, in order: of all, or of those with these row numbers.

        Raises:
            InputError: as `documents`.
        """
        wanted = None if rows is None else {int(row) for row in rows}
        return (document.full for row, document in enumerate(self.documents()) if wanted is None or row in wanted)

    def about(self) -> dict[str, Any]:
        """What records say of it, as JSON values."""
        return {
            "name": self.name,
            "source": self.source,
            "documents": self.document_count,
            "fingerprint": self.fingerprint(),
            "notes": self.notes.lines(),
        }

    def qrels(self, split: str) -> Qrels:
        """Judgments of a split: query id -> document id -> grade, zeros included, in file order.

        Raises:
            InputError: there is no such split; names those there are.
        """
        if split not in self._qrels:
            there = f"there are {', '.join(self.splits)}" if self.splits else "the collection has no judgments at all"
            fix = (
                "choose one of these"
                if self.splits
                else "add qrels/test.tsv; without judgments `potstill distill` measures agreement with the teacher"
            )
            raise InputError(f"there is no split {split}: {there}", where=self.source, fix=fix)
        return self._qrels[split]

    def candidates(self, split: str) -> dict[str, list[str]]:
        """The judged documents of each query, zeros included, in file order: what a re-ranking set ranks.

        Raises:
            InputError: as `qrels`.
        """
        return {query: list(grades) for query, grades in self.qrels(split).items()}

    def fingerprint(self) -> str:
        """128-bit digest (hex) of all documents, queries and judgments; the same in whatever form they are stored."""
        return self._fingerprint

    def _changed(self, where: str) -> InputError:
        return InputError(
            "the documents have changed since they were checked", where=where, fix="start again, and leave them alone"
        )


def open_collection(source: str | Path, *, corpus_only_ok: bool = True) -> Collection:
    """Find a collection, check the whole of it in one pass, and give it.

    Args:
        source: a folder (BEIR's layout; JSONL, TSV or Parquet; or made by `datasets.save_to_disk`), a single file of
            documents, `hf:NAME[/CONFIG]`, or `ir_datasets:NAME`.
        corpus_only_ok: whether a collection without judgments will do.

    Raises:
        InputError: names file, line or id, and the remedy.
        MissingExtra: the source needs a package that is not installed.
    """
    found = find_source(str(source))
    if not corpus_only_ok and not found.judgments:
        raise InputError(
            "the collection has no judgments",
            where=found.address,
            fix="add queries.jsonl and qrels/test.tsv: nothing can be measured without",
        )
    return Collection(found, check(found))
