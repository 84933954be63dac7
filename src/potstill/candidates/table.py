"""Candidates of many queries: rows of documents, where each came from, and how it was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing_folder
from ..errors import InputError

_FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """How one source of candidates was made; `settings` hold JSON values."""

    source: str
    """"vectors", "bm25", "random" or a name of one's own."""
    settings: dict[str, Any]
    queries: int
    positives_kept_out: int = 0
    """Judged pairs that could have been found and were not allowed."""
    positives_unknown: int = 0
    """Judged pairs whose document is not in the collection."""
    short: int = 0
    """Queries with fewer candidates than asked for."""
    copies_kept_out: int = 0
    """Other documents with the text of a known positive that were not allowed either, counted for each query."""
    found: int | None = None
    """Candidates that the source gave; those that are left are this less the sum of `dropped`. None in old files."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Candidates of this source that were left out later, by rule."""


@dataclass(frozen=True)
class Candidates:
    """For each of n queries, up to k documents, best first.

    Attributes:
        query_ids: n ids.
        rows: (n, k) int64 rows of documents, in the order of the collection; -1 where there is none.
        scores: (n, k) float32 of the source that found them, comparable within one query and source, or of one teacher
            for all (`rescore`); -inf where none.
        source: (n, k) uint8, the position in `provenance` of the source that found it first.
        provenance: how each source was made.
        documents: how many documents the collection has.
        document_digest: identity of the ids of the collection's documents and their order.
    """

    query_ids: tuple[str, ...]
    rows: np.ndarray
    scores: np.ndarray
    source: np.ndarray
    provenance: tuple[Provenance, ...]
    documents: int
    document_digest: str

    def __post_init__(self) -> None:
        shape = (len(self.query_ids), self.rows.shape[1] if self.rows.ndim == 2 else -1)
        for name, array, kind in (
            ("rows", self.rows, np.int64),
            ("scores", self.scores, np.float32),
            ("source", self.source, np.uint8),
        ):
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} must be {np.dtype(kind)} {shape}, not {array.dtype} {array.shape}")
        if len(set(self.query_ids)) < len(self.query_ids):
            raise ValueError("query_ids are not all different")
        if self.rows.size and (self.rows.max() >= self.documents or self.rows.min() < -1):
            raise ValueError(f"rows must be -1 to {self.documents - 1}")

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def mask(self) -> np.ndarray:
        """(n, k) bool, True where there is a candidate."""
        return self.rows >= 0

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {query_id: i for i, query_id in enumerate(self.query_ids)}

    def positions(self, query_ids: Iterable[str]) -> np.ndarray:
        """Row numbers of queries in these tables; -1 for a query without candidates."""
        return np.array([self._positions.get(query_id, -1) for query_id in query_ids], dtype=np.int64)

    def without(self, gone: Mapping[str, np.ndarray]) -> Candidates:
        """Leave some out: holes are closed, the order stays, and the provenance counts each under the rule it fell to.

        Args:
            gone: rule -> (n, k) bool; a candidate that several rules name counts under the first.
        """
        left = self.mask
        dropped = [dict(provenance.dropped) for provenance in self.provenance]
        for rule, named in gone.items():
            hit = named & left
            counts = np.bincount(self.source[hit], minlength=len(dropped)).tolist()
            for of_source, count in zip(dropped, counts, strict=True):
                of_source[rule] = of_source.get(rule, 0) + count
            left = left & ~hit
        width = int(left.sum(axis=1).max(initial=0))
        order = np.argsort(~left, axis=1, kind="stable")[:, :width]
        held = np.take_along_axis(left, order, axis=1)

        def closed(array: np.ndarray, empty: float) -> np.ndarray:
            return np.where(held, np.take_along_axis(array, order, axis=1), np.array(empty, array.dtype))

        return replace(
            self,
            rows=closed(self.rows, -1),
            scores=closed(self.scores, -np.inf),
            source=closed(self.source, 0),
            provenance=tuple(
                replace(provenance, dropped=of_source)
                for provenance, of_source in zip(self.provenance, dropped, strict=True)
            ),
        )

    def save(self, folder: Path) -> None:
        """Write `rows.npy`, `scores.npy`, `source.npy` and `candidates.json`, all or nothing; replaces an older one."""
        with replacing_folder(folder) as path:
            for name in ("rows", "scores", "source"):
                np.save(path / f"{name}.npy", getattr(self, name), allow_pickle=False)
            about = {
                "format": _FORMAT,
                "documents": self.documents,
                "document_digest": self.document_digest,
                "provenance": [asdict(p) for p in self.provenance],
                "query_ids": self.query_ids,
            }
            (path / "candidates.json").write_text(
                json.dumps(about, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )


def load_candidates(folder: Path, document_ids: Sequence[str] | None = None) -> Candidates:
    """Read what `Candidates.save` wrote.

    Args:
        folder: where.
        document_ids: the collection's, to make sure that the rows are rows of it.

    Raises:
        InputError: missing or broken files, or candidates of another collection.
    """
    fix = "mine the candidates anew"
    try:
        about = json.loads((folder / "candidates.json").read_text(encoding="utf-8"))
        if about["format"] != _FORMAT:
            raise InputError(f"candidates of format {about['format']}, not {_FORMAT}", where=str(folder), fix=fix)
        candidates = Candidates(
            query_ids=tuple(about["query_ids"]),
            provenance=tuple(Provenance(**p) for p in about["provenance"]),
            documents=about["documents"],
            document_digest=about["document_digest"],
            **{name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("rows", "scores", "source")},
        )
    except FileNotFoundError as error:
        raise InputError(f"no candidates here: {error.filename} is missing", where=str(folder), fix=fix) from None
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise InputError(f"cannot read the candidates: {error}", where=str(folder), fix=fix) from None
    if document_ids is not None and document_digest(document_ids) != candidates.document_digest:
        raise InputError(
            f"these candidates are rows of another collection ({candidates.documents:,} documents; this one has "
            f"{len(document_ids):,})",
            where=str(folder),
            fix=fix,
        )
    return candidates


def document_digest(document_ids: Iterable[str]) -> str:
    """Identity of ids and their order: BLAKE2b of each id's length and UTF-8 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for document_id in document_ids:
        data = document_id.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
