from __future__ import annotations

import math

import pytest

from potstill.errors import InputError
from potstill.evaluation.measures import cutoff, measure, parse_measures

QRELS = {"q1": {"a": 2, "b": 1, "z": 0}, "q2": {"c": 1}, "q3": {"d": 1}, "q4": {"a": 0}, "q5": {}}
RUN = {
    "q1": [("x", 0.9), ("a", 0.8), ("z", 0.7), ("b", 0.6)],
    "q2": [("c", 0.1)],
    "q4": [("a", 1.0)],
    "unjudged": [("a", 1.0)],
}


def test_by_hand():
    found = measure(RUN, QRELS, ["nDCG@10", "RR@10", "R@100", "AP", "P@2"])
    dcg = 2 / math.log2(3) + 1 / math.log2(5)
    assert found["nDCG@10"]["q1"] == pytest.approx(dcg / (2 + 1 / math.log2(3)))
    assert found["RR@10"]["q1"] == 0.5
    assert found["R@100"]["q1"] == 1.0
    assert found["AP"]["q1"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["P@2"]["q1"] == 0.5
    assert {name: row["q2"] for name, row in found.items()} == {
        "nDCG@10": 1.0, "RR@10": 1.0, "R@100": 1.0, "AP": 1.0, "P@2": 0.5
    }  # fmt: skip


def test_every_judged_query_counts_and_no_other():
    found = measure(RUN, QRELS, ["nDCG@10", "RR@10"])
    for row in found.values():
        assert list(row) == ["q1", "q2", "q3", "q4", "q5"]
        assert (row["q3"], row["q4"], row["q5"]) == (0.0, 0.0, 0.0)


def test_a_query_that_found_nothing_counts_zero():
    assert measure({"q2": []}, {"q2": {"c": 1}}, ["RR@10", "AP"]) == {"RR@10": {"q2": 0.0}, "AP": {"q2": 0.0}}


def test_the_order_counts_not_the_ids_of_equal_scores():
    for first, second in (("a", "b"), ("b", "a")):
        run = {"q": [(first, 0.5), (second, 0.5)]}
        found = measure(run, {"q": {"a": 1}}, ["RR@10", "nDCG@10", "AP"])
        assert found["RR@10"]["q"] == found["AP"]["q"] == (1.0 if first == "a" else 0.5)


def test_names_as_ir_measures_prints_them():
    assert parse_measures(["MAP", "AP", "MRR@10", "Recall@100", "NDCG@10", "AP(rel=2)@5"]) == (
        "AP", "RR@10", "R@100", "nDCG@10", "AP(rel=2)@5"
    )  # fmt: skip
    assert list(measure(RUN, QRELS, ["MAP"])) == ["AP"]
    assert parse_measures([" nDCG@10 "]) == ("nDCG@10",)


@pytest.mark.parametrize(
    "name",
    ["ndcg@10", "nDCG@", "foo", "", "10", "R", "P", "nDCG@'a'", "nDCG@0", "P@0", "RR@0", "R@-1", "R@1.5", "R@True",
     "nDCG(foo=1)@10", "NumRet", "NumQ", "INST",  "AP(rel=0)", "nDCG@10;AP", "nDCG@10 AP"],
)  # fmt: skip
def test_what_cannot_be_measured_is_an_error_that_names_it(name):
    with pytest.raises(InputError) as caught:
        parse_measures(["AP", name])
    assert repr(name) in caught.value.where
    assert "nDCG@10" in caught.value.fix
    assert "object at" not in str(caught.value)


def test_cutoffs():
    assert [cutoff(name) for name in ("nDCG@10", "R@100", "AP", "AP(rel=2)@5")] == [10, 100, None, 5]


def test_nothing_to_measure():
    assert measure({}, {}, ["AP"]) == {"AP": {}}
    assert measure(RUN, QRELS, []) == {}
