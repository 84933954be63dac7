"""Defects of LEAD's released code (lead.md 4.4), each as a test that ours has not got it.

Elsewhere: the padding mask that is not gathered (2) and the gradient that is a share of the true one (3) are
`tests/training/test_training_gathering.py`; other positives as negatives (9) `tests/teaching/test_teaching_apart.py`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.candidates import known_positives, mine
from potstill.candidates.mining import by_vectors
from potstill.collection import open_collection
from potstill.errors import InputError
from potstill.evaluation import measure
from potstill.recipe import TeacherSpec
from potstill.teachers import open_teacher
from potstill.training.batches import Batches
from tiny import make_tiny_encoder


def test_1_no_positive_stays_among_the_negatives_ids_are_compared_as_ids():
    """There a string was compared with a number, so nothing was removed; and only the first positive was looked at."""

    class Vectors:
        dimensions = 2

        def __len__(self):
            return 4

        def gather(self, rows):
            return np.eye(4, 2, dtype=np.float32)[rows]

        def __iter__(self):
            yield self.gather(np.arange(4))

    ids = ["7", "07", "8", "9"]
    positives = known_positives(["q"], ids, {"q": ("7", "8")})
    search = by_vectors(np.ones((1, 2), np.float32), Vectors(), "dot")
    found = mine(search, ["q"], ids, 4, source="vectors", settings={}, positives=positives)
    assert {ids[row] for row in found.rows[0].tolist() if row >= 0} == {"07", "9"}


def test_4_measures_divide_by_what_is_relevant_not_by_what_was_found():
    qrels = {"q": {"a": 1, "b": 1, "c": 1}}
    found = measure({"q": [("a", 2.0), ("x", 1.0)]}, qrels, ["AP", "nDCG@10", "R@100"])
    assert found["AP"]["q"] == pytest.approx(1 / 3)
    assert found["nDCG@10"]["q"] == pytest.approx(1 / (1 + 1 / np.log2(3) + 1 / 2))
    assert found["R@100"]["q"] == pytest.approx(1 / 3)
    ten = {f"d{n}": 1 for n in range(10)}
    assert measure({"q": [(d, -n) for n, d in enumerate(ten)]}, {"q": ten}, ["nDCG@10"])["nDCG@10"]["q"] == 1.0


def test_5_a_tab_separated_file_is_no_csv_quotes_are_text(tmp_path):
    (tmp_path / "corpus.tsv").write_text('d1\tan "unbalanced quote\nd2\t"whole"\nd3\tlast\n', encoding="utf-8")
    found = {document.id: document.text for document in open_collection(str(tmp_path)).documents()}
    assert found == {"d1": 'an "unbalanced quote', "d2": '"whole"', "d3": "last"}


def test_6_weights_that_are_in_no_file_are_an_error(tmp_path):
    folder = make_tiny_encoder(tmp_path / "model")
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights = {name: value for name, value in weights.items() if "layer.1.output.dense" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="random numbers"):
        open_teacher(TeacherSpec(model=str(folder)))


def test_7_every_epoch_has_its_own_order():
    batches = Batches(np.full(50, 5), tokens_per_batch=20, max_texts=4, seed=0)
    orders = [batches.plan(epoch).order.tolist() for epoch in range(4)]
    assert len({json.dumps(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_8_passages_are_encoded_without_dropout(tmp_path):
    teacher = open_teacher(TeacherSpec(model=str(make_tiny_encoder(tmp_path / "model"))))
    assert not teacher.encoder("document").training
    torch.manual_seed(0)
    first = teacher.encode(["a cask of malt"], "document")
    assert np.array_equal(first, teacher.encode(["a cask of malt"], "document"))
