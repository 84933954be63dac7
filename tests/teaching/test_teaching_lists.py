"""Lists: each positive once, negatives that are none, and draws that depend on seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.students.tokens import Tokens
from potstill.teachers.pair_tokens import PairTokenizer
from potstill.teaching.lists import Lists, TeachingSet
from potstill.teaching.listwise import ListBatch, ListwiseTask
from tiny import make_tiny_tokenizer

QUERIES, DOCUMENTS = 6, 30


def some_set(*, seed: int = 0, count: int = 4, per_query: int | None = None, most: int | None = None) -> TeachingSet:
    """Six queries; query q has q + 1 positives (documents 0 .. q) and mined 10 .. 19, the last query only 10 and 11."""
    random = np.random.default_rng(1)
    pairs = PairTokenizer(make_tiny_tokenizer(), 24)
    texts = [Tokens.of([[7] * int(n) for n in random.integers(1, 30, size)]) for size in (QUERIES, DOCUMENTS)]
    positives = np.array([(q, d) for q in range(QUERIES) for d in range(q + 1)])
    negatives = np.tile(np.arange(10, 20), (QUERIES, 1))
    negatives[-1, 2:] = -1
    return TeachingSet(*texts, pairs, positives, negatives, count, per_query=per_query, most=most, seed=seed)


def test_every_positive_is_a_list_of_its_own():
    data = some_set()
    for epoch in range(3):
        lists = data.drawn(epoch)
        assert len(data) == len(lists.queries) == 21
        held = set(zip(lists.queries.tolist(), lists.documents[:, 0].tolist(), strict=True))
        assert held == set(map(tuple, data.positives.tolist()))


def test_negatives_are_distinct_mined_and_drawn_anew_each_epoch():
    data = some_set()
    seen = set()
    for epoch in range(4):
        lists = data.drawn(epoch)
        for query, row in zip(lists.queries.tolist(), lists.documents[:, 1:].tolist(), strict=True):
            there = [document for document in row if document >= 0]
            assert len(set(there)) == len(there) == (2 if query == 5 else 4)
            assert set(there) <= set(data.negatives[query].tolist())
            assert row[len(there) :] == [-1] * (4 - len(there))
        seen.add(lists.documents.tobytes())
    assert len(seen) == 4


def test_draws_depend_on_seed_and_epoch_alone():
    one, two = some_set(), some_set()
    for epoch in (3, 0, 3):
        two.drawn(epoch)
    assert np.array_equal(one.drawn(1).documents, two.drawn(1).documents)
    assert not np.array_equal(one.drawn(1).documents, some_set(seed=1).drawn(1).documents)


@pytest.mark.parametrize(("per_query", "most", "expected"), [(1, None, 6), (2, None, 11), (None, 5, 5), (2, 7, 7)])
def test_fewer_lists_an_epoch_come_to_all_positives_in_time(per_query, most, expected):
    data = some_set(per_query=per_query, most=most)
    held = set()
    for epoch in range(80):
        lists = data.drawn(epoch)
        assert len(lists.queries) == len(data) == expected
        if per_query is not None:
            assert np.bincount(lists.queries).max() <= per_query
        held |= set(zip(lists.queries.tolist(), lists.documents[:, 0].tolist(), strict=True))
    assert held == set(map(tuple, data.positives.tolist()))


def test_the_cost_of_a_list_is_that_of_its_padded_pairs():
    data = some_set()
    lists = data.drawn(2)
    for row, cost in enumerate(data.lengths(2).tolist()):
        pairs, there = data.joined(Lists(lists.queries[[row]], lists.documents[[row]]))
        assert cost == pairs.ids.size
        assert len(pairs) == there.sum()


@pytest.mark.parametrize("change", ["positive", "alone"])
def test_a_positive_among_the_negatives_and_a_list_without_any_are_refused(change):
    data = some_set()
    negatives = data.negatives.copy()
    if change == "positive":
        negatives[3, 4] = 2
    else:
        negatives[3] = -1
    with pytest.raises(ValueError, match="positive is among" if change == "positive" else "no negative"):
        TeachingSet(data.queries, data.documents, data.pairs, data.positives, negatives, 4)


class Counting(torch.nn.Module):
    """A ranker whose logit is a pair's number of tokens, times a weight."""

    kind = "cross-encoder"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def logits(self, pairs):
        return self.weight * torch.from_numpy(pairs.mask.sum(axis=1)).float()


def test_the_loss_is_the_softmax_of_each_list_and_holes_count_nothing():
    data, task = some_set(), ListwiseTask(Counting())
    rows = np.arange(len(data))
    batch = task.prepare(data, rows, 0, 1)
    assert isinstance(batch, ListBatch)
    outputs = task(batch)
    losses = task.losses(outputs, batch)
    expected, at = [], 0
    for row in batch.there.numpy():
        logits = 0.5 * batch.pairs.mask[at : at + row.sum()].sum(axis=1)
        at += row.sum()
        expected.append(np.log(np.exp(logits).sum()) - logits[0])
    assert float(losses.total.detach()) == pytest.approx(np.mean(expected), rel=1e-5)
    assert list(losses.terms) == list(task.term_names)
    norms = task.gradient_norms(losses, outputs)
    share = torch.softmax(outputs, dim=1).detach()
    share[:, 0] -= 1.0
    assert norms == {"listwise": pytest.approx(float((share / len(rows)).norm()), rel=1e-4)}
    losses.total.backward()
    assert bool(torch.isfinite(task.ranker.weight.grad))


def test_golden_loss():
    task = ListwiseTask(Counting())
    outputs = torch.tensor([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, -torch.inf, -torch.inf]])
    batch = ListBatch(None, torch.isfinite(outputs))
    assert float(task.losses(outputs, batch).total) == pytest.approx((np.log(4) + np.log(2)) / 2)


def test_the_identity_tells_other_lists_apart():
    task = ListwiseTask(Counting())
    data = some_set()
    fewer = TeachingSet(data.queries, data.documents, data.pairs, data.positives[:-1], data.negatives, 4)
    assert task.identity(data) == task.identity(some_set())
    assert task.identity(data) != task.identity(fewer)
