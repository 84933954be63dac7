import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_run import edit

from potstill.report import charts, numbers
from potstill.report.numbers import excerpt
from potstill.report.runfiles import read_run
from potstill.report.summary import short_name, summarise


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("−", "-").replace("–", "..")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (numbers.percent(0.9909), "99.1 %"),
        (numbers.percent(None), "—"),
        (numbers.percent_range(0.972, 1.0101), "97.2..101.0 %"),
        (numbers.percent_range(None, 1.0), ""),
        (numbers.score(0.64512), "0.645"),
        (numbers.score(-0.0001), "0.000"),
        (numbers.change(-0.634), "-0.63"),
        (numbers.change(0.25), "+0.25"),
        (numbers.count(38412), "38,412"),
        (numbers.size(0), "0 B"),
        (numbers.size(999), "999 B"),
        (numbers.size(1000), "1.0 kB"),
        (numbers.size(46_201_344), "46.2 MB"),
        (numbers.size(999_999), "1.0 MB"),
        (numbers.size(2.5e13), "25000 GB"),
        (numbers.large(22_961_202), "23.0 M"),
        (numbers.large(2_270_000), "2.27 M"),
        (numbers.large(118_000_000), "118 M"),
        (numbers.large(1500), "1,500"),
        (numbers.latency(15.02), "15.0 ms"),
        (numbers.latency(0.0484), "48 µs"),
        (numbers.latency(0.0042), "4.2 µs"),
        (numbers.latency(0.25), "0.25 ms"),
        (numbers.latency(1234.5), "1,234 ms"),
        (numbers.times(310.3), "310"),
        (numbers.times(1266), "1,300"),
        (numbers.times(42.4), "42"),
        (numbers.times(4.21), "4.2"),
        (numbers.p_value(0.312), "p = 0.31"),
        (numbers.p_value(0.0497), "p = 0.050"),
        (numbers.p_value(0.004), "p = 0.004"),
        (numbers.p_value(0.0001), "p < 0.001"),
        (numbers.p_value(None), ""),
    ],
)
def test_numbers_as_people_read_them(said: str, value: str) -> None:
    assert plain(said) == value


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("/models/bge/", "bge"),
        ("C:\\models\\bge", "bge"),
        ("e5", "e5"),
        ("lab/bge/model", "bge/model"),
        ("bge/checkpoint-500/", "bge/checkpoint-500"),
        ("model", "model"),
        ("/model", "model"),
        ("lab/modelling", "modelling"),
        (None, ""),
    ],
)
def test_short_names(name: str | None, short: str) -> None:
    assert short_name(name) == short


def test_long_examples_are_cut_after_a_word() -> None:
    assert excerpt("short enough", 12) == "short enough"
    assert excerpt("one two three four", 12) == "one two …"
    assert excerpt("語" * 20, 12) == "語" * 12 + " …"


def verdict(run: Path, **kept: float | None) -> str:
    edit(run / "evaluation.json", lambda e: e["retention"]["nDCG@10"].update(kept))
    return plain(summarise(read_run(run)).verdict)


def test_a_significant_loss_is_called_real(run: Path) -> None:
    said = verdict(run, value=0.9, low=0.87, high=0.93, p=0.0004)
    assert said == "The loss is real (p < 0.001, paired randomisation test)."


def test_a_significant_gain_is_called_real(run: Path) -> None:
    assert verdict(run, value=1.05, low=1.01, high=1.09, p=0.02).startswith("The gain is real (p = 0.020")


def test_no_difference_found_still_tells_the_loss_that_the_interval_allows(run: Path) -> None:
    said = verdict(run, value=0.95, low=0.85, high=1.04, p=0.2)
    assert said == (
        "No significant difference was found (p = 0.20, paired randomisation test); "
        "a loss of up to 15.0 % lies within the interval."
    )


def test_without_a_test_nothing_is_claimed(run: Path) -> None:
    assert verdict(run, p=None) == "The difference was not tested."


@given(value=st.floats(0.01, 2), p=st.floats(0, 1))
def test_the_reading_never_calls_two_systems_equal(value: float, p: float) -> None:
    from potstill.report.summary import _reading

    said = _reading(value, p)
    assert "equal" not in said
    assert ("real" in said) == (p < 0.05 and value != 1)
    assert ("loss" in said) <= (value < 1)


def test_a_slow_student_is_not_called_fast(run: Path) -> None:
    edit(run / "evaluation.json", lambda e: e["cost"]["student"].update(query_ms_p50=19.5))
    assert plain(summarise(read_run(run)).headline).endswith("at 130 % of its query time")


def test_without_costs_the_headline_keeps_to_quality(run: Path) -> None:
    edit(run / "evaluation.json", lambda e: e.pop("cost"))
    assert plain(summarise(read_run(run)).headline).endswith("(95 % interval 97.2..101.0 %)")


def test_the_first_measure_stands_in_when_ndcg_was_not_measured(run: Path) -> None:
    edit(run / "evaluation.json", lambda e: [e["systems"][s].pop("nDCG@10") for s in ("teacher", "student")])
    assert "RR@10" in summarise(read_run(run)).headline


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_within(low: float, span: float) -> None:
    marks = charts.ticks(low, low + span)
    assert 1 <= len(marks) <= 8
    assert all(low - 1e-6 * span <= mark <= low + span * (1 + 1e-6) for mark in marks)
    assert len(set(charts.tick_labels(marks))) == len(marks)


@given(low=st.floats(1e-3, 1e3), ratio=st.floats(6, 1e5))
def test_log_ticks_lie_within(low: float, ratio: float) -> None:
    marks = charts.log_ticks(low, low * ratio)
    assert len(marks) >= 2
    assert all(low <= mark <= low * ratio for mark in marks)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e3)), min_size=1, max_size=1000))
def test_thinning_keeps_the_mean_and_the_limit(points: list[tuple[float, float]]) -> None:
    thinned = charts.thin(points, 50)
    assert len(thinned) <= max(50, 1)
    assert min(y for _, y in points) - 1e-6 <= min(y for _, y in thinned)
    assert max(y for _, y in thinned) <= max(y for _, y in points) + 1e-6
    if len(points) <= 50:
        assert thinned == points


def test_a_steady_curve_and_a_single_point_can_be_drawn() -> None:
    assert "<path" in charts.curve("Loss", [(1.0, 0.5), (2.0, 0.5)], kind="plain")
    assert "<path" in charts.curve("Loss", [(1.0, 0.0)], kind="plain")


def test_systems_of_like_speed_get_labels_over_and_under() -> None:
    def system(name: str, latency: float) -> charts.System:
        return charts.System(name, "other", latency, None, 0.5, 0.4, 0.6)

    near = charts.tradeoff([system("a", 5.0), system("b", 15.0)], "AP")
    far = charts.tradeoff([system("a", 0.05), system("b", 15.0)], "AP")
    assert near.count('class="name"') == far.count('class="name"') == 2
    heights = [line.split(' y="')[1].split('"')[0] for line in near.split("<text")[1:] if 'class="name"' in line]
    assert abs(float(heights[0]) - float(heights[1])) > 100


def test_the_fixture_is_json_all_through(run: Path) -> None:
    for name in ("run.json", "evaluation.json", "documents.json"):
        assert isinstance(json.loads((run / name).read_text(encoding="utf-8")), dict)
