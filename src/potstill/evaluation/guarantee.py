"""What can be guaranteed of a student that searches its teacher's documents, beside what was measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .bounds import loss_change, pair_orders
from .search import Documents, Metric, Ranking
from .significance import Interval, mean_intervals
from .spread import Spread, document_spread, scaled
from .systems import gather, shown

DEPTH = 100
VARIANCE = 0.9
TEMPERATURES = (1.0, 0.05)
_QUERIES_AT_A_TIME = 128  # of whose documents the vectors are held: 20 MB for 100 documents of 384 numbers


@dataclass(frozen=True)
class Order:
    """Pairs of documents that the teacher orders: how many provably keep their order, and how many do.

    Attributes:
        certified: mean share over queries whose order the length of the query's error cannot change.
        kept: mean share whose order the student has too.
        radius: mean over queries of the error below which half of the pairs would be certified.
        pairs: how many pairs there are in all.
        queries: how many queries have any.
        violations: certified pairs whose order is not kept: 0, or something is wrong with the vectors.
    """

    certified: Interval
    kept: Interval
    radius: Interval
    pairs: int
    queries: int
    violations: int


@dataclass(frozen=True)
class Loss:
    """How far a softmax loss over the teacher's first documents may move (`bound`) and moves (`gap`), in nats.

    The label is the teacher's first document. `violations` counts queries where the gap is above the bound: 0.
    """

    temperature: float
    bound: Interval
    gap: Interval
    violations: int


@dataclass(frozen=True)
class Directions:
    """Where the error points: score differences move by what of it lies where documents differ, and by no more.

    Attributes:
        variance: share of the documents' variance that the leading directions hold.
        leading: how many those are.
        dimensions: of how many.
        share: mean share of the error's squared length within the leading directions; of an error that prefers no
            direction it would be `leading / dimensions`.
        weighted: mean of `|C^(1/2) dq| / (|dq| sqrt(mean eigenvalue of C))`, C the documents' covariance: how far the
            error moves score differences, relative to one of the same length that prefers no direction (1).
        queries: how many have an error at all.
    """

    variance: float
    leading: int
    dimensions: int
    share: Interval
    weighted: Interval
    queries: int


@dataclass(frozen=True)
class Guarantee:
    """Bounds on what a student's query vectors can change, with what they do change; means with 95 % intervals.

    Attributes:
        k: the teacher's first documents whose order is looked at.
        depth: the teacher's documents per query that they are compared with.
        queries: how many.
        longest: length of the longest document vector.
        error: length of the error `dq`, the student's vector - the teacher's.
        top: pairs among the first `k`; None where the teacher orders none.
        rest: the first `k` against the rest of the first `depth`; None where there are none.
        losses: by temperature.
        directions: None where no query has an error, or documents do not differ.
    """

    k: int
    depth: int
    queries: int
    longest: float
    error: Interval
    top: Order | None
    rest: Order | None
    losses: tuple[Loss, ...]
    directions: Directions | None

    def as_json(self) -> dict[str, Any]:
        """Give the content of `guarantee` in `evaluation.json`."""
        return {**asdict(self), "losses": [asdict(loss) for loss in self.losses]}

    def lines(self) -> list[str]:
        """Say it in plain text, a line each."""
        told = [f"error of a query vector: {_range(self.error)} over {self.queries:,} queries"]
        rest = f"top {self.k} against the rest of the top {self.depth}"
        for name, order in ((f"top {self.k}", self.top), (rest, self.rest)):
            if order is not None:
                told.append(
                    f"order of pairs, {name}: {_range(order.certified)} certified, {_range(order.kept)} kept;"
                    f" an error below {_range(order.radius)} would certify half;"
                    f" {order.violations:,} of {order.pairs:,} pairs against the certificate"
                )
        told += [
            f"softmax loss at temperature {loss.temperature:g}: moves by at most {_range(loss.bound)}, by"
            f" {_range(loss.gap)} in fact (the bound is loose: it holds for every error of that length)"
            for loss in self.losses
        ]
        if self.directions is not None:
            found = self.directions
            told.append(
                f"{_range(found.share)} of the squared error lies in the {found.leading} of {found.dimensions}"
                f" directions that hold {found.variance:.0%} of the documents' variance; it moves score differences"
                f" {_range(found.weighted)} times as far as an error without a preferred direction"
            )
        return told


def evaluate_guarantee(
    documents: Documents,
    teacher_queries: np.ndarray,
    student_queries: np.ndarray,
    ranking: Ranking,
    *,
    metric: Metric = "dot",
    k: int = 10,
    depth: int = DEPTH,
    temperatures: Sequence[float] = TEMPERATURES,
    seed: int = 0,
) -> Guarantee:
    """Evaluate the bounds of `bounds.py` for every query.

    Documents are read once for their covariance; beyond that, only those that the teacher ranks are looked at.

    Args:
        documents: the vectors that both search, see `System`.
        teacher_queries: `(n, d)`, n at least 1.
        student_queries: `(n, d)`.
        ranking: the teacher's, of these queries; as deep as it is, up to `depth`.
        metric: with "cosine" all vectors are scaled to length 1 first.
        k: how many first documents of a query.
        depth: how many documents of a query.
        temperatures: of the softmax losses.
        seed: of resampling.
    """
    if not len(teacher_queries) == len(student_queries) == len(ranking):
        raise ValueError(f"{len(teacher_queries)}, {len(student_queries)} and {len(ranking)} queries do not fit")
    spread = document_spread(shown(documents, "spread of the documents", ranking.documents), metric)
    ranked = ranking.rows[:, :depth]
    sums = _Sums(len(ranked), spread, k, temperatures)
    for start in range(0, len(ranked), _QUERIES_AT_A_TIME):
        block = slice(start, start + _QUERIES_AT_A_TIME)
        rows = ranked[block]
        vectors = iter(_by_query(gather(documents, rows[rows >= 0]), rows))
        pair = [scaled(queries[block], metric) for queries in (teacher_queries, student_queries)]
        sums.directions(start, pair[1] - pair[0])
        for place, (teacher, student) in enumerate(zip(*pair, strict=True), start):
            sums.query(place, scaled(next(vectors), metric), teacher, student)
    return sums.result(ranked.shape[1], seed)


class _Sums:
    """Values per query, NaN where a query has none, and counts over all."""

    def __init__(self, queries: int, spread: Spread, k: int, temperatures: Sequence[float]) -> None:
        self.spread, self.k, self.temperatures = spread, k, temperatures
        self.leading = spread.leading(VARIANCE)
        names = ["error", "share", "weighted"]
        names += [f"{what} {group}" for group in ("top", "rest") for what in ("certified", "kept", "radius")]
        names += [f"{what} {temperature}" for temperature in temperatures for what in ("bound", "gap")]
        self.values = {name: np.full(queries, np.nan) for name in names}
        self.pairs = {"top": 0, "rest": 0}
        self.violations: dict[str | float, int] = {"top": 0, "rest": 0, **dict.fromkeys(temperatures, 0)}

    def directions(self, start: int, errors: np.ndarray) -> None:
        lengths = np.linalg.norm(errors, axis=1)
        place = slice(start, start + len(errors))
        self.values["error"][place] = lengths
        if self.spread.flat:
            return
        energy = np.square(errors @ self.spread.directions)
        with np.errstate(invalid="ignore", divide="ignore"):  # no error, no direction: NaN
            self.values["share"][place] = energy[:, : self.leading].sum(axis=1) / energy.sum(axis=1)
            mean = self.spread.variances.mean()
            self.values["weighted"][place] = np.sqrt(energy @ self.spread.variances / (energy.sum(axis=1) * mean))

    def query(self, place: int, documents: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> None:
        if not len(documents):
            return
        found = pair_orders(documents, teacher, student, self.k)
        for group, columns in (("top", slice(None, self.k)), ("rest", slice(self.k, None))):
            ordered, certified, kept = (part[:, columns] for part in (found.ordered, found.certified, found.kept))
            pairs = int(ordered.sum())
            if not pairs:
                continue
            self.pairs[group] += pairs
            self.violations[group] += int((certified & ~kept).sum())
            self.values[f"certified {group}"][place] = certified.sum() / pairs
            self.values[f"kept {group}"][place] = (kept & ordered).sum() / pairs
            self.values[f"radius {group}"][place] = np.nanmedian(found.radius[:, columns])
        for temperature in self.temperatures:
            change = loss_change(documents, teacher, student, temperature, self.spread.longest)
            self.values[f"bound {temperature}"][place] = change.bound
            self.values[f"gap {temperature}"][place] = change.gap
            self.violations[temperature] += change.violated

    def result(self, depth: int, seed: int) -> Guarantee:
        means = _means(self.values, seed)

        def order(group: str) -> Order | None:
            certified, kept, radius = (means[f"{what} {group}"] for what in ("certified", "kept", "radius"))
            if certified is None or kept is None or radius is None:
                return None
            queries = int(np.isfinite(self.values[f"kept {group}"]).sum())
            return Order(certified, kept, radius, self.pairs[group], queries, self.violations[group])

        losses = []
        for temperature in self.temperatures:
            bound, gap = means[f"bound {temperature}"], means[f"gap {temperature}"]
            if bound is not None and gap is not None:
                losses.append(Loss(float(temperature), bound, gap, self.violations[temperature]))
        share, weighted, error = means["share"], means["weighted"], means["error"]
        directions = None
        if share is not None and weighted is not None:
            width, queries = len(self.spread.variances), int(np.isfinite(self.values["share"]).sum())
            directions = Directions(VARIANCE, self.leading, width, share, weighted, queries)
        if error is None:
            raise ValueError("there are no queries")
        count = len(self.values["error"])
        parts = (order("top"), order("rest"), tuple(losses), directions)
        return Guarantee(self.k, depth, count, self.spread.longest, error, *parts)


def _by_query(vectors: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Split vectors of all documents of some queries (`rows`: `(n, c)`, -1 where there is none) by query."""
    ends = np.cumsum((rows >= 0).sum(axis=1))
    return iter(np.split(vectors, ends[:-1]))


def _means(values: Mapping[str, np.ndarray], seed: int) -> dict[str, Interval | None]:
    """Average each column over the queries that have a value; columns over the same queries share the draws."""
    means: dict[str, Interval | None] = dict.fromkeys(values)
    together: dict[bytes, list[str]] = {}
    for name, column in values.items():
        together.setdefault(np.isfinite(column).tobytes(), []).append(name)
    for names in together.values():
        there = np.isfinite(values[names[0]])
        if there.any():
            found = mean_intervals(np.stack([values[name][there] for name in names], axis=1), seed=seed)
            means.update(zip(names, found, strict=True))
    return means


def _range(interval: Interval) -> str:
    return f"{interval.value:.4g} ({interval.low:.4g} to {interval.high:.4g})"
