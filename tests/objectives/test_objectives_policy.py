"""RL-KD's policy: it learns whom to hear, begins as the mean, and stays it without labels."""

import torch

from potstill.objectives import ListEnsemble, PolicyEnsemble


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STUDENT, TEACHERS = random(6, 5, seed=1), random(3, 6, 5, seed=2)
MASK = torch.ones(6, 5, dtype=torch.bool)
MASK[1, 3:] = False
THERE = torch.ones(3, 6, dtype=torch.bool)
THERE[2, ::2] = False
LABELS = torch.zeros(6, 5)
LABELS[:, 0] = 1.0


def test_it_begins_as_the_mean_and_stays_it_without_labels():
    mean = ListEnsemble(form="mean")(STUDENT, TEACHERS, mask=MASK, teacher_mask=THERE)
    warming = PolicyEnsemble(3, warm_up=3)
    found = warming(STUDENT, TEACHERS, mask=MASK, teacher_mask=THERE, labels=LABELS)
    torch.testing.assert_close(found, mean)
    unlabelled = PolicyEnsemble(3, warm_up=0)
    for labels in (None, torch.full((6, 5), torch.nan)):
        torch.testing.assert_close(unlabelled(STUDENT, TEACHERS, mask=MASK, teacher_mask=THERE, labels=labels), mean)


def test_it_draws_no_more_when_the_training_is_over():
    objective = PolicyEnsemble(3, warm_up=0).eval()
    objective(STUDENT, TEACHERS, labels=LABELS)
    assert int(objective.calls) == 0


def test_everything_that_it_learns_is_in_its_state():
    first, second = PolicyEnsemble(2, warm_up=0), PolicyEnsemble(2, warm_up=0)
    optimiser = torch.optim.Adam(first.parameters(), lr=0.1)
    for seed in range(5):
        torch.manual_seed(seed)
        optimiser.zero_grad()
        first(STUDENT, TEACHERS[:2], labels=LABELS).backward()
        optimiser.step()
    assert first.policy.weight.abs().max() > 0
    second.load_state_dict(first.state_dict())
    torch.manual_seed(9)
    one = first(STUDENT, TEACHERS[:2], labels=LABELS)
    torch.manual_seed(9)
    assert torch.equal(second(STUDENT, TEACHERS[:2], labels=LABELS), one)


def test_an_inverted_teacher_is_heard_less_and_less():
    """The student's logits are learned beside the policy: who follows the inverted teacher is punished by the label."""
    torch.manual_seed(0)
    right = 3.0 * torch.nn.functional.one_hot(torch.arange(64) % 5, 5).float()
    labels = (right > 0).float()
    teachers = torch.stack([right, -right])
    objective = PolicyEnsemble(2, warm_up=0)
    student = torch.zeros(64, 5, requires_grad=True)
    optimiser = torch.optim.Adam([student, *objective.parameters()], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        objective(student + 0.5 * torch.randn(64, 5), teachers, labels=labels).backward()
        optimiser.step()
    state = objective._state(
        torch.softmax(teachers, dim=2),
        torch.log_softmax(teachers, dim=2),
        torch.log_softmax(student.detach(), dim=1),
        labels,
        torch.ones(2, 64, dtype=torch.bool),
    )
    chances = torch.sigmoid(objective.policy(state)).mean(dim=0)
    assert chances[0] > 0.7
    assert chances[1] < 0.3
    assert (student.argmax(dim=1) == torch.arange(64) % 5).float().mean() > 0.9


def test_the_student_s_gradient_is_that_of_the_chosen_mean():
    objective = PolicyEnsemble(3, warm_up=0)
    student = STUDENT.clone().requires_grad_()
    torch.manual_seed(3)
    objective(student, TEACHERS, labels=LABELS).backward()
    assert student.grad.sum(dim=1).abs().max() < 1e-6
    assert objective.policy.weight.grad.abs().sum() > 0
