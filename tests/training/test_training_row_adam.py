from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.students.tower import TouchedRows
from potstill.training.row_adam import RowAdam


def used(table, rows, gradient):
    rows = torch.as_tensor(rows)
    sub = table.index_select(0, rows).requires_grad_()
    sub.grad = gradient
    return TouchedRows(table, rows, sub)


def test_all_rows_touched_is_torch_adam_without_momentum():
    """With one number a row, a row's mean square is that number's: textbook Adam, dense and sparse."""
    random = torch.Generator().manual_seed(0)
    table = torch.randn(6, 1, generator=random)
    dense = table.clone().requires_grad_()
    sparse = table.clone().requires_grad_()
    adam = torch.optim.Adam([dense], lr=0.05, betas=(0.0, 0.999))
    sparse_adam = torch.optim.SparseAdam([sparse], lr=0.05, betas=(0.0, 0.999))
    ours = RowAdam()
    for _ in range(30):
        gradient = torch.randn(6, 1, generator=random)
        dense.grad = gradient.clone()
        sparse.grad = gradient.to_sparse(1)
        adam.step()
        sparse_adam.step()
        ours.step({"t": [used(table, torch.arange(6), gradient)]}, 0.05)
    torch.testing.assert_close(table, dense.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(table, sparse.detach(), rtol=1e-5, atol=1e-6)


def test_wide_rows_take_one_step_size():
    """Gradients of equal size within a row: its mean square is every number's, so textbook Adam again."""
    random = torch.Generator().manual_seed(0)
    table = torch.randn(5, 4, generator=random)
    dense = table.clone().requires_grad_()
    adam = torch.optim.Adam([dense], lr=0.1, betas=(0.0, 0.999))
    ours = RowAdam()
    for _ in range(20):
        size = torch.rand(5, 1, generator=random)
        gradient = size * torch.randn(5, 4, generator=random).sign()
        dense.grad = gradient.clone()
        adam.step()
        ours.step({"t": [used(table, torch.arange(5), gradient)]}, 0.1)
    torch.testing.assert_close(table, dense.detach(), rtol=1e-5, atol=1e-6)


@given(st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=25), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_every_row_is_an_adam_with_its_own_clock(steps, seed):
    random = torch.Generator().manual_seed(seed)
    table = torch.randn(6, 1, generator=random)
    apart = [table[i].clone().requires_grad_() for i in range(6)]
    adams = [torch.optim.Adam([row], lr=0.1, betas=(0.0, 0.999)) for row in apart]
    ours = RowAdam()
    for rows in map(sorted, steps):
        gradient = torch.randn(len(rows), 1, generator=random)
        before = table.clone()
        ours.step({"t": [used(table, rows, gradient)]}, 0.1)
        for row, one in zip(rows, gradient, strict=True):
            apart[row].grad = one.clone()
            adams[row].step()
        rest = [i for i in range(6) if i not in rows]
        assert table[rest].numpy().tobytes() == before[rest].numpy().tobytes()
    torch.testing.assert_close(table, torch.stack([row.detach() for row in apart]), rtol=1e-4, atol=1e-5)


def test_rows_used_by_two_passes_get_the_sum_of_their_gradients():
    start = torch.randn(5, 3)
    first, second = torch.randn(2, 3), torch.randn(3, 3)
    twice, once = start.clone(), start.clone()
    RowAdam().step({"t": [used(twice, [0, 2], first), used(twice, [1, 2, 4], second)]}, 0.1)
    total = torch.stack([first[0], second[0], first[1] + second[1], second[2]])
    RowAdam().step({"t": [used(once, [0, 1, 2, 4], total)]}, 0.1)
    torch.testing.assert_close(twice, once)
    assert torch.equal(twice[3], start[3])


def test_tables_do_not_mix_and_a_pass_without_gradient_does_nothing():
    a, b = torch.ones(3, 2), torch.ones(4, 2)
    ours = RowAdam()
    idle = used(b, [0, 1], None)
    ours.step({"a": [used(a, [1], torch.ones(1, 2))], "b": [idle]}, 0.1)
    assert torch.equal(b, torch.ones(4, 2))
    torch.testing.assert_close(a[1], torch.full((2,), 0.9))
    assert set(ours.state_dict()) == {"a.second", "a.updates"}


def test_state_goes_on_in_the_same_bytes():
    def run(stop_at):
        random = torch.Generator().manual_seed(1)
        table, ours = torch.randn(8, 3, generator=random), RowAdam()
        for step in range(12):
            if step == stop_at:
                saved = {name: value.clone() for name, value in ours.state_dict().items()}
                ours = RowAdam()
                ours.load_state_dict(saved)
            rows = torch.randperm(8, generator=random)[:4].sort().values
            ours.step({"query.table": [used(table, rows, torch.randn(4, 3, generator=random))]}, 0.1)
        return table.numpy().tobytes()

    assert run(None) == run(5) == run(0)


def test_a_gradient_of_zero_moves_nothing():
    table = torch.ones(2, 3)
    RowAdam().step({"t": [used(table, [0], torch.zeros(1, 3))]}, 0.1)
    assert torch.equal(table, torch.ones(2, 3))
