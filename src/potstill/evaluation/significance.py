"""Error bars: paired bootstrap intervals, paired randomisation tests, Holm's correction. Seeded, queries are the units.

Systems are compared on the same queries, so queries are resampled as pairs: one draw of queries gives both systems'
means. Bootstrap: Efron & Tibshirani (1993), percentile intervals at 2.5 and 97.5. Randomisation: under the null
hypothesis the two systems' values of a query may be swapped, which flips the sign of their difference (Smucker, Allan
& Carterette 2007, "A Comparison of Statistical Significance Tests for Information Retrieval Evaluation").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..errors import InputError

SAMPLES = 10_000
_LEVELS = (2.5, 97.5)
_VALUES_AT_A_TIME = 4_000_000  # resampled values held at a time: 32 MB


@dataclass(frozen=True)
class Interval:
    """A mean (or a mean difference) with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Give the three numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Retention:
    """Student's mean / teacher's mean over the same queries.

    Attributes:
        value: the ratio; None where the teacher's mean is 0.
        low: lower end of the 95 % bootstrap interval; None where there is none.
        high: upper end.
        p: two-sided p-value of the paired randomisation test of the difference.
        difference: student's mean - teacher's mean, with its interval.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float
    difference: Interval

    def as_json(self) -> dict[str, float | None]:
        """Give `value`, `low`, `high` and `p`."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p}


def retention(
    student: Mapping[str, float], teacher: Mapping[str, float], *, seed: int = 0, samples: int = SAMPLES
) -> Retention:
    """Compare a student with its teacher on one measure.

    Args:
        student: value by query id.
        teacher: value by query id; the same queries.
        seed: of the resampling.
        samples: bootstrap samples, and sign patterns of the randomisation test.

    Raises:
        InputError: the two do not have the same queries, or there are none.
    """
    if student.keys() != teacher.keys():
        odd = sorted(student.keys() ^ teacher.keys())
        raise InputError(
            f"student and teacher were measured on different queries ({len(odd)} differ, such as {odd[0]!r})",
            fix="measure both on the same queries",
        )
    if not teacher:
        raise InputError("there are no queries to compare on", fix="give at least one judged query")
    queries = sorted(teacher)  # the result does not depend on the order of the mappings
    columns = [np.array([[values[query]] for query in queries], dtype=np.float64) for values in (student, teacher)]
    return compare(*columns, seed=seed, samples=samples)[0]


def compare(student: np.ndarray, teacher: np.ndarray, *, seed: int = 0, samples: int = SAMPLES) -> list[Retention]:
    """Compare on several measures at once, all over the same resampled queries.

    Args:
        student: `(n, c)` values of `n` queries on `c` measures (or of `c` systems).
        teacher: `(n, c)` values of the reference.
        seed: of the resampling.
        samples: as in `retention`.
    """
    count = student.shape[1]
    means = resampled_means(np.hstack([teacher, student]), seed=seed, samples=samples)
    p_values = sign_flip_p(student - teacher, seed=seed, samples=samples)
    results = []
    for column in range(count):
        low, high = _percentiles(means[:, count + column] - means[:, column])
        gap = Interval(float((student[:, column] - teacher[:, column]).mean()), low, high)
        ratio = _ratio(teacher[:, column], student[:, column], means[:, column], means[:, count + column])
        results.append(Retention(*ratio, p=float(p_values[column]), difference=gap))
    return results


def mean_interval(values: np.ndarray, *, seed: int = 0, samples: int = SAMPLES) -> Interval:
    """Give the mean of one system's `(n,)` values with its bootstrap interval."""
    return mean_intervals(np.asarray(values, dtype=np.float64)[:, None], seed=seed, samples=samples)[0]


def mean_intervals(values: np.ndarray, *, seed: int = 0, samples: int = SAMPLES) -> list[Interval]:
    """Give the mean of each column of `(n, c)` values with its bootstrap interval."""
    means = resampled_means(values, seed=seed, samples=samples)
    return [
        Interval(float(values[:, column].mean()), *_percentiles(means[:, column])) for column in range(values.shape[1])
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of one family for their number: Holm (1979), step-down, in the order given, at most 1.

    The `i`-th smallest of `m` becomes the largest of `(m - j + 1) * p_j` over `j <= i`.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def resampled_means(values: np.ndarray, *, seed: int = 0, samples: int = SAMPLES) -> np.ndarray:
    """Draw `n` of `n` queries with replacement, `samples` times; all columns share the draws.

    Args:
        values: `(n, c)`, one row a query.
        seed: of the draws.
        samples: how many.

    Returns:
        `(samples, c)` means.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    rng = np.random.default_rng([seed, 0])
    means = np.empty((samples, values.shape[1]))
    for start, count in _portions(samples, n):
        drawn = rng.integers(0, n, size=(count, n))
        drawn += np.arange(count)[:, None] * n
        times = np.bincount(drawn.reshape(-1), minlength=count * n).reshape(count, n)
        means[start : start + count] = times @ values / n
    return means


def sign_flip_p(differences: np.ndarray, *, seed: int = 0, samples: int = SAMPLES) -> np.ndarray:
    """Test whether mean differences are 0: two-sided paired randomisation.

    p = (1 + patterns whose |mean| is at least the observed) / (1 + patterns), which is never 0.

    Args:
        differences: `(n, c)`, one row a query, one column a comparison; all share the sign patterns.
        seed: of the patterns.
        samples: how many patterns.

    Returns:
        `(c,)` p-values.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = len(differences)
    rng = np.random.default_rng([seed, 1])
    observed = np.abs(differences.sum(axis=0))
    # Patterns that equal the observed one must count as such whatever the order of summation.
    bar = observed - 1e-12 * np.abs(differences).sum(axis=0)
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for _, count in _portions(samples, n):
        signs = rng.integers(0, 2, size=(count, n), dtype=np.int8) * 2.0 - 1.0
        extreme += (np.abs(signs @ differences) >= bar).sum(axis=0)
    return (1 + extreme) / (1 + samples)


def _ratio(
    teacher: np.ndarray, student: np.ndarray, teacher_means: np.ndarray, student_means: np.ndarray
) -> tuple[float | None, float | None, float | None]:
    """Ratio of means and its interval. Samples in which the teacher's mean is 0 define no ratio.

    They are left out while they are too few to move the percentiles (2.5 % of all); otherwise there is no interval.
    """
    if teacher.mean() == 0:
        return None, None, None
    value = float(student.mean() / teacher.mean())
    defined = teacher_means != 0
    if defined.mean() < 1 - _LEVELS[0] / 100:
        return value, None, None
    return value, *_percentiles(student_means[defined] / teacher_means[defined])


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(samples, _LEVELS)
    return float(low), float(high)


def _portions(samples: int, n: int) -> list[tuple[int, int]]:
    """Cut `samples` rows of `n` values into (start, count) portions of bounded memory."""
    step = max(1, _VALUES_AT_A_TIME // max(1, n))
    return [(start, min(step, samples - start)) for start in range(0, samples, step)]
