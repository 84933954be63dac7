"""Candidates that were found before: a folder that `Candidates.save` wrote, a TREC run, or scores parted by tabs."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..collection.lines import read_lines
from ..collection.records import JUDGED_DOCUMENTS, JUDGED_QUERIES
from ..errors import InputError
from .table import load_candidates

Ranking = tuple[np.ndarray, np.ndarray, dict[str, Any]]
"""(n, m) int64 rows and float32 scores, best first, -1 and -inf where there is none; settings for the provenance."""

_FORMAT = (
    "a line is `query-id Q0 document-id rank score tag`, or query-id, document-id and score parted by tabs (a "
    "header may name other columns)"
)


def saved_ranking(path: Path, query_ids: Sequence[str], document_ids: Sequence[str], depth: int) -> Ranking:
    """Read a folder or a file of candidates as the ranking of these queries.

    Queries of it that are not asked for are left out; those that it lacks get nothing; documents that are not in the
    collection are left out. All of it is counted in the settings.

    Args:
        path: folder or file (`.gz` too).
        query_ids: n ids.
        document_ids: ids of the documents, in the order of the collection.
        depth: how many a query are kept.

    Raises:
        InputError: nothing there, a broken file (names the line), or none of its queries or documents is known here.
    """
    require_there(path)
    read = _folder if path.is_dir() else _file
    return read(path, query_ids, document_ids, depth)


def require_there(path: Path) -> None:
    """Raise InputError unless there is a folder or a file by this name."""
    if not path.exists():
        raise InputError(
            f"there is no folder or file {str(path)!r}",
            where="candidates.sources",
            fix="name `teacher`, `bm25`, `random`, a folder of saved candidates, or a file of scores",
        )


def _folder(path: Path, query_ids: Sequence[str], document_ids: Sequence[str], depth: int) -> Ranking:
    saved = load_candidates(path, document_ids)
    place = saved.positions(query_ids)
    there = int((place >= 0).sum())
    _require_shared(path, "queries", there, len(saved))
    rows = np.full((len(query_ids), min(depth, saved.rows.shape[1])), -1, dtype=np.int64)
    scores = np.full(rows.shape, -np.inf, dtype=np.float32)
    rows[place >= 0] = saved.rows[place[place >= 0], :depth]
    scores[place >= 0] = saved.scores[place[place >= 0], :depth]
    settings = {
        "path": str(path),
        "made_of": [asdict(provenance) for provenance in saved.provenance],
        "queries_without": len(query_ids) - there,
        "queries_not_asked_for": len(saved) - there,
    }
    return rows, scores, settings


def _file(path: Path, query_ids: Sequence[str], document_ids: Sequence[str], depth: int) -> Ranking:
    query_of = {query_id: i for i, query_id in enumerate(query_ids)}
    row_of = {document_id: row for row, document_id in enumerate(document_ids)}
    queries, rows, scores, lines = array("q"), array("q"), array("d"), array("q")
    strangers: set[str] = set()
    foreign = 0
    for number, query_id, document_id, score in _entries(path):
        if query_id not in query_of:
            strangers.add(query_id)
            continue
        queries.append(query_of[query_id])
        rows.append(row_of.get(document_id, -1))
        scores.append(score)
        lines.append(number)
        foreign += document_id not in row_of
    query, row, value = np.array(queries), np.array(rows), np.array(scores)
    there = len(np.unique(query))
    _require_shared(path, "queries", there, len(strangers))
    _require_shared(path, "documents", len(row) - foreign, foreign)
    known = row >= 0
    query, row, value, line = query[known], row[known], value[known], np.array(lines)[known]
    _require_once(path, query, row, line, query_ids, document_ids)
    # Best first; equal scores stay in the order of the file.
    order = np.lexsort((line, -value, query))
    query, row, value = query[order], row[order], value[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    kept = rank < depth
    shape = (len(query_ids), int(rank[kept].max(initial=-1)) + 1)
    found, values = np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32)
    found[query[kept], rank[kept]] = row[kept]
    values[query[kept], rank[kept]] = value[kept]
    settings = {
        "path": str(path),
        "queries_without": len(query_ids) - there,
        "queries_not_asked_for": len(strangers),
        "documents_not_in_the_collection": foreign,
    }
    return found, values, settings


def _entries(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Stream (line, query id, document id, score); a header may name the columns of tab-parted scores, in any order."""
    places: tuple[int, int, int] = (0, 1, 2)
    width = 3
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        if number == 1 and (named := _columns(fields)) is not None:
            places, width = named, len(fields)
            continue
        if len(fields) == width:
            query_id, document_id, score = (fields[place] for place in places)
        elif len(fields := line.split()) == 6 and width == 3:
            query_id, _, document_id, _, score, _ = fields
        else:
            raise InputError(f"{len(fields)} fields", where=f"{path}:{number}", fix=_FORMAT)
        try:
            value = float(score)
        except ValueError:
            raise InputError(f"the score {score!r} is not a number", where=f"{path}:{number}", fix=_FORMAT) from None
        if not math.isfinite(value):
            raise InputError(
                f"the score {score!r} is not finite",
                where=f"{path}:{number}",
                fix="every score must be a finite number",
            )
        yield number, query_id, document_id, value


def _columns(fields: Sequence[str]) -> tuple[int, int, int] | None:
    """Where a header has query id, document id and score; None: this is no header."""
    names = [field.casefold() for field in fields]
    if "score" not in names:
        return None
    query = next((names.index(name) for name in JUDGED_QUERIES if name in names), 0)
    document = next((names.index(name) for name in JUDGED_DOCUMENTS if name in names), 1)
    return query, document, names.index("score")


def _require_shared(path: Path, what: str, there: int, others: int) -> None:
    if there:
        return
    raise InputError(
        f"none of its {what} ({others:,}) is known here" if others else f"holds no {what}",
        where=str(path),
        fix=f"give candidates of this collection's {what}, by the same ids",
    )


def _require_once(
    path: Path,
    query: np.ndarray,
    row: np.ndarray,
    line: np.ndarray,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
) -> None:
    order = np.lexsort((line, row, query))
    again = (query[order][1:] == query[order][:-1]) & (row[order][1:] == row[order][:-1])
    if again.any():
        second = order[1:][again]
        first = second[np.argmin(line[second])]
        raise InputError(
            f"query {query_ids[query[first]]!r} has document {document_ids[row[first]]!r} twice",
            where=f"{path}:{line[first]}",
            fix="keep one line for each query and document",
        )
