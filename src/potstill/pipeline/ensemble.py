"""Teachers, what they come to together, and a student, on the same candidates with judgments: quality beside cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..atomic import write_json, write_text
from ..candidates import bm25_for, by_judgments, by_vectors, by_words, drawn_to_read, padded, saved_ranking
from ..collection import Collection, open_collection
from ..errors import InputError
from ..evaluation import Evaluation, evaluate_reranking, parse_measures
from ..evaluation.combining import COMBINATIONS, Combination, combined
from ..evaluation.ranking_cost import RankingCost, measure_rankers
from ..progress import say
from ..recipe.comparing import EnsembleSpec
from .judged import Judged, judgments_of
from .list_scorers import FileScorer
from .members import Lists, Member, OfScores, OfVectors, open_member, open_student
from .panel_report import pairs_of
from .reranking import kept_of
from .runfolder import machine, versions
from .vectors import document_vectors, query_vectors


def compare(
    spec: EnsembleSpec, out: Path | None, *, student: Path | None = None, signals: Path | None = None
) -> dict[str, Any]:
    """Evaluate teachers, the mean, median and vote of them, and a student, all on the same candidates.

    Args:
        spec: all that decides it.
        out: JSON file to write (measures of every query beside it as `.per_query.jsonl`); None: nothing is written.
        student: folder of the student that `spec.student` describes.
        signals: folder of the signal store; None: POTSTILL_HOME or the user's cache.

    Returns:
        What the file holds.

    Raises:
        InputError: something in the input is wrong; names it and the remedy.
    """
    parse_measures(spec.measures)
    collection = open_collection(spec.collection)
    for line in collection.notes.lines():
        say(f"collection: {line}")
    judged = judgments_of(collection, spec.split, qrels=spec.qrels, answered=spec.answered)
    members: list[Member] = [open_member(each, collection) for each in spec.teachers]
    pupil: Member | None = None
    if spec.student is not None:
        assert student is not None
        pupil = open_student(spec.student, student, collection)
    found, whole = measured(spec, judged, members, pupil, signals)
    whole["machine"], whole["versions"] = machine(), versions()
    if out is not None:
        rows = [{"query_id": row["query_id"], "measures": row["measures"]} for row in found.per_query]
        write_text(out.with_suffix(".per_query.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
        write_json(out, whole)
    return whole


def measured(
    spec: EnsembleSpec,
    judged: Judged,
    members: Sequence[Member],
    pupil: Member | None,
    signals: Path | None,
    *,
    heard: Sequence[str] | None = None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Score the same lists with every system, and measure.

    Args:
        spec: measures, candidates, how holes are read.
        judged: the collection, and the judgments to measure by.
        members: the teachers.
        pupil: the student; None: there is none.
        signals: the signal store.
        heard: names of the teachers that make the ensembles, and whose cost is theirs; None: all.

    Returns:
        The evaluation, and all that is to be written of it.

    Raises:
        InputError: no judged query, candidates that are nowhere, or scores that are not numbers.
    """
    collection = judged.collection
    ids = [query for query in judged.grades if query in collection.queries]
    if not ids:
        raise InputError(
            f"no judged query of {spec.split} is in the collection", where=spec.collection, fix="name another --split"
        )
    lists = Lists.of(collection, ids, candidates_of(spec, collection, judged, members, ids, signals))
    say(f"candidates: {int((lists.rows >= 0).sum()):,} of {len(ids):,} queries")
    said = {member.name: member.scores(lists, signals) for member in members}
    holes = {name: int(((lists.rows >= 0) & np.isnan(table)).sum()) for name, table in said.items()}
    for name, count in holes.items():
        if count:
            how = "which count neither for nor against" if spec.holes == "masked" else "which are put below its last"
            say(f"{name}: no score of {count:,} candidates, {how}")
    if spec.holes == "floor":
        said = {name: floored(table, lists.rows) for name, table in said.items()}
    systems = dict(said)
    voices = [table for name, table in said.items() if heard is None or name in heard]
    if len(voices) > 1:
        for how in COMBINATIONS:
            systems[how] = combined(voices, cast(Combination, how))
    reference = spec.reference if len(voices) > 1 else next(name for name in said if heard is None or name in heard)
    if pupil is not None:
        systems[pupil.name] = pupil.scores(lists, signals)
    found = evaluate_reranking(
        judged,
        spec.split,
        query_ids=ids,
        document_ids=collection.document_ids,
        candidates=lists.rows,
        systems={name: table.astype(np.float32) for name, table in systems.items()},
        measures=spec.measures,
        reference=reference,
        seed=spec.seed,
    )
    pairs = pairs_of(said) if len(said) > 1 else []
    whole = found.as_json()
    whole["reference"] = reference
    whole["teachers"] = {
        member.name: {"kind": member.kind, "parameters": member.parameters, "holes": holes[member.name]}
        for member in members
    }
    whole["pairs"] = [pair.as_json() for pair in pairs]
    whole["cost"] = costs(spec, members, pupil, lists, heard) if spec.cost else {}
    whole["student"] = {} if pupil is None else _of_student(found, pupil, whole, spec.measures)
    return found, whole


def candidates_of(
    spec: EnsembleSpec,
    collection: Collection,
    judged: Judged,
    members: Sequence[Member],
    ids: Sequence[str],
    signals: Path | None,
) -> np.ndarray:
    """`(n, c)` documents to rank for each query, -1 where there is none; see `EnsembleSpec.candidates`.

    Raises:
        InputError: a name that is none of a teacher of vectors, or a path that is nowhere.
    """
    files = [m.scorer for m in members if isinstance(m, OfScores) and isinstance(m.scorer, FileScorer)]
    encoders = {m.name: m.teacher for m in members if isinstance(m, OfVectors)}
    wanted = spec.candidates
    if wanted == "auto":
        wanted = "pooled" if files else next(iter(encoders), "bm25")
        say(f"candidates: {wanted}")
    names, texts = collection.document_ids, [collection.queries[i] for i in ids]
    depth, nothing = min(spec.depth, len(names)), [np.empty(0, dtype=np.int64)] * len(ids)
    if wanted == "judged":
        return by_judgments(ids, names, judged.grades)(max(map(len, judged.grades.values())), nothing)[0]
    if wanted == "pooled":
        if not files:
            raise InputError("no teacher is a file of scores", where="--candidates pooled", fix="name others")
        return _pool([scorer.rows_of(ids) for scorer in files])
    if wanted == "bm25":
        drawn = drawn_to_read(collection.document_count, spec.seed)
        return by_words(texts, bm25_for(collection.texts(), collection.texts(drawn.tolist())))(depth, nothing)[0]
    if wanted in encoders:
        teacher = encoders[wanted]
        queries = query_vectors(teacher, texts, signals, f"{wanted}: queries", ids).all()
        return by_vectors(queries, document_vectors(teacher, collection, signals), teacher.metric)(depth, nothing)[0]
    if not Path(wanted).exists():
        vectors = f", {', '.join(encoders)}" if encoders else ""
        raise InputError(
            f"there are no candidates {wanted!r}",
            where="--candidates",
            fix=f"name judged, pooled, bm25{vectors}, or the path of a ranking",
        )
    return saved_ranking(Path(wanted), ids, names, depth)[0]


def floored(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores `(n, c)`, those that are missing a little below the lowest of their query; a query without any stays."""
    lowest = np.nanmin(np.where(np.isnan(scores), np.inf, scores), axis=1, keepdims=True)
    highest = np.nanmax(np.where(np.isnan(scores), -np.inf, scores), axis=1, keepdims=True)
    below = np.where(np.isfinite(lowest), lowest - 0.01 * np.maximum(highest - lowest, 1e-6), np.nan)
    found: np.ndarray = np.where(np.isnan(scores) & (rows >= 0), below, scores)
    return found


def costs(
    spec: EnsembleSpec,
    members: Sequence[Member],
    pupil: Member | None,
    lists: Lists,
    heard: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What each system costs, and all teachers together; those that only look scores up cost nothing that is known."""
    whole = np.flatnonzero((lists.rows >= 0).sum(axis=1) >= 2)
    drawn = np.sort(np.random.default_rng(spec.seed).permutation(whole)[: spec.timed_lists])
    some = Lists([lists.ids[i] for i in drawn], [lists.texts[i] for i in drawn], lists.rows[drawn], lists.documents)
    asked = {each.name: each.anew(some) for each in (*members, *((pupil,) if pupil else ()))}
    timed = {name: score for name, score in asked.items() if score is not None}
    if not timed or not len(drawn):
        return {}
    say(f"costs: {', '.join(timed)} on {len(drawn)} lists, one thread")
    sizes = (some.rows >= 0).sum(axis=1).tolist()
    took = measure_rankers(timed, sizes)
    teachers = [took[m.name] for m in members if m.name in took and (heard is None or m.name in heard)]
    found: dict[str, Any] = {name: cost.as_json() for name, cost in took.items()}
    if teachers:
        found["all teachers"] = RankingCost.together(teachers).as_json()
    unknown = [name for name, score in asked.items() if score is None]
    if unknown:
        found["unknown"] = unknown
    return found


def _of_student(found: Evaluation, pupil: Member, whole: Mapping[str, Any], measures: Sequence[str]) -> dict[str, Any]:
    """What the student keeps of every other system, and its share of the teachers' cost."""
    kept = kept_of(found, pupil.name, [system for system in found.systems if system != pupil.name], measures)
    cost, share = whole["cost"], {}
    own, theirs = cost.get(pupil.name), cost.get("all teachers")
    if own and theirs:
        share["time"] = own["ms_per_pair"] / theirs["ms_per_pair"]
        if own["multiply_adds_per_pair"] is not None and theirs["multiply_adds_per_pair"]:
            share["multiply_adds"] = own["multiply_adds_per_pair"] / theirs["multiply_adds_per_pair"]
    return {"name": pupil.name, "parameters": pupil.parameters, "retention": kept, "share_of_cost": share}


def _pool(parts: Sequence[list[np.ndarray]]) -> np.ndarray:
    """The union of several lists of each query, rising by row."""
    return padded([np.unique(np.concatenate([part[i] for part in parts])) for i in range(len(parts[0]))])
