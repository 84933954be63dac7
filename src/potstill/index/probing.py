"""Are the vectors of an index those of the teacher that is claimed? Some are encoded again and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..evaluation import exact_search
from .index import Index, unit

_SAME = 0.99  # cosine of a stored vector with the one encoded again; float16 stays above 0.9999
_SAME_LOSSY = 0.6
_NEAR = 0.8  # a model of the same family, another prompt or length
_UNIT = 5e-3
_LENGTHS = 0.02
_ENOUGH = 0.9  # share of the sample that must agree
_SHOWN = 5


@dataclass(frozen=True)
class Probe:
    """What a sample of vectors, encoded again, says of an index.

    Attributes:
        sampled: how many vectors.
        cosine_mean: of stored vector and vector encoded again, by id.
        cosine_least: the lowest.
        difference: the largest difference of one number, both vectors as they are.
        norm_stored: least, mean and largest length of the sampled vectors.
        norm_encoded: the same of those encoded again.
        misplaced: how many are the teacher's vector of another document in the index.
        problems: why the index and the teacher do not go together; none: they do.
        notes: what a user should know besides.
    """

    sampled: int = 0
    cosine_mean: float | None = None
    cosine_least: float | None = None
    difference: float | None = None
    norm_stored: tuple[float, float, float] | None = None
    norm_encoded: tuple[float, float, float] | None = None
    misplaced: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def compatible(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """All by name."""
        return {"compatible": self.compatible, **asdict(self)}


def probe(index: Index, rows: np.ndarray, encoded: np.ndarray, metric: str) -> Probe:
    """Compare stored vectors with the teacher's of the same documents.

    Args:
        index: the index.
        rows: `(s,)` the sampled rows, one at least.
        encoded: `(s, D)` float32, the teacher's vectors of these documents, encoded anew.
        metric: how the teacher compares: `dot` or `cosine`.
    """
    if encoded.shape[1] != index.dimensions:
        return Probe(
            len(rows),
            problems=[f"the index holds vectors of {index.dimensions} numbers, the teacher gives {encoded.shape[1]}"],
        )
    stored = index.vectors().gather(rows)
    directions, again = unit(stored), unit(encoded)
    cosines = np.einsum("nd,nd->n", directions, again, dtype=np.float64)
    both_zero = ~stored.any(axis=1) & ~encoded.any(axis=1)
    cosines[both_zero] = 1.0
    same = _SAME_LOSSY if index.lossy else _SAME
    agree = cosines >= same
    misplaced = _misplaced(index, rows[~agree], again[~agree], same) if not agree.all() else 0
    lengths, anew = (np.linalg.norm(vectors.astype(np.float64), axis=1) for vectors in (stored, encoded))
    problems: list[str] = []
    if agree.mean() < 1.0 or misplaced:
        problems.append(_stranger(cosines, agree, misplaced, len(rows)))
    else:
        problems += _comparisons(index, lengths, anew, metric)
    notes = (
        ["the vectors are what a lossy index gives back: they are compared loosely, and recall is of them"]
        if index.lossy
        else []
    )
    return Probe(
        len(rows),
        float(cosines.mean()),
        float(cosines.min()),
        float(np.abs(stored - encoded).max()),
        _spread(lengths),
        _spread(anew),
        misplaced,
        problems,
        notes,
    )


def _misplaced(index: Index, rows: np.ndarray, again: np.ndarray, same: float) -> int:
    """How many vectors encoded again are found, but at other documents."""
    best = exact_search(again, index.vectors(), 1, metric="cosine")
    return int(((best.scores[:, 0] >= same) & (best.rows[:, 0] != rows)).sum())


def _stranger(cosines: np.ndarray, agree: np.ndarray, misplaced: int, sampled: int) -> str:
    wrong = int((~agree).sum())
    if misplaced > wrong / 2:
        return (
            f"{misplaced} of {sampled} sampled vectors are the teacher's, but of other documents: the ids are not in"
            " the order of the vectors"
        )
    if agree.mean() >= _ENOUGH:
        return (
            f"{wrong} of {sampled} sampled vectors are not the teacher's of these documents (lowest cosine"
            f" {cosines.min():.2f}): these documents have changed since they were indexed, or were cut elsewhere"
        )
    if cosines.mean() >= _NEAR:
        return (
            f"the sampled vectors are near the teacher's and not the same: mean cosine {cosines.mean():.3f}; look at"
            " prompts, maximum length, pooling, revision and precision"
        )
    return f"these vectors are of another model: mean cosine {cosines.mean():.2f} with the teacher's"


def _comparisons(index: Index, lengths: np.ndarray, anew: np.ndarray, metric: str) -> list[str]:
    """Whether ranking by the index's metric is ranking as the teacher does, given that directions agree."""
    filled = (lengths > 0) & (anew > 0)
    lengths, anew = lengths[filled], anew[filled]
    stored_unit, teacher_unit = (bool((np.abs(each - 1) < _UNIT).all()) for each in (lengths, anew))
    lengths_matter = metric == "dot" and not teacher_unit
    if lengths_matter:
        if index.metric == "cosine":
            return [
                "the index compares cosines, and the teacher inner products of vectors whose lengths matter:"
                " build it with --metric dot"
            ]
        if index.metric == "l2":
            return ["the index compares distances, and the teacher inner products of vectors of unequal length"]
        if stored_unit:
            return ["stored vectors are normalised, the teacher's are not, and it compares inner products"]
        if not index.lossy and len(anew) and (np.abs(lengths / anew - 1) > _LENGTHS).any():
            ratio = lengths / anew
            return [
                f"stored vectors have the teacher's directions and not its lengths: they are {ratio.min():.3f} to"
                f" {ratio.max():.3f} times as long"
            ]
        return []
    if index.metric != "cosine" and not stored_unit and not index.lossy:
        what = "inner products" if index.metric == "dot" else "distances"
        return [
            f"stored vectors are not normalised, and the index compares {what}, but the teacher cosines: normalise"
            " them, or use an index of cosines"
        ]
    return []


def _spread(lengths: np.ndarray) -> tuple[float, float, float]:
    return float(lengths.min()), float(lengths.mean()), float(lengths.max())


def missing(ids: Sequence[str], rows: np.ndarray) -> str | None:
    """A problem where rows of ids in the collection are -1; None where all are there."""
    lacking = np.flatnonzero(rows < 0)
    if not len(lacking):
        return None
    some = ", ".join(repr(ids[row]) for row in lacking[:_SHOWN])
    more = ", ..." if len(lacking) > _SHOWN else ""
    return f"ids of the index that the collection lacks: {len(lacking):,} of {len(ids):,} ({some}{more})"
