"""Several teachers without a vote, against loops in NumPy."""

import numpy as np
import pytest
import torch

from potstill.objectives import ListEnsemble, ListVote, PointVote, parse_objective


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


S, T = normal(6, 5, seed=1), normal(3, 6, 5, seed=2)
MASK = torch.ones(6, 5, dtype=torch.bool)
MASK[1, 3:] = False
THERE = torch.ones(3, 6, dtype=torch.bool)
THERE[2, ::2] = False
FORMS = ListEnsemble.forms


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def expected(form, mask, there):
    total = []
    for i in range(6):
        own = [k for k in range(3) if there[k, i]]
        kept = mask[i].numpy()
        lists = [T[k, i].double().numpy()[kept] for k in own]
        p = [softmax(x) for x in lists]
        h = np.array([-(x * np.log(x)).sum() for x in p])
        centred = [x - x.mean() for x in lists]
        if form == "mean":
            target = np.mean(p, axis=0)
        elif form == "logits":
            target = softmax(np.mean(lists, axis=0))
        elif form == "median":
            target = softmax(np.median(centred, axis=0))
        elif form == "entropy":
            w = 1 - h / h.sum() if len(own) > 1 else np.ones(1)
            target = np.einsum("k,kc->c", w / w.sum(), np.array(p))
        elif form == "confidence":
            target = np.mean(p, axis=0)  # without labels
        else:
            target = np.einsum("k,kc->c", softmax(-h), np.array(p))
        q = softmax(S[i].double().numpy()[kept] / 0.5)
        total.append((target * np.log(target / q)).sum())
    return np.mean(total)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("random", "min-norm")])
def test_against_loops(form, masked):
    mask, there = (MASK, THERE) if masked else (torch.ones_like(MASK), torch.ones_like(THERE))
    found = ListEnsemble(0.5, form=form)(S, T, mask=mask, teacher_mask=there)
    assert found.item() == pytest.approx(expected(form, mask, there), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_equal_teachers_are_one(form):
    same = T[:1].expand(3, -1, -1)
    target = ListEnsemble(form=form).target(S, same, mask=MASK, teacher_mask=THERE)
    assert torch.allclose(target, torch.softmax(T[0].masked_fill(~MASK, -1e30), dim=1), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_target_is_a_distribution_without_gradient(form):
    student, teacher = S.clone().requires_grad_(), T.clone().requires_grad_()
    objective = ListEnsemble(form=form)
    target = objective.target(student, teacher, mask=MASK, teacher_mask=THERE)
    assert target.sum(dim=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert not target.requires_grad
    assert (target[1, 3:] == 0).all()
    objective(student, teacher, mask=MASK).backward()
    assert teacher.grad is None
    assert student.grad.sum(dim=1).abs().max() < 1e-6  # lists: gradients sum to 0


def test_a_list_that_nobody_says_anything_of_is_left_out():
    there = THERE.clone()
    there[:, 0] = False
    for form in FORMS:
        some = ListEnsemble(form=form).target(S, T, mask=MASK, teacher_mask=there)
        assert (some[0] == 0).all()
        assert torch.isfinite(ListEnsemble(form=form)(S, T, mask=MASK, teacher_mask=there))


def test_of_two_teachers_the_hard_vote_is_the_mean():
    """It keeps both where they agree, and both of a tie."""
    student, two = normal(40, 3, seed=8), normal(2, 40, 3, seed=9)
    assert torch.allclose(ListVote().target(student, two), ListEnsemble().target(student, two), atol=1e-6)
    directions = torch.softmax(two, dim=2) - torch.softmax(student, dim=1)
    agree = (directions[0] * directions[1]).sum(dim=1) > 0
    assert agree.any()
    assert (~agree).any()


def test_of_two_teachers_vote_mean_and_median_of_single_scores_coincide():
    def pull(objective):
        student = S[:, 0].clone().requires_grad_()
        (found,) = torch.autograd.grad(objective(student, T[:2, :, 0]), student)
        return found

    vote, mean = pull(PointVote()), pull(PointVote(soft_temperature=1.0, soft_sharpness=0.0))
    median = 2 * (S[:, 0] - T[:2, :, 0].quantile(0.5, dim=0)) / len(S)
    torch.testing.assert_close(vote, mean)
    torch.testing.assert_close(mean, median)


def test_random_takes_one_teacher():
    torch.manual_seed(0)
    seen = set()
    for _ in range(30):
        target = ListEnsemble(form="random").target(S, T)
        match = [k for k in range(3) if torch.allclose(target, torch.softmax(T[k], dim=1), atol=1e-6)]
        assert len(match) == 1
        seen.add(match[0])
    assert seen == {0, 1, 2}


def test_spelling():
    assert parse_objective("ensemble:median(student_temperature=0.1)") == ListEnsemble(0.1, form="median")
    with pytest.raises(ValueError, match="form must be"):
        ListEnsemble(form="best")
