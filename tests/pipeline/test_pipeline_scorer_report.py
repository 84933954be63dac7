"""Calibration and diagnostics of a scorer: golden values, invariants, and scores that cannot teach."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import InputError
from potstill.pipeline.scorer_report import ScorerReport, calibrate
from potstill.recipe import ScorerSpec

NAN = np.nan


def spec(**more: Any) -> ScorerSpec:
    return ScorerSpec(**{"kind": "cross-encoder", "model": "lab/judge", **more})


def of(*lines: list[float], **more: Any) -> ScorerReport:
    width = max(map(len, lines))
    scores = np.array([line + [NAN] * (width - len(line)) for line in lines], dtype=np.float32)
    positives, others = more.pop("positives", None), more.pop("others", None)
    return calibrate(scores, spec(**more), positives=positives, others=others)


def numbers(report: ScorerReport) -> dict[str, float]:
    return {name: value for name, value in report.as_json().items() if isinstance(value, int | float)}


def random_scores(n: int = 200, c: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (n, c)).astype(np.float32)


def test_golden_values_at_a_given_temperature():
    """Softmax of (ln 6, 0, 0) / 1 is (3/4, 1/8, 1/8)."""
    found = of([math.log(6), 0.0, 0.0], temperature=1.0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.125))
    assert found.entropy == pytest.approx(entropy, rel=1e-6)
    assert found.normalised_entropy == pytest.approx(entropy / math.log(3), rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(entropy), rel=1e-6)
    assert found.top_mass == pytest.approx(0.75, rel=1e-6)
    assert (found.temperature, found.calibrated) == (1.0, False)
    assert (found.lists, found.pairs, found.short_lists, found.constant_lists) == (1, 3, 0, 0)
    assert found.tied_scores == pytest.approx(2 / 3)
    assert (found.peaked_lists, found.flat_scores) == (0, 0)


def test_a_temperature_divides():
    assert of([2 * math.log(6), 0.0, 0.0], temperature=2.0).entropy == pytest.approx(
        of([math.log(6), 0.0, 0.0], temperature=1.0).entropy, rel=1e-6
    )


@pytest.mark.parametrize("perplexity", [1.5, 4.0, 12.0])
def test_the_typical_list_gets_the_perplexity_asked_for(perplexity: float):
    found = calibrate(random_scores(), spec(perplexity=perplexity))
    assert found.perplexity == pytest.approx(perplexity, rel=1e-4)
    assert found.calibrated
    given_again = calibrate(random_scores(), spec(temperature=found.temperature))
    assert given_again.perplexity == pytest.approx(perplexity, rel=1e-4)
    assert not given_again.calibrated


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_and_offset_move_the_temperature_alone(scale: float, offset: float):
    """Cross-encoders differ in both; what is learned must not."""
    base = random_scores(40, 8).astype(np.float64)
    one = calibrate(base, spec())
    other = calibrate(base * scale + offset, spec())
    assert other.temperature == pytest.approx(one.temperature * scale, rel=1e-4)
    assert other.entropy == pytest.approx(one.entropy, rel=1e-4)
    assert other.top_mass == pytest.approx(one.top_mass, rel=1e-4)


def test_holes_do_not_count():
    holes = random_scores()
    holes[:, 12:] = NAN
    whole = calibrate(holes[:, :12], spec())
    assert numbers(calibrate(holes, spec())) == pytest.approx(numbers(whole), rel=1e-9)
    shuffled = holes[:, np.random.default_rng(1).permutation(16)]
    assert numbers(calibrate(shuffled, spec())) == pytest.approx(numbers(whole), rel=1e-9)


def test_short_and_constant_lists_are_counted():
    found = of([1.0], [], [2.0, 2.0, 2.0], [3.0, 1.0], [0.0, 5.0, 1.0], perplexity=1.5)
    assert (found.lists, found.pairs, found.short_lists, found.constant_lists) == (3, 8, 2, 1)
    assert found.tied_scores == pytest.approx(3 / 8)
    assert found.perplexity == pytest.approx(1.5, rel=1e-4)  # of the lists that say something
    said = "\n".join(found.lines())
    assert "2 lists left out: fewer than two candidates" in said
    assert "1 lists say nothing: all their scores are equal" in said


def test_saturation_is_seen():
    found = of([50.0, 0.0, -50.0], [8.0, 7.0, -3.0], [0.1, 0.2, 0.3], temperature=1.0)
    assert found.peaked_lists == pytest.approx(1 / 3)
    assert found.flat_scores == pytest.approx(4 / 9)  # beyond 6.9: 50, -50, 8, 7
    said = "\n".join(found.lines())
    assert "33.3% of lists have more than 0.99" in said
    assert "44.4% of scores lie where a sigmoid is flat" in said
    assert of([50.0, 0.0], kind="sparse", temperature=1.0).flat_scores is None


def test_agreement_with_judgments():
    positives = np.zeros((5, 4), dtype=bool)
    positives[0, 1] = positives[1, 0] = positives[1, 3] = positives[2, 2] = True
    positives[4] = True  # every candidate fits: nothing to tell apart
    lines = [
        [1.0, 9.0, 2.0, 0.0],
        [1.0, 5.0, 4.0, 2.0],
        [7.0, 1.0, 7.0, 0.0],
        [1.0, 2.0, 3.0, 4.0],
        [1.0, 2.0, 3.0, 4.0],
    ]
    found = of(*lines, temperature=1.0, positives=positives)
    # First; the best of two is third; a tie with another is lost; no positive; no other.
    assert found.judged_lists == 3
    assert found.positive_first == pytest.approx(1 / 3)
    assert found.reciprocal_rank == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    assert "known positive first in 33.3% of 3 judged lists" in "\n".join(found.lines())


def test_a_positive_in_a_hole_is_none():
    positives = np.array([[False, False, True]])
    found = of([1.0, 2.0], [1.0, 2.0, 3.0], temperature=1.0, positives=np.vstack([positives, positives]))
    assert found.judged_lists == 1
    nobody = of([1.0, 2.0], temperature=1.0, positives=np.zeros((1, 2), dtype=bool))
    assert (nobody.judged_lists, nobody.positive_first, nobody.reciprocal_rank) == (0, None, None)


def test_rank_correlation_with_the_other_teacher():
    lines = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0]]
    others = np.array(
        [[0.1, 0.2, 0.9], [9.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 2.0, NAN], [0.0, 5.0, -np.inf]], dtype=np.float32
    )
    found = of(*lines, temperature=1.0, others=others)
    assert found.correlated_lists == 2  # constant; two candidates; a hole in the other's
    assert found.rank_correlation == pytest.approx(0.0)
    assert "(2 lists)" in found.lines()[-1]
    none = of([1.0, 2.0], temperature=1.0, others=np.array([[1.0, 2.0]]))
    assert (none.correlated_lists, none.rank_correlation) == (0, None)


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    scores, others = random_scores(5, 9), random_scores(5, 9, seed=1)
    found = calibrate(scores, spec(), others=others)
    expected = np.mean([spearmanr(a, b).statistic for a, b in zip(scores, others, strict=True)])
    assert found.rank_correlation == pytest.approx(expected, abs=1e-9)


def test_json_and_lines():
    scores = random_scores(30, 8)
    found = calibrate(scores, spec(name="judge"), positives=scores == scores.max(axis=1, keepdims=True), others=scores)
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told == found.as_json()
    assert (told["name"], told["kind"], told["calibrated"]) == ("judge", "cross-encoder", True)
    assert (told["positive_first"], told["reciprocal_rank"]) == (1.0, 1.0)
    assert told["rank_correlation"] == pytest.approx(1.0)
    first, second, third, *_ = found.lines()
    assert first.startswith("judge (cross-encoder): temperature ")
    assert first.endswith("(calibrated), 4 effective candidates in a typical list")
    assert second.startswith("entropy ")
    assert third == "30 lists, 240 pairs"


BAD: list[tuple[np.ndarray, dict[str, Any], str, str]] = [
    (np.ones((4, 3)), {}, "scorer judge: the temperature cannot be calibrated: each of the 4 lists", "`temperature`"),
    (
        np.array([[1.0, 1.0, NAN], [2.0, NAN, 2.0]]),
        {},
        "the temperature cannot be calibrated: each of the 2 lists",
        "check the model",
    ),
    (random_scores(9, 3), {}, "the temperature cannot be calibrated: perplexity 4 is out of reach", "`perplexity`"),
    (np.array([[1.0, NAN], [NAN, NAN]]), {}, "no list has two candidates", "candidates.count"),
    (np.empty((0, 4)), {}, "no list has two candidates", "candidates.count"),
    (np.array([[1.0, np.inf, 0.0]]), {"temperature": 1.0}, "scores are infinite", "precision"),
]


@pytest.mark.parametrize(("scores", "more", "said", "remedy"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_scores_that_cannot_be_calibrated(scores: np.ndarray, more: dict[str, Any], said: str, remedy: str):
    with pytest.raises(InputError) as told:
        calibrate(scores, spec(name="judge", **more))
    assert said in str(told.value)
    assert told.value.where == "scorer judge"
    assert remedy in str(told.value.fix)


def test_constant_scores_with_a_given_temperature_are_described():
    found = calibrate(np.ones((4, 3)), spec(temperature=0.5))
    assert (found.constant_lists, found.lists, found.tied_scores) == (4, 4, 1.0)
    assert found.normalised_entropy == pytest.approx(1.0)
    assert json.dumps(found.as_json(), allow_nan=False)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="positives must have the scores' shape"):
        calibrate(random_scores(4, 3), spec(), positives=np.zeros((4, 2), dtype=bool))


def test_another_scale_and_offset_are_calibrated_away():
    """A teacher whose scores are shifted and stretched says the same: its temperature is stretched with them."""
    scores = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)
    spec = ScorerSpec(kind="cross-encoder", model="m", perplexity=4)
    plain, moved = (calibrate(each, spec).temperature for each in (scores, 10 * scores + 100))
    assert moved == pytest.approx(10 * plain, rel=1e-3)
