"""The file forms of a table: JSON lines, tab-separated values, Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingExtra
from .lines import read_lines, unreadable
from .records import COLUMNS, DOCUMENT_IDS, JUDGED_QUERIES, QUERY_IDS, Cells, Table

TEXT_FORMS = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet")
"""What a corpus or queries may end in."""

JUDGMENT_FORMS = (*TEXT_FORMS, ".txt", ".txt.gz", ".qrels", ".qrels.gz")
"""What a file of judgments may end in."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def stem(path: Path, forms: tuple[str, ...]) -> str | None:
    """The name of a file without its form (`test` for `test.tsv.gz`); None where it ends in none of them."""
    for form in sorted(forms, key=len, reverse=True):
        if path.name.endswith(form) and path.name != form:
            return path.name.removesuffix(form)
    return None


def open_table(path: Path, *, judgments: bool = False) -> Table:
    """The table in a file, by its ending; nothing is read yet."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return Parquet(path)
    if name.endswith(".jsonl"):
        return JsonLines(path)
    if judgments:
        trec = {4: ("query-id", "iteration", "corpus-id", "score")}
        return Tsv(
            path, headerless=trec, known=frozenset(JUDGED_QUERIES), header="query-id\tcorpus-id\tscore", spaces=True
        )
    known = frozenset(DOCUMENT_IDS + QUERY_IDS)
    return Tsv(path, headerless={2: ("_id", "text")}, known=known, header="_id\ttitle\ttext")


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line; blank lines hold nothing and are passed over."""

    path: Path
    typed: bool = field(default=False, init=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream (line number, object)."""
        for number, line in read_lines(self.path):
            if not line or line.isspace():
                continue
            try:
                cells = json.loads(line)
            except json.JSONDecodeError as error:
                raise self._malformed(number, f"malformed JSON: {error.msg} at column {error.colno}") from None
            except (ValueError, RecursionError) as error:
                raise self._malformed(number, f"malformed JSON: {error}") from None
            if not isinstance(cells, dict):
                raise self._malformed(number, "the line is JSON, but not an object")
            if _SURROGATE.search(line):
                cells = {key: _mend(value) for key, value in cells.items()}
            yield number, cells

    def where(self, row: int) -> str:
        """`file:line`."""
        return f"{self.path}:{row}"

    def _malformed(self, number: int, problem: str) -> InputError:
        return InputError(
            problem, where=self.where(number), fix="write one whole JSON object a line, strings in double quotes"
        )


@dataclass(frozen=True)
class Tsv:
    """Tab-separated values without quoting, with a header, or with a known number of columns and none.

    Args:
        headerless: number of columns -> their names, for files that start with data.
        known: names of which a first line must hold one to be a header.
        header: an example for messages.
        spaces: split a line without tabs at white space, as TREC files need it.
    """

    path: Path
    headerless: Mapping[int, tuple[str, ...]]
    known: frozenset[str]
    header: str
    spaces: bool = False
    typed: bool = field(default=False, init=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream (line number, column name -> string)."""
        names: tuple[str, ...] | None = None
        for number, line in read_lines(self.path):
            if not line or line.isspace():
                continue
            cells = line.split() if self.spaces and "\t" not in line else line.split("\t")
            if names is None:
                names = self._header(cells, number)
                if names is not None:
                    continue
                names = self.headerless[len(cells)]
            if len(cells) != len(names):
                raise InputError(
                    f"{len(cells)} columns instead of {len(names)}",
                    where=self.where(number),
                    fix=f"separate {', '.join(names)} by single tabs, and have no tab inside a value",
                )
            yield number, dict(zip(names, cells, strict=True))

    def where(self, row: int) -> str:
        """`file:line`."""
        return f"{self.path}:{row}"

    def _header(self, cells: list[str], number: int) -> tuple[str, ...] | None:
        """The names in a header; None where the first line is data of a known number of columns."""
        names = tuple(cell.strip().lower() for cell in cells)
        if self.known.isdisjoint(names):
            if len(cells) in self.headerless:
                return None
            raise InputError(
                f"the first line is no header, and {len(cells)} columns without one can mean anything",
                where=self.where(number),
                fix=f"begin the file with a line that names the columns, such as {self.header!r}",
            )
        if len(set(names)) != len(names):
            raise InputError("the header names a column twice", where=self.where(number), fix="keep one of the two")
        return names


@dataclass(frozen=True)
class Parquet:
    """A Parquet file, read in batches; only the columns that a collection can use are loaded."""

    path: Path
    batch_rows: int = 1024
    typed: bool = field(default=True, init=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream (row number from 1, column name -> value)."""
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise MissingExtra("pyarrow", "train") from None
        number = 0
        try:
            with parquet.ParquetFile(self.path) as file:
                names = [name for name in file.schema_arrow.names if name in COLUMNS]
                for batch in file.iter_batches(batch_size=self.batch_rows, columns=names):
                    for cells in batch.to_pylist():
                        number += 1
                        yield number, cells
        except pyarrow.ArrowException as error:
            raise InputError(
                f"broken Parquet file: {error}", where=self.where(number + 1), fix="write or download it again"
            ) from None
        except OSError as error:
            raise unreadable(self.path, error) from None

    def where(self, row: int) -> str:
        """`file, row n`."""
        return f"{self.path}, row {row}"


def _mend(value: Any) -> Any:
    """Replace lone surrogates, which no tokenizer or file can take, by U+FFFD; documents that hold it are counted."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
