"""A recipe's candidates: every source mined, filtered, merged, with the teacher's scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..recipe import CandidatesSpec
from .approximate import ApproximateIndex, by_vectors_approximately, require_faiss
from .copies import text_groups
from .filtering import by_teacher_score, drop_copies, drop_near_duplicates, keep_first, skip_first
from .language import bm25_for, drawn_to_read
from .mining import (
    Search,
    by_chance,
    by_judgments,
    by_ranking,
    by_vectors,
    by_words,
    known_positives,
    mine,
    positive_ids,
)
from .mixing import merge
from .saved import require_there, saved_ranking
from .scoring import rescore, worst_scores
from .table import Candidates
from .vectors import Metric, Vectors, gatherer, in_chunks

_WORTH_AN_INDEX = 10_000  # fewer documents are searched exactly, which takes no longer


def assemble(
    spec: CandidatesSpec,
    *,
    query_ids: Sequence[str],
    query_texts: Sequence[str],
    query_vectors: np.ndarray | Iterable[np.ndarray],
    documents: Vectors,
    document_ids: Sequence[str],
    document_texts: Callable[[], Iterable[str]],
    positives: Mapping[str, Collection[str]],
    metric: Metric,
    seed: int,
    teacher: str = "teacher",
    judged: Mapping[str, Mapping[str, int]] | None = None,
) -> Candidates:
    """Mine each source, leave out what is or may be relevant, merge the sources in turn, keep `count` a query.

    Never among the candidates: known positives (ids are compared as ids) and documents with the text of one. A
    document's text comes once. Then, in this order: the first `skip` of each source (but not of `random`, whose order
    means nothing), the teacher's score, near duplicates, `count`. The provenance counts all of it.

    Args:
        spec: the recipe's `candidates`.
        query_ids: n ids.
        query_texts: n texts, for `bm25`.
        query_vectors: (n, d) the teacher's vectors of the queries, or consecutive chunks of them; held in memory.
        documents: the teacher's vectors of the documents: a matrix, or an object with `gather(rows)` and `len`.
        document_ids: ids of the documents, in the order of the collection.
        document_texts: gives a fresh pass over the texts of the documents, in the same order.
        positives: query id -> ids of its known positives, of training queries only: judgments of a split that may be
            learned from, and the document that a query was made from (`with_sources`). Entries of other queries are
            not read.
        metric: how the teacher compares.
        seed: of `random` and of the approximate index.
        teacher: written into the provenance beside the scores.
        judged: query id -> document id -> grade, for `judged`; grades are not read.

    Returns:
        Candidates in the order of the sources' turns, with the teacher's scores for all.

    Raises:
        InputError: an unknown, repeated or broken source; ids that are not strings; a filter that cannot work.
        MissingExtra: `bm25` without bm25s, or `approximate` without faiss.
    """
    check_sources(spec, len(document_ids))
    queries = query_vectors if isinstance(query_vectors, np.ndarray) else np.concatenate(list(query_vectors))
    for name, given, wanted in (
        ("query_texts", len(query_texts), len(query_ids)),
        ("query_vectors", len(queries), len(query_ids)),
        ("documents", len(documents), len(document_ids)),
    ):
        if given != wanted:
            raise ValueError(f"{name} has {given} entries for {wanted} ids")
    same_text, sample = _read_texts(document_texts, len(document_ids), seed)
    known = known_positives(query_ids, document_ids, positives, same_text)
    gather = gatherer(documents)
    filters: dict[str, Any] = spec.model_dump(exclude={"sources", "approximate"}, exclude_none=True)
    filters["queries_without_positive"] = sum(not len(rows) for rows in known.rows)
    if spec.below_positive is not None and 0 < len(query_ids) == filters["queries_without_positive"]:
        raise InputError(
            "compares with a query's known positives, and no query has one",
            where="candidates.below_positive",
            fix="use candidates.max_score, or queries whose positives are known (cut or written from documents, or "
            "queries.judgments)",
        )

    def search_of(source: str) -> tuple[Search, dict[str, Any]]:
        if source == "teacher":
            return _by_teacher(spec, queries, documents, metric, seed, teacher)
        if source == "bm25":
            index = bm25_for(document_texts(), sample)
            return by_words(query_texts, index), index.settings
        if source == "judged":
            return by_judgments(query_ids, document_ids, judged or {}), {}
        if source == "random":
            return by_chance(len(document_ids), seed), {"seed": seed}
        rows, scores, settings = saved_ranking(Path(source), query_ids, document_ids, spec.depth + known.most)
        return by_ranking(rows, scores), settings

    parts = []
    for source in spec.sources:
        search, settings = search_of(source)
        settings = {**settings, "filters": filters}
        part = mine(search, query_ids, document_ids, spec.depth, source=source, settings=settings, positives=known)
        parts.append(part if source == "random" else skip_first(part, spec.skip))
    found = drop_copies(merge(parts), same_text)
    by_score = spec.below_positive is not None or spec.max_score is not None
    if by_score:
        found = rescore(found, queries, gather, metric, scored_by=teacher)
        worst = worst_scores(queries, gather, known.rows, metric)
        found = by_teacher_score(found, worst, below_positive=spec.below_positive, max_score=spec.max_score)
    if spec.near_duplicates is not None:
        found = drop_near_duplicates(found, gather, known.rows, spec.near_duplicates, most=spec.count)
    found = keep_first(found, spec.count)
    return found if by_score else rescore(found, queries, gather, metric, scored_by=teacher)


def with_sources(
    query_ids: Sequence[str],
    sources: np.ndarray,
    document_ids: Sequence[str],
    positives: Mapping[str, Collection[str]] | None = None,
) -> dict[str, set[str]]:
    """Known positives of these queries: those that are given, and the document that each was made from.

    Args:
        query_ids: n ids.
        sources: (n,) row of that document, -1 where there is none.
        document_ids: ids of the documents, in the order of the collection.
        positives: query id -> ids; entries of other queries are left out.
    """
    known = positive_ids(query_ids, positives or {})
    for ids, row in zip(known, sources.tolist(), strict=True):
        if row >= 0:
            ids.add(document_ids[row])
    return {query_id: ids for query_id, ids in zip(query_ids, known, strict=True) if ids}


def told(candidates: Candidates) -> list[str]:
    """What people should know about candidates: a line for each source, then two for all."""
    lines = []
    for i, of in enumerate(candidates.provenance):
        left = int((candidates.mask & (candidates.source == i)).sum())
        facts = [f"{left:,} left" if of.found is None else f"{of.found:,} found, {left:,} left"]
        if of.settings.get("analysis") == "bigrams":
            facts.append("read as pairs of characters (a script without spaces)")
        elif "language" in of.settings:
            facts.append(f"read as {of.settings['language'] or 'plain'} words")
        if "recall" in of.settings:
            facts.append(f"approximate, recall {of.settings['recall']:.3f} at {of.settings['recall_at']}")
        facts += [f"{count:,} {rule.replace('_', ' ')}" for rule, count in of.dropped.items() if count]
        for name in ("queries_without", "queries_not_asked_for", "documents_not_in_the_collection"):
            if of.settings.get(name):
                facts.append(f"{of.settings[name]:,} {name.replace('_', ' ')}")
        lines.append(f"{of.source}: {'; '.join(facts)}")
    first = candidates.provenance[0]
    lines.append(
        f"{first.positives_kept_out:,} known positives and {first.copies_kept_out:,} copies of them kept out; "
        f"{first.positives_unknown:,} known positives are not in the collection"
    )
    width, sizes = candidates.rows.shape[1], candidates.mask.sum(axis=1)
    lines.append(
        f"{width} candidates a query; {int((sizes < width).sum()):,} of {len(candidates):,} queries have fewer, "
        f"{int((sizes == 0).sum()):,} have none"
    )
    return lines


def check_sources(spec: CandidatesSpec, documents: int) -> None:
    """See what can be seen of a recipe's candidates before anything is encoded.

    Args:
        spec: the recipe's.
        documents: how many there are.

    Raises:
        InputError: no source, one named twice, one that is nowhere, or all left out.
        MissingExtra: `approximate` without faiss.
    """
    if not spec.sources:
        raise InputError(
            "names no source", where="candidates.sources", fix="name `teacher`, `bm25`, `random` or a path"
        )
    twice = next((source for i, source in enumerate(spec.sources) if source in spec.sources[:i]), None)
    if twice is not None:
        raise InputError(f"names {twice!r} twice", where="candidates.sources", fix="name each source once")
    for source in spec.sources:
        if source not in ("teacher", "bm25", "random", "judged"):
            require_there(Path(source))
    if spec.approximate and "teacher" in spec.sources and documents >= _WORTH_AN_INDEX:
        require_faiss()
    if spec.skip >= spec.depth:
        raise InputError(
            f"leaves out the first {spec.skip} of {spec.depth}", where="candidates.skip", fix="raise candidates.depth"
        )


def _by_teacher(
    spec: CandidatesSpec, queries: np.ndarray, documents: Vectors, metric: Metric, seed: int, teacher: str
) -> tuple[Search, dict[str, Any]]:
    settings = {"teacher": teacher, "metric": metric}
    if not spec.approximate or len(documents) < _WORTH_AN_INDEX:
        return by_vectors(queries, in_chunks(documents), metric), {**settings, "search": "exact"}
    index = ApproximateIndex(documents, metric, seed=seed)
    index.tune(queries, spec.depth, seed=seed)
    return by_vectors_approximately(queries, index), {**settings, **index.settings}


def _read_texts(texts: Callable[[], Iterable[str]], count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """One pass: which documents have the same text, and a sample of texts to tell the language by."""
    chosen = np.zeros(count, dtype=bool)
    chosen[drawn_to_read(count, seed)] = True
    sample: list[str] = []

    def passing() -> Iterable[str]:
        for number, text in enumerate(texts()):
            if number < count and chosen[number]:
                sample.append(text)
            yield text

    groups = text_groups(passing())
    if len(groups) != count:
        raise ValueError(f"document_texts gives {len(groups)} texts for {count} ids")
    return groups, sample
