"""What a scorer says of every query with each of its candidates: from the store, which is filled on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..collection import Collection
from ..errors import InputError
from ..signals import SignalStore, VectorTable, fill, pair_text
from ..students.counting import chunks
from ..teachers import PairSignal, Scorer
from .list_scorers import ListScorer

AnyScorer = Scorer | ListScorer

Texts = Mapping[int, str] | Sequence[str]
"""A document's text by its row."""

_BLOCK = 16_384  # pairs looked up at a time


@dataclass(frozen=True)
class PairScores:
    """Scores of candidates.

    Attributes:
        scores: (n, c) float32; NaN where a list has no candidate, or a candidate no score.
        pairs: candidates scored.
        truncated: how many of them the scorer read cut at its maximum length.
    """

    scores: np.ndarray
    pairs: int
    truncated: int

    @property
    def mask(self) -> np.ndarray:
        """(n, c) bool, True where there is a score."""
        mask: np.ndarray = ~np.isnan(self.scores)
        return mask


@dataclass(frozen=True)
class PairVectors:
    """The two vectors of each candidate's pair, read from the store when asked for.

    Attributes:
        table: holds both of a pair end to end, the query's side first.
        rows: (n, c) int64 row of each pair in it; -1 where a list has no candidate.
        dimensions: width d of each of the two.
        pairs: candidates read.
        truncated: how many of them the scorer read cut at its maximum length.
    """

    table: VectorTable
    rows: np.ndarray
    dimensions: int
    pairs: int
    truncated: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, c, d)."""
        n, c = self.rows.shape
        return n, c, self.dimensions

    @property
    def mask(self) -> np.ndarray:
        """(n, c) bool, True where there are vectors."""
        mask: np.ndarray = self.rows >= 0
        return mask

    def gather(self, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The query's and the document's side of these m lists: (m, c, d) float32 each; NaN where no candidate is."""
        wanted = self.rows[lists]
        both = np.full((*wanted.shape, 2 * self.dimensions), np.nan, dtype=np.float32)
        held = wanted >= 0
        both[held] = self.table.gather(wanted[held])
        return both[..., : self.dimensions], both[..., self.dimensions :]


def candidate_texts(collection: Collection, rows: np.ndarray) -> dict[int, str]:
    """The texts of the documents that occur in `rows`, by row; the others are streamed past and never held.

    Raises:
        InputError: a row is not one of the collection's.
    """
    wanted = np.unique(rows[rows >= 0]).tolist()
    found = dict(zip(wanted, collection.texts(wanted), strict=False))  # the rows rise, so what is missing is the last
    if len(found) < len(wanted):
        raise InputError(
            f"candidate row {wanted[-1]} is no document: the collection has {collection.document_count:,}",
            where=collection.source,
            fix="mine the candidates anew",
        )
    return found


def pair_scores(
    scorer: AnyScorer, queries: Sequence[str], documents: Texts, rows: np.ndarray, signals: Path | None, label: str
) -> PairScores:
    """The scorer's scores of every query's candidates; scores what the store lacks, each distinct pair once.

    A scorer of lists is asked anew: it may have no score of some candidates.

    Args:
        scorer: the teacher of scores.
        queries: n texts.
        documents: text of each document that occurs in `rows`; see `candidate_texts`.
        rows: (n, c) int64 rows of candidates, -1 where there is none.
        signals: the signal store; None: the default one.
        label: what the progress line says.

    Raises:
        InputError: rows that do not fit the queries or texts, a score that is not finite, or a pair without a score.
        PotstillError: the store cannot be written.
    """
    if isinstance(scorer, ListScorer):
        said = scorer.of_lists(queries, rows)
        return PairScores(said, int((~np.isnan(said)).sum()), 0)
    table, where, cut = _filled(scorer, "scores", SignalStore(signals, "float32"), queries, documents, rows, label)
    scores = np.full(rows.shape, np.nan, dtype=np.float32)
    scores[rows >= 0] = np.concatenate([np.zeros((0, 1), np.float32), *table.chunks(where, _BLOCK)])[:, 0]
    return PairScores(scores, len(where), cut)


def pair_vectors(
    scorer: Scorer, queries: Sequence[str], documents: Texts, rows: np.ndarray, signals: Path | None, label: str
) -> PairVectors:
    """The two vectors of every query with each of its candidates; as `pair_scores`, but they stay on disk.

    Raises:
        InputError: as `pair_scores`, and where the scorer has no vectors.
        PotstillError: the store cannot be written.
    """
    table, where, cut = _filled(scorer, "pair_vectors", SignalStore(signals), queries, documents, rows, label)
    held = np.full(rows.shape, -1, dtype=np.int64)
    held[rows >= 0] = where
    return PairVectors(table, held, table.dimensions // 2, len(where), cut)


def _filled(
    scorer: Scorer,
    signal: PairSignal,
    store: SignalStore,
    queries: Sequence[str],
    documents: Texts,
    rows: np.ndarray,
    label: str,
) -> tuple[VectorTable, np.ndarray, int]:
    """The table; the row (k,) in it of each of the k candidates, in reading order; how many of them are cut."""
    _check(scorer, queries, documents, rows)
    source = scorer.source(signal)
    table = store.vectors(source.fingerprint("pair"))
    total = int((rows >= 0).sum())
    fill(table, source, _pairs(queries, documents, rows), "pair", label=label, total=total)
    parts, cut = [np.empty(0, dtype=np.int64)], 0
    for block in chunks(_pairs(queries, documents, rows), _BLOCK):
        parts.append(table.rows(block))
        cut += source.truncated(block, "pair")
    where = np.concatenate(parts)
    if len(where) != total or (total and where.min() < 0):
        raise InputError(
            f"{scorer.name} gave {int((where >= 0).sum()):,} {signal} for {total:,} candidates, although the store was "
            "just filled",
            where=str(table.folder),
            fix="run `potstill signals verify`, then the same command again",
        )
    return table, where, cut


def _pairs(queries: Sequence[str], documents: Texts, rows: np.ndarray) -> Iterator[str]:
    """Every query with each of its candidates, one at a time: all of them together could be too many to hold."""
    for query, line in zip(queries, rows, strict=True):
        for row in line[line >= 0].tolist():
            yield pair_text(query, documents[row])


def _check(scorer: Scorer, queries: Sequence[str], documents: Texts, rows: np.ndarray) -> None:
    if rows.ndim != 2 or rows.dtype.kind != "i" or len(rows) != len(queries):
        raise InputError(
            f"candidates must be rows of documents, one list for each of the {len(queries):,} queries, not "
            f"{rows.dtype} {rows.shape}",
            where=scorer.name,
            fix="mine the candidates for these queries",
        )
    occurring = np.unique(rows[rows >= 0]).tolist()
    held = range(len(documents)) if isinstance(documents, Sequence) else documents
    missing = [row for row in occurring if row not in held]
    if missing:
        raise InputError(
            f"{len(missing):,} candidates are rows without a text; the first is {missing[0]}",
            where=scorer.name,
            fix="mine the candidates anew from this collection",
        )
