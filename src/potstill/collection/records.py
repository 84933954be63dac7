"""What a collection is made of, and how one row of any table becomes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..errors import InputError

Qrels = dict[str, dict[str, int]]
"""Query id -> document id -> grade; above 0 is relevant, 0 and below is judged and not relevant."""

Cells = Mapping[str, Any]
"""One row of a table: column name -> value."""

DOCUMENT_IDS = ("_id", "id", "doc_id", "docid", "docno", "document_id", "pid", "corpus-id", "corpus_id")
QUERY_IDS = ("_id", "id", "query_id", "qid", "query-id")
TITLES = ("title",)
DOCUMENT_TEXTS = ("text", "contents", "body", "passage", "document")
QUERY_TEXTS = ("text", "query", "question", "contents")
JUDGED_QUERIES = ("query-id", "query_id", "qid", "topic")
JUDGED_DOCUMENTS = ("corpus-id", "corpus_id", "doc_id", "docid", "doc-id", "docno", "document_id", "pid")
GRADES = ("score", "relevance", "grade", "label", "rel")

COLUMNS = frozenset(
    DOCUMENT_IDS + QUERY_IDS + TITLES + DOCUMENT_TEXTS + QUERY_TEXTS + JUDGED_QUERIES + JUDGED_DOCUMENTS + GRADES
)
"""Every column name that is read; tables with columns load no others."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus."""

    id: str
    title: str
    text: str

    @property
    def full(self) -> str:
        """Title and text joined by one space and stripped: what bi-encoders are given."""
        return f"{self.title} {self.text}".strip()


class Judgment(NamedTuple):
    """One row of judgments."""

    query: str
    document: str
    grade: int


class Table(Protocol):
    """Rows of one file or data set, in order, each with a number that `where` turns into a place for people."""

    @property
    def typed(self) -> bool:
        """True where columns have types of their own, so that whole numbers can be ids without doubt."""

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream the rows; raises InputError at the first one that cannot be read."""

    def where(self, row: int) -> str:
        """The place of a row: `corpus.jsonl:12`."""


def read_documents(tables: Iterable[Table]) -> Iterator[tuple[Table, int, Document]]:
    """Stream documents with their places; raises InputError for a row that is not one."""
    for table in tables:
        for row, cells in table.rows():
            name = _identifier(cells, DOCUMENT_IDS, table, row)
            title = next((cells[key] for key in TITLES if key in cells), None)
            if title is None:
                title = ""
            elif not isinstance(title, str):
                raise InputError(
                    f"the title of document {name} is {_kind(title)}",
                    where=table.where(row),
                    fix="make `title` a string, or leave it out",
                )
            yield table, row, Document(name, title, _text(cells, DOCUMENT_TEXTS, name, table, row))


def read_queries(tables: Iterable[Table]) -> Iterator[tuple[Table, int, str, str]]:
    """Stream queries as (table, row, id, text); raises InputError for a row that is not one."""
    for table in tables:
        for row, cells in table.rows():
            name = _identifier(cells, QUERY_IDS, table, row)
            yield table, row, name, _text(cells, QUERY_TEXTS, name, table, row)


def read_judgments(table: Table) -> Iterator[tuple[int, Judgment]]:
    """Stream judgments with their row numbers; raises InputError for a row that is not one."""
    for row, cells in table.rows():
        query = _identifier(cells, JUDGED_QUERIES, table, row)
        document = _identifier(cells, JUDGED_DOCUMENTS, table, row)
        yield row, Judgment(query, document, _grade(cells, table, row))


def _identifier(cells: Cells, names: tuple[str, ...], table: Table, row: int) -> str:
    value: Any = None
    for name in names:
        if name in cells:
            value = cells[name]
            break
    else:
        raise _no_field("id", cells, names, table, row)
    if isinstance(value, str):
        if value.strip():
            return value
        raise InputError(f"`{name}` is empty", where=table.where(row), fix="give every row an id of its own")
    if table.typed and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(
        f"`{name}` is {_kind(value)}, not a string",
        where=table.where(row),
        fix='write ids in quotes: {"_id": "17", ...}',
    )


def _text(cells: Cells, names: tuple[str, ...], identifier: str, table: Table, row: int) -> str:
    for name in names:
        if name in cells:
            value = cells[name]
            if isinstance(value, str):
                return value
            raise InputError(
                f"`{name}` of {identifier} is {_kind(value)}, not a string",
                where=table.where(row),
                fix='make it a string; an empty one ("") says that there is no text',
            )
    raise _no_field("text", cells, names, table, row)


def _grade(cells: Cells, table: Table, row: int) -> int:
    for name in GRADES:
        if name in cells:
            value = cells[name]
            if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
                return int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, float) and value.is_integer():
                return int(value)
            raise InputError(
                f"the grade {value!r} is not a whole number",
                where=table.where(row),
                fix="write grades as whole numbers: 0 is judged and not relevant, 1 and above is relevant",
            )
    raise _no_field("grade", cells, GRADES, table, row)


def _no_field(what: str, cells: Cells, names: tuple[str, ...], table: Table, row: int) -> InputError:
    found = ", ".join(f"`{name}`" for name in cells) or "nothing"
    return InputError(
        f"no {what}: there is {found}",
        where=table.where(row),
        fix=f"name the field `{names[0]}` (or {', '.join(f'`{name}`' for name in names[1:])})",
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), f"of type {type(value).__name__}")
