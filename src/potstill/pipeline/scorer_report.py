"""What a scorer's scores are like: the temperature that suits them, and whether they say anything worth learning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..recipe import ScorerSpec

PEAKED = 0.99
"""A list whose first candidate has more than this share of the probability teaches little but its first place."""
FLAT = math.log(1e3)
"""A logit beyond this (6.9) is where a sigmoid is within 0.001 of 0 or 1 and has lost its slope."""
_LEAST = 3  # candidates that a rank correlation takes


@dataclass(frozen=True)
class ScorerReport:
    """A scorer's calibration and diagnostics, over lists with at least two candidates; means over lists.

    Attributes:
        name, kind: of the scorer.
        temperature: by which its scores are divided before a softmax.
        calibrated: whether it was found here; False where the recipe gives it.
        perplexity: median of exp(entropy) at this temperature, over lists that are not constant (the lower of the two
            in the middle): a typical list's effective candidates.
        lists: lists with at least two candidates.
        pairs: candidates in them.
        short_lists: lists left out, with fewer candidates.
        constant_lists: of `lists`, those whose scores are all equal: they say nothing at any temperature.
        entropy: nats.
        normalised_entropy: entropy over that of equal scores, log(candidates): 0 to 1.
        top_mass: probability of the first candidate.
        peaked_lists: share of lists whose first candidate has more than 0.99 of the probability.
        tied_scores: share of scores that another candidate of the list has too, to the last bit.
        flat_scores: share of scores at which a sigmoid would be within 0.001 of 0 or 1; of cross-encoders alone.
        judged_lists: lists with a known positive and another candidate.
        positive_first: share of judged lists in which a positive is ranked first; a tie counts as lost.
        reciprocal_rank: mean of 1 / rank of the best positive there.
        correlated_lists: lists with at least three candidates in which neither teacher is constant.
        rank_correlation: mean Spearman correlation with the other teacher's scores there.
    """

    name: str
    kind: str
    temperature: float
    calibrated: bool
    perplexity: float
    lists: int
    pairs: int
    short_lists: int
    constant_lists: int
    entropy: float
    normalised_entropy: float
    top_mass: float
    peaked_lists: float
    tied_scores: float
    flat_scores: float | None
    judged_lists: int = 0
    positive_first: float | None = None
    reciprocal_rank: float | None = None
    correlated_lists: int = 0
    rank_correlation: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Give all by name; every number is finite."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people."""
        how = "calibrated" if self.calibrated else "given"
        said = [
            f"{self.name} ({self.kind}): temperature {self.temperature:.4g} ({how}), "
            f"{self.perplexity:.3g} effective candidates in a typical list",
            f"entropy {self.entropy:.3g} nats ({self.normalised_entropy:.0%} of equal scores'), "
            f"first candidate {self.top_mass:.2f} of the probability",
            f"{self.lists:,} lists, {self.pairs:,} pairs",
        ]
        if self.short_lists:
            said.append(f"{self.short_lists:,} lists left out: fewer than two candidates")
        if self.constant_lists:
            said.append(f"{self.constant_lists:,} lists say nothing: all their scores are equal")
        if self.peaked_lists:
            said.append(f"{self.peaked_lists:.1%} of lists have more than {PEAKED} of the probability on one candidate")
        if self.tied_scores:
            said.append(f"{self.tied_scores:.1%} of scores tie with another of their list")
        if self.flat_scores:
            said.append(f"{self.flat_scores:.1%} of scores lie where a sigmoid is flat; they are used as logits")
        if self.positive_first is not None:
            said.append(
                f"known positive first in {self.positive_first:.1%} of {self.judged_lists:,} judged lists, "
                f"mean reciprocal rank {self.reciprocal_rank:.3f}"
            )
        if self.rank_correlation is not None:
            said.append(
                f"rank correlation with the teacher of vectors {self.rank_correlation:.3f} "
                f"({self.correlated_lists:,} lists)"
            )
        return said


def calibrate(
    scores: np.ndarray,
    spec: ScorerSpec,
    *,
    positives: np.ndarray | None = None,
    others: np.ndarray | None = None,
) -> ScorerReport:
    """Find a scorer's temperature, where the recipe gives none, and describe its scores.

    Args:
        scores: (n, c), NaN where a list has no candidate; see `pair_scores`.
        spec: names the scorer; `temperature` is kept, `perplexity` is aimed at.
        positives: (n, c) bool, True where a candidate is known to fit its query.
        others: (n, c) scores of the same candidates by the teacher of vectors; NaN where there is none.

    Raises:
        InputError: no list with two candidates, infinite scores, scores that are all constant where a temperature has
            to be found, or a perplexity out of reach.
    """
    name = str(spec.name)
    for what, array in (("positives", positives), ("others", others)):
        if array is not None and array.shape != scores.shape:
            raise ValueError(f"{what} must have the scores' shape {scores.shape}, not {array.shape}")
    if np.isinf(scores).any():
        fix = "look at the model's precision: float16 overflows where float32 does not"
        raise InputError("scores are infinite", where=f"scorer {name}", fix=fix)
    full = (~np.isnan(scores)).sum(axis=1) >= 2
    if not full.any():
        raise InputError(
            "no list has two candidates to compare",
            where=f"scorer {name}",
            fix="ask for more candidates (candidates.count)",
        )
    kept = scores[full].astype(np.float64)
    temperature = spec.temperature or _calibrated(kept, spec)
    found = _diagnosed(kept, temperature)
    if positives is not None:
        found |= _agreement(kept, positives[full])
    if others is not None:
        found |= _correlation(kept, others[full])
    flat = float((np.abs(kept[~np.isnan(kept)]) > FLAT).mean()) if spec.kind == "cross-encoder" else None
    return ScorerReport(
        name=name,
        kind=spec.kind,
        temperature=temperature,
        calibrated=spec.temperature is None,
        short_lists=int((~full).sum()),
        flat_scores=flat,
        **found,
    )


def _calibrated(scores: np.ndarray, spec: ScorerSpec) -> float:
    import torch

    from ..objectives.calibration import calibrate_temperature

    mask = ~np.isnan(scores)
    where = f"scorer {spec.name}"
    if not (np.nanmax(scores, axis=1) > np.nanmin(scores, axis=1)).any():
        raise InputError(
            f"the temperature cannot be calibrated: each of the {len(scores):,} lists has one score for all its "
            "candidates",
            where=where,
            fix="check the model, which tells no document from another; setting the scorer's `temperature` goes on "
            "with these scores",
        )
    filled = torch.from_numpy(np.where(mask, scores, 0.0))
    try:
        return calibrate_temperature(filled, spec.perplexity, torch.from_numpy(mask)).temperature
    except ValueError as error:
        raise InputError(
            f"the temperature cannot be calibrated: {error}",
            where=where,
            fix="lower the scorer's `perplexity`, ask for more candidates (candidates.count), or set its `temperature`",
        ) from None


def _diagnosed(scores: np.ndarray, temperature: float) -> dict[str, Any]:
    """The numbers that need the scores alone. NaN marks a hole."""
    mask = ~np.isnan(scores)
    shifted = np.where(mask, scores - np.nanmax(scores, axis=1, keepdims=True), -np.inf) / temperature
    weights = np.exp(shifted)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    logs = np.where(probabilities > 0, np.log(np.maximum(probabilities, 1e-300)), 0.0)
    entropy = -(probabilities * logs).sum(axis=1)
    top = probabilities.max(axis=1)
    constant = np.nanmax(scores, axis=1) == np.nanmin(scores, axis=1)
    typical = np.sort(entropy if constant.all() else entropy[~constant])
    ties = 0
    for line, there in zip(scores, mask, strict=True):
        _, counts = np.unique(line[there], return_counts=True)
        ties += int(counts[counts > 1].sum())
    return {
        "perplexity": math.exp(typical[(len(typical) - 1) // 2]),
        "lists": len(scores),
        "pairs": int(mask.sum()),
        "constant_lists": int(constant.sum()),
        "entropy": float(entropy.mean()),
        "normalised_entropy": float((entropy / np.log(mask.sum(axis=1))).mean()),
        "top_mass": float(top.mean()),
        "peaked_lists": float((top > PEAKED).mean()),
        "tied_scores": ties / int(mask.sum()),
    }


def _agreement(scores: np.ndarray, positives: np.ndarray) -> dict[str, Any]:
    """How high the known positives are ranked; the best of several counts, and ties with another are lost."""
    mask = ~np.isnan(scores)
    fits, rest = positives & mask, ~positives & mask
    judged = fits.any(axis=1) & rest.any(axis=1)
    if not judged.any():
        return {}
    lines = scores[judged]
    best = np.where(fits[judged], lines, -np.inf).max(axis=1, keepdims=True)
    ranks = 1 + (rest[judged] & (lines >= best)).sum(axis=1)
    return {
        "judged_lists": int(judged.sum()),
        "positive_first": float((ranks == 1).mean()),
        "reciprocal_rank": float((1 / ranks).mean()),
    }


def rank_correlation(scores: np.ndarray, others: np.ndarray) -> float | None:
    """Mean Spearman correlation of two teachers' `(n, c)` scores over lists; NaN marks a hole; None: no list tells."""
    found: float | None = _correlation(scores, others).get("rank_correlation")
    return found


def _correlation(scores: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Mean of the lists' Spearman correlations."""
    values = np.fromiter(_correlations(scores, others), dtype=np.float64)
    if not len(values):
        return {}
    return {"correlated_lists": len(values), "rank_correlation": float(values.mean())}


def _correlations(scores: np.ndarray, others: np.ndarray) -> Iterator[float]:
    from scipy.stats import rankdata

    for one, other in zip(scores, others, strict=True):
        there = ~np.isnan(one) & np.isfinite(other)
        if there.sum() < _LEAST or np.ptp(one[there]) == 0 or np.ptp(other[there]) == 0:
            continue
        yield float(np.corrcoef(rankdata(one[there]), rankdata(other[there]))[0, 1])
