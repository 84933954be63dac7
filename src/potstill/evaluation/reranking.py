"""Systems that put given lists of candidates in another order: how they compare with each other and with search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from . import exclusion
from .exclusion import Collection, Mode
from .judging import judge, judged_queries
from .measures import DEFAULT_MEASURES, parse_measures
from .result import TOP, Evaluation
from .search import Ranking

FIRST_STAGE = "first stage"  # the name of the candidates' own order, as a system


@dataclass(frozen=True)
class Reranked:
    """Candidates in a new order.

    Attributes:
        ranking: the order; a candidate without a score has a made-up one here, below all given ones of its query.
        unscored: how many candidates had no score.
    """

    ranking: Ranking
    unscored: int


def rerank(query_ids: Sequence[str], rows: np.ndarray, scores: np.ndarray, document_ids: Sequence[str]) -> Reranked:
    """Order each query's candidates by score, highest first; of equal scores the earlier candidate comes first.

    Candidates without a score come last, in their given order, and are counted.

    Args:
        query_ids: `n` ids.
        rows: `(n, c)` integers, rows of documents in the first stage's order; -1 where there is none.
        scores: `(n, c)` floats; NaN where a candidate has none. What stands beside a -1 is not read.
        document_ids: ids in the order of the documents' rows.

    Raises:
        InputError: counts that differ, a row of no document, a document twice in a list, an infinite score; names the
            query and the document.
    """
    _check_lists(query_ids, rows, document_ids)
    scores = np.asarray(scores, dtype=np.float64)
    _check_shape(scores, rows)
    there = rows >= 0
    scored = there & ~np.isnan(scores)
    endless = scored & (np.abs(scores) > np.finfo(np.float32).max)
    if endless.any():
        query, place = np.argwhere(endless)[0]
        raise InputError(
            f"the score of query {query_ids[query]!r} and document {document_ids[rows[query, place]]!r} is"
            f" {scores[query, place]:g} ({int(endless.sum())} such)",
            fix="scores must be numbers that float32 can hold; NaN says that there is none",
        )
    known = np.where(scored, scores, 0.0)
    order = np.lexsort((-known, ~scored, ~there))  # stable: the earlier candidate comes first among equals
    lowest = np.where(scored, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    missing = there & ~scored
    values = np.where(scored, scores, lowest - np.cumsum(missing, axis=1))
    return Reranked(_arranged(rows, values, order, there, len(document_ids)), int(missing.sum()))


def evaluate_reranking(
    collection: Collection,
    split: str,
    *,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    candidates: np.ndarray,
    systems: Mapping[str, np.ndarray | Ranking],
    measures: Sequence[str] = DEFAULT_MEASURES,
    reference: str = FIRST_STAGE,
    exclude_self: Mode = "auto",
    seed: int = 0,
) -> Evaluation:
    """Evaluate systems that re-rank the same candidates on a judged split; all are compared with `reference`.

    The candidates' own order is a system too, by the name `FIRST_STAGE`. `Evaluation.corrected` gives Holm's p over the
    systems of one measure, `Evaluation.values` what `paired` needs to test any two of them.

    Args:
        collection: gives judgments, texts and names.
        split: name of a judged split.
        query_ids: `n` ids, in the order of the candidates; those not judged are ignored.
        document_ids: ids in the order of the documents' rows.
        candidates: `(n, c)`, see `rerank`.
        systems: by name, either `(n, c)` scores of the candidates, or a `Ranking` of the `n` queries that the system
            made on its own, from all documents.
        measures: names of measures.
        reference: the system that all others are compared with.
        exclude_self: see the function of that name; such a document is taken out of lists and rankings.
        seed: of resampling.

    Raises:
        InputError: see `rerank` (named by system); unknown measure, split or reference, or no judged query.
    """
    names = parse_measures(measures)
    if FIRST_STAGE in systems:
        raise InputError(f"{FIRST_STAGE!r} is the candidates' own order", where="systems", fix="give another name")
    if reference not in {FIRST_STAGE, *systems}:
        raise InputError(
            f"there is no system {reference!r} to compare with: there are {', '.join([FIRST_STAGE, *systems])}",
            where="reference",
            fix="choose one of these",
        )
    _check_lists(query_ids, candidates, document_ids)
    place = {query_id: row for row, query_id in enumerate(query_ids)}
    searched = judged_queries(collection, split, query_ids, "list of candidates")
    chosen = np.array([place[query_id] for query_id in searched], dtype=np.int64)
    hidden = exclusion.exclude_self(collection, searched, exclude_self)
    own = np.array([rows[0] if len(rows) else -1 for rows in hidden.rows], dtype=np.int64)[:, None]
    rows = np.where(candidates[chosen] == own, -1, candidates[chosen])
    notes = [f"systems re-rank given lists of up to {candidates.shape[1]} documents: no other document can be found"]
    if empty := int((rows < 0).all(axis=1).sum()):
        notes.append(f"{empty} judged queries have an empty list; they count 0 for systems that re-rank")
    first = np.broadcast_to(0.0 - np.arange(rows.shape[1]), rows.shape)
    found = {FIRST_STAGE: rerank(searched, rows, first, document_ids).ranking}
    for name, said in systems.items():
        try:
            if isinstance(said, Ranking):
                _check_ranking(said, query_ids, document_ids)
                found[name] = _without(said.take(chosen), own)
                notes.append(f"{name} ranks the first {said.rows.shape[1]} of all documents and re-ranks no list")
            else:
                _check_shape(said, candidates)
                done = rerank(searched, rows, said[chosen], document_ids)
                found[name] = done.ranking
                if done.unscored:
                    notes.append(
                        f"{name}: {done.unscored} candidates have no score and come last, in their given order"
                    )
        except InputError as error:
            raise InputError(error.message, where=name, fix=error.fix) from None
    return judge(
        collection,
        split,
        document_ids=document_ids,
        searched=searched,
        rankings={name: _wide(found[name]) for name in sorted(found, key=lambda name: name != reference)},
        measures=names,
        depth=candidates.shape[1],
        hidden=hidden,
        notes=notes,
        lack="list of candidates",
        seed=seed,
    )


def _check_lists(query_ids: Sequence[str], rows: np.ndarray, document_ids: Sequence[str]) -> None:
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"candidates must be integers (n, c), not {rows.dtype} {rows.shape}")
    if len(rows) != len(query_ids):
        raise InputError(f"{len(rows)} lists of candidates for {len(query_ids)} queries", fix="give one list a query")
    odd = np.argwhere((rows < -1) | (rows >= len(document_ids)))
    if len(odd):
        query, place = odd[0]
        raise InputError(
            f"query {query_ids[query]!r} has a candidate of row {rows[query, place]}, and there are"
            f" {len(document_ids)} documents",
            fix="make the candidates again from this collection; -1 says that there is none",
        )
    ranked = np.sort(rows, axis=1)
    twice = np.argwhere((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0))
    if len(twice):
        query, place = twice[0]
        raise InputError(
            f"query {query_ids[query]!r} has the candidate {document_ids[ranked[query, place]]!r} twice",
            fix="give each document once a list",
        )


def _check_shape(scores: np.ndarray, candidates: np.ndarray) -> None:
    if np.shape(scores) != candidates.shape:
        raise InputError(
            f"scores of shape {np.shape(scores)} for candidates of shape {candidates.shape}",
            fix="give one score for each candidate, NaN where there is none",
        )


def _check_ranking(ranking: Ranking, query_ids: Sequence[str], document_ids: Sequence[str]) -> None:
    if len(ranking) != len(query_ids) or ranking.documents != len(document_ids):
        raise InputError(
            f"a ranking of {len(ranking)} queries over {ranking.documents} documents, where there are"
            f" {len(query_ids)} and {len(document_ids)}",
            fix="rank these queries over the documents of this collection",
        )


def _without(ranking: Ranking, own: np.ndarray) -> Ranking:
    kept = (ranking.rows >= 0) & (ranking.rows != own)
    order = np.argsort(~kept, axis=1, kind="stable")
    return _arranged(ranking.rows, ranking.scores, order, kept, ranking.documents)


def _arranged(rows: np.ndarray, values: np.ndarray, order: np.ndarray, kept: np.ndarray, documents: int) -> Ranking:
    rows, values = np.where(kept, rows, -1), np.where(kept, values, -np.inf)
    rows, values = np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
    return Ranking(rows.astype(np.int64), values.astype(np.float32), documents)


def _wide(ranking: Ranking) -> Ranking:
    """The same ranking, at least as wide as agreement looks."""
    more = max(0, TOP - ranking.rows.shape[1])
    rows = np.pad(ranking.rows, ((0, 0), (0, more)), constant_values=-1)
    return Ranking(rows, np.pad(ranking.scores, ((0, 0), (0, more)), constant_values=-np.inf), ranking.documents)
