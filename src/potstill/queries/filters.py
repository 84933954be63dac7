"""Which generated queries are worth learning from: array functions, of what teacher and student make of candidates.

Scores are compared over each query's candidates: the document that it was written for and the teacher's nearest. A
candidate that is not there has the score -inf. All of it is float32.

The criteria are those of TST (Tang et al. 2021: the teacher is right, the student wrong) and of Good-DA (Wang et al.
2022: where the teacher is unsure, or the two disagree). The target of a query that was picked is what the teacher says
of it, as of any other; no label is mixed or made up.
"""

from __future__ import annotations

import numpy as np

TEMPERATURE = 0.05  # of scores that are cosines; as that of the score objectives


def found_again(found: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Round trip: whether each query finds the document that it was made of.

    Args:
        found: (n, k) rows of the best documents by the teacher's vector of the query; -1 where there is none.
        sources: (n,) row of the document that each query was made of; -1 where there is none.

    Returns:
        (n,) bool; True for a query without a source, of which nothing can be said.
    """
    return np.asarray((sources < 0) | (found == sources[:, None]).any(axis=1))


def with_source(found: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates that the source document is among: where it was not found it takes the last one's place.

    Args:
        found: (n, c) rows of documents, best first.
        sources: (n,) rows; -1 where there is none.

    Returns:
        (n, c) rows, and (n,) the source's column, -1 where there is no source.
    """
    candidates = found.copy()
    columns = np.argmax(found == sources[:, None], axis=1)
    missing = ~(found == sources[:, None]).any(axis=1)
    columns[missing] = found.shape[1] - 1
    place = missing & (sources >= 0)
    candidates[place, -1] = sources[place]
    columns[sources < 0] = -1
    return candidates, columns


def log_softmax(scores: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Logarithms (n, c) of the softmax of scores (n, c) over candidates; -inf where the score is.

    Raises:
        ValueError: a row without a finite score, or with NaN or inf.
    """
    scaled = np.asarray(scores, dtype=np.float32) / np.float32(temperature)
    best = scaled.max(axis=1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError(f"row {int(np.argmin(np.isfinite(best[:, 0])))} has no finite score, or one that is no number")
    moved = scaled - best
    return np.asarray(moved - np.log(np.exp(moved).sum(axis=1, keepdims=True)), dtype=np.float32)


def entropy(teacher: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Entropy (n,) in nats of the teacher's softmax over candidates (n, c): how unsure it is."""
    log_p = log_softmax(teacher, temperature)
    return -_expected(np.exp(log_p), log_p)


def disagreement(teacher: np.ndarray, student: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """KL(teacher, student) (n,) in nats over candidates (n, c): how far the student is from what the teacher says.

    Raises:
        ValueError: the shapes differ, or a candidate is missing for one of the two alone.
    """
    log_p, log_q = _both(teacher, student, temperature)
    with np.errstate(invalid="ignore"):  # where neither has a candidate
        return _expected(np.exp(log_p), log_p - log_q)


def teacher_right(
    teacher: np.ndarray, student: np.ndarray, source_column: np.ndarray, temperature: float = TEMPERATURE
) -> np.ndarray:
    """TST's criterion: log p_T(d+ | q) + log(1 - p_S(d+ | q)), high where the teacher is right and the student wrong.

    Args:
        teacher: (n, c) scores of the candidates.
        student: (n, c) scores of the same.
        source_column: (n,) column of d+, the document that the query was made of.
        temperature: of both softmaxes.

    Returns:
        (n,) at most 0; -inf where d+ is the only candidate.

    Raises:
        ValueError: a query without a source, or as `disagreement`.
    """
    if len(source_column) and np.min(source_column) < 0:
        raise ValueError("a query without a source has no document that the teacher could be right about")
    log_p, log_q = _both(teacher, student, temperature)
    rows = np.arange(len(log_p))
    # 1 - p is summed over the others: near p = 1 a difference would lose all its digits.
    others = log_q.copy()
    others[rows, source_column] = -np.inf
    most = others.max(axis=1, initial=-np.inf)
    safe = np.where(np.isfinite(most), most, 0)
    with np.errstate(divide="ignore"):
        wrong = safe + np.log(np.exp(others - safe[:, None]).sum(axis=1))
    return np.asarray(log_p[rows, source_column] + wrong, dtype=np.float32)


def picked(scores: np.ndarray, keep: int) -> np.ndarray:
    """Rows, rising, of the `keep` highest scores (n,); of equal ones the lower row is taken.

    Raises:
        ValueError: a score is not a number.
    """
    if np.isnan(scores).any():
        raise ValueError(f"the score of row {int(np.argmax(np.isnan(scores)))} is not a number")
    return np.sort(np.argsort(-np.asarray(scores), kind="stable")[: max(0, keep)])


def teacher_spread(probabilities: np.ndarray, groups: np.ndarray) -> float:
    """T.stddev of Good-DA: the standard deviation over groups of the group's mean teacher probability; lower is better.

    A good augmentation makes the teacher's mean vary little from one group of its items to another. It tells two ways
    to make queries apart without training a student.

    Args:
        probabilities: (n,) the teacher's probability of what each item was made of (or (n, c) of every candidate).
        groups: (n,) which group each item is in (e.g. its source document, or the run that made it).

    Returns:
        The standard deviation (of c columns the mean of theirs).
    """
    values = np.asarray(probabilities, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    if not len(values):
        return 0.0
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max() + 1, values.shape[1]), dtype=np.float64)
    np.add.at(sums, group, values)
    return float((sums / np.bincount(group)[:, None]).std(axis=0).mean())


def _both(teacher: np.ndarray, student: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(teacher) != np.shape(student):
        raise ValueError(f"the teacher has scores {np.shape(teacher)}, the student {np.shape(student)}")
    log_p, log_q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    if (np.isneginf(log_p) != np.isneginf(log_q)).any():
        raise ValueError("a candidate has a score from one of teacher and student alone")
    return log_p, log_q


def _expected(probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums (n,) of probability times value; 0 where the probability is."""
    return np.asarray((probabilities * np.where(probabilities > 0, values, 0)).sum(axis=1), dtype=np.float32)
