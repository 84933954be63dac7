"""What the teachers of scores say of a run's lists: scores, temperatures, and vectors of pairs averaged by text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..candidates.vectors import unit as unit_length
from ..collection import Collection
from ..errors import InputError
from ..evaluation.combining import standardised
from ..progress import say
from ..recipe import VECTORS, ObjectiveSpec, ScorerSpec
from ..recipe.learning import POINTS
from ..recipe.teachers import LISTED
from ..teachers import Scorer, open_scorer
from .list_scorers import ListScorer, open_list_scorer
from .pair_scores import AnyScorer, PairScores, candidate_texts, pair_scores, pair_vectors
from .scorer_report import ScorerReport, calibrate, rank_correlation

if TYPE_CHECKING:
    from ..training.data import PairTargets

_AT_ONCE = 1024  # queries whose vectors of pairs are held at a time


@dataclass(frozen=True)
class Panel:
    """The open scorers of a recipe, by name."""

    specs: Mapping[str, ScorerSpec] = field(default_factory=dict)
    scorers: Mapping[str, AnyScorer] = field(default_factory=dict)

    def identity(self) -> dict[str, str]:
        """What made their scores, by name."""
        return {
            f"scorer {name}": scorer.identity()
            if isinstance(scorer, ListScorer)
            else " ".join(scorer.source(signal).fingerprint("pair").digest() for signal in sorted(scorer.signals))
            for name, scorer in self.scorers.items()
        }


@dataclass(frozen=True)
class HeldOutLists:
    """Lists of queries that are not trained on, and what scorers say of them: a student of theirs is chosen by it.

    Attributes:
        rows: `(h, c)` documents of the first h held-out queries, -1 where there is none.
        scores: scorer -> `(h, c)`; NaN where there is none.
    """

    rows: np.ndarray
    scores: Mapping[str, np.ndarray]

    def agreement(self, student: np.ndarray) -> float:
        """Mean rank correlation of the student's `(h, c)` scores with each scorer's."""
        found = [rank_correlation(student, scores) for scores in self.scores.values()]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else 0.0


@dataclass(frozen=True)
class Heard:
    """What a panel said of the lists of a run.

    Attributes:
        scores: scorer -> `(q, c)` float32; NaN where a list has no candidate.
        targets: scorer -> vectors of texts, averaged over pairs.
        reports: scorer -> its temperature and diagnostics.
        held_out: lists of held-out queries, to validate by; None: no scorer is listened to.
        vectors_temperature: of the teacher of vectors, where it votes.
        reference: `(q, c)` its scores.
    """

    scores: dict[str, np.ndarray] = field(default_factory=dict)
    targets: dict[str, PairTargets] = field(default_factory=dict)
    reports: dict[str, ScorerReport] = field(default_factory=dict)
    held_out: HeldOutLists | None = None
    vectors_temperature: float = 1.0
    reference: np.ndarray | None = None

    def settled(self, objectives: Sequence[ObjectiveSpec]) -> tuple[ObjectiveSpec, ...]:
        """The objectives, those that listen to a scorer at the temperature that it was calibrated to."""
        found = []
        for spec in objectives:
            if spec.teachers and not spec.vote.temperatures and spec.documents != "all":
                if spec.form in POINTS or spec.vote.zscore:
                    vote = spec.vote.model_copy(update=self._scales(spec))
                    found.append(spec.model_copy(update={"vote": vote}))
                    continue
                scales = tuple(
                    self.vectors_temperature if name == VECTORS else self.reports[name].temperature
                    for name in spec.teachers
                )
                vote = spec.vote.model_copy(update={"temperatures": scales})
                spec = spec.model_copy(update={"vote": vote})
            elif spec.teacher in self.reports and spec.wants_temperature:
                spec = spec.model_copy(update={"teacher_temperature": self.reports[spec.teacher].temperature})
            found.append(spec)
        return tuple(found)

    def _scales(self, spec: ObjectiveSpec) -> dict[str, tuple[float, ...]]:
        """Temperatures and offsets of a vote on single scores, or of standardised lists."""
        held = [self.reference if name == VECTORS else self.scores[name] for name in spec.teachers]
        known = [np.empty((0, 0), np.float32) if each is None else each for each in held]
        if not spec.vote.zscore:
            means, deviations = zip(*map(_spread, known), strict=True)
            return {"temperatures": deviations, "offsets": means}
        temperature = 1.0
        if spec.form not in POINTS:
            weights = spec.vote.weights or (1 / len(known),) * len(known)
            summed = sum(weight * standardised(each) for weight, each in zip(weights, known, strict=True))
            own = ScorerSpec(kind="bm25", name="+".join(spec.teachers), perplexity=spec.vote.perplexity)
            temperature = calibrate(np.asarray(summed), own).temperature
        return {"temperatures": (temperature,) * len(known)}

    def as_json(self) -> dict[str, Any]:
        """For `run.json`."""
        return {name: report.as_json() for name, report in self.reports.items()}


def open_panel(specs: Sequence[ScorerSpec], collection: Collection) -> Panel:
    """Open every scorer of a recipe; some know the documents of a collection.

    Raises:
        InputError: one of them cannot be opened.
    """
    named = {str(spec.name): spec for spec in specs}
    opened = {
        name: open_list_scorer(spec, collection) if spec.kind in LISTED else open_scorer(spec)
        for name, spec in named.items()
    }
    panel = Panel(named, opened)
    for name, scorer in panel.scorers.items():
        say(f"scorer: {name}, {scorer.kind}")
    return panel


def hear(
    panel: Panel,
    objectives: Sequence[ObjectiveSpec],
    collection: Collection,
    queries: Sequence[str],
    lists: np.ndarray,
    positives: np.ndarray | None,
    reference: np.ndarray | None,
    *,
    unit: bool,
    signals: Path | None,
) -> Heard:
    """Ask the scorers that some objective listens to.

    Args:
        panel: the open scorers.
        objectives: decide who is asked for what.
        collection: gives the texts of documents.
        queries: q training queries.
        lists: `(q, c)` document rows, a known positive first, padded with -1.
        positives: `(q, p)` documents known to fit, padded with -1; None: nothing was judged.
        reference: `(q, c)` the teacher of vectors' scores of the same candidates, to compare with.
        unit: whether averaged vectors are brought to length 1, as the student's are.
        signals: the signal store.

    Raises:
        InputError: scores that are not finite, or all the same, so that no temperature can be found.
    """
    from ..training.terms import PAIRS

    heard = Heard(vectors_temperature=_of_vectors(objectives, reference), reference=reference)
    texts: dict[int, str] | None = None
    for name, scorer in panel.scorers.items():
        scored = any(
            spec.listens_to(name) and spec.family != "match" and spec.documents != "all" for spec in objectives
        )
        matched = [spec.count or PAIRS for spec in objectives if spec.teacher == name and spec.family == "match"]
        if not scored and not matched:
            continue
        texts = candidate_texts(collection, lists) if texts is None else texts
        if scored:
            found = pair_scores(scorer, queries, texts, lists, signals, f"{name}: scores of candidates")
            if not found.pairs and (lists >= 0).any():
                raise InputError(
                    "has no score of any candidate of the training queries",
                    where=f"scorer {name}",
                    fix="give scores of the queries that are trained on, by the collection's ids",
                )
            heard.scores[name] = found.scores
            spec = panel.specs[name]
            if not any(term.wants_temperature_of(name) for term in objectives):
                spec = spec.model_copy(update={"temperature": spec.temperature or 1.0})  # of the diagnostics alone
            heard.reports[name] = calibrate(found.scores, spec, positives=_fitting(lists, positives), others=reference)
            tell_cut(name, found.truncated, found.pairs)
            tell_holes(name, found, lists)
        if matched and not isinstance(scorer, ListScorer):  # `check` has refused to match those
            heard.targets[name] = _targets(scorer, name, queries, texts, lists, max(matched), unit, signals)
    return heard


def hear_held_out(
    panel: Panel,
    objectives: Sequence[ObjectiveSpec],
    collection: Collection,
    queries: Sequence[str],
    rows: np.ndarray,
    signals: Path | None,
) -> HeldOutLists | None:
    """Ask the scorers that some objective listens to about `(h, c)` documents of h held-out queries."""
    names = [name for name in panel.scorers if any(spec.listens_to(name) for spec in objectives)]
    if not names:
        return None
    texts = candidate_texts(collection, rows)
    label = "scores of held-out lists"
    return HeldOutLists(
        rows, {n: pair_scores(panel.scorers[n], queries, texts, rows, signals, f"{n}: {label}").scores for n in names}
    )


def _of_vectors(objectives: Sequence[ObjectiveSpec], reference: np.ndarray | None) -> float:
    """Temperature of the teacher of vectors where it votes, found as a scorer's is."""
    voting = next((spec for spec in objectives if VECTORS in spec.teachers and not spec.vote.temperatures), None)
    if voting is None or reference is None:
        return 1.0
    own = ScorerSpec(kind="bm25", name=VECTORS, perplexity=voting.vote.perplexity)  # any kind: the name is what is told
    try:
        return calibrate(reference, own).temperature
    except InputError as error:
        raise InputError(
            error.message,
            where="the teacher of vectors",
            fix="lower `vote.perplexity`, ask for more candidates (candidates.count), or set `vote.temperatures`",
        ) from None


def _spread(scores: np.ndarray) -> tuple[float, float]:
    known = scores[np.isfinite(scores)].astype(np.float64)
    return (float(known.mean()), max(float(known.std()), 1e-6)) if len(known) else (0.0, 1.0)


def _fitting(lists: np.ndarray, positives: np.ndarray | None) -> np.ndarray | None:
    """`(q, c)` True where a list begins with a document that is known to fit; None: nothing was judged."""
    if positives is None:
        return None
    found = np.zeros(lists.shape, dtype=bool)
    found[:, 0] = (positives[:, 0] >= 0) & (lists[:, 0] == positives[:, 0])
    return found


def tell_holes(name: str, found: PairScores, rows: np.ndarray) -> None:
    """Say how many candidates a scorer has no score of; they count neither for nor against anything."""
    asked = int((rows >= 0).sum())
    if found.pairs < asked:
        say(f"{name}: no score of {asked - found.pairs:,} of {asked:,} candidates, which are left out")


def tell_cut(name: str, cut: int, pairs: int) -> None:
    """Say how many pairs a scorer did not read whole."""
    if cut:
        say(f"{name}: {cut:,} of {pairs:,} pairs are longer than its maximum length and are read up to it")


def _targets(
    scorer: Scorer,
    name: str,
    queries: Sequence[str],
    texts: Mapping[int, str],
    lists: np.ndarray,
    count: int,
    unit: bool,
    signals: Path | None,
) -> PairTargets:
    """Average the two vectors of each query's first `count` candidates, by query and by document."""
    from ..training.data import PairTargets

    lists = lists[:, :count]
    held = pair_vectors(scorer, queries, texts, lists, signals, f"{name}: vectors of candidates")
    tell_cut(name, held.truncated, held.pairs)
    rows = np.unique(lists[lists >= 0])
    sums = np.zeros((len(rows), held.dimensions))
    times = np.zeros(len(rows))
    query_targets = np.full((len(queries), held.dimensions), np.nan, dtype=np.float32)
    for start in range(0, len(queries), _AT_ONCE):
        some = np.arange(start, min(start + _AT_ONCE, len(queries)))
        query_side, document_side = held.gather(some)
        there = lists[some] >= 0
        number = there.sum(axis=1)
        mean = np.where(there[..., None], query_side, 0.0).sum(axis=1) / np.maximum(number, 1)[:, None]
        query_targets[some[number > 0]] = mean[number > 0]
        places = np.searchsorted(rows, lists[some][there])
        np.add.at(sums, places, document_side[there])
        np.add.at(times, places, 1)
    documents = (sums / np.maximum(times, 1)[:, None]).astype(np.float32)
    if unit:
        query_targets, documents = unit_length(query_targets), unit_length(documents)
    return PairTargets(query_targets, rows, documents)
