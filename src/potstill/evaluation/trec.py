"""Run files in TREC's format: `query-id Q0 document-id rank score tag`, one ranked document a line."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from ..atomic import replacing
from ..errors import InputError

_FORMAT = "a line is `query-id Q0 document-id rank score tag`, six fields parted by white space"


def write_run(path: str | Path, run: Mapping[str, Sequence[tuple[str, float]]], *, tag: str = "potstill") -> None:
    """Write a run atomically; ranks count from 1.

    Other tools order equal scores by document id, whatever the rank says: their figures may differ from ours there.

    Args:
        path: file to write.
        run: query id -> (document id, score), best first.
        tag: name of the system.

    Raises:
        InputError: an id or the tag is empty or holds white space, which the format cannot express.
    """
    path = Path(path)
    _check_word(tag, "the tag", path)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for query_id, ranked in run.items():
            _check_word(query_id, "query id", path)
            for rank, (document_id, score) in enumerate(ranked, 1):
                _check_word(document_id, "document id", path)
                file.write(f"{query_id} Q0 {document_id} {rank} {float(score)!r} {tag}\n")


def read_run(path: str | Path) -> dict[str, list[tuple[str, float]]]:
    """Read a run file, plain or `.gz`.

    Returns:
        query id -> (document id, score), highest score first; equal scores stay in the order of their ranks.

    Raises:
        InputError: names file and line of a malformed line, a score that is no finite number, or a document that a
            query ranks twice.
    """
    path = Path(path)
    ranked: dict[str, dict[str, tuple[float, int]]] = {}
    for where, line in _lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 6:
            raise InputError(f"{len(fields)} fields instead of 6", where=where, fix=_FORMAT)
        query_id, _, document_id, rank, score, _ = fields
        try:
            entry = float(score), int(rank)
        except ValueError:
            raise InputError(f"rank {rank!r} or score {score!r} is not a number", where=where, fix=_FORMAT) from None
        if not math.isfinite(entry[0]):
            raise InputError(
                f"the score {score!r} is not finite", where=where, fix="every score must be a finite number"
            )
        if document_id in ranked.setdefault(query_id, {}):
            raise InputError(
                f"query {query_id!r} ranks document {document_id!r} twice",
                where=where,
                fix="keep one line for each query and document",
            )
        ranked[query_id][document_id] = entry
    return {
        query_id: [
            (document_id, score)
            for document_id, (score, _) in sorted(entries.items(), key=lambda item: (-item[1][0], item[1][1]))
        ]
        for query_id, entries in ranked.items()
    }


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (file:line, line)."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", line.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("not UTF-8", where=f"{path}:{number}", fix="convert the file to UTF-8") from None
    except FileNotFoundError:
        raise InputError("there is no such file", where=str(path), fix="check the path of the run file") from None
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix="check the file") from None


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _check_word(word: str, what: str, path: Path) -> None:
    if not word or word.split() != [word]:
        raise InputError(
            f"{what} {word!r} is empty or holds white space, which run files cannot express",
            where=str(path),
            fix="use ids without white space",
        )
