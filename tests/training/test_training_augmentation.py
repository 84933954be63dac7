"""Inputs between texts and beside them: the live teacher, what both read, mixtures, and steps to a disagreement."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_toys import bytes_of, lines_of, settings

from potstill.errors import InputError
from potstill.objectives.embedding import EmbeddingMatch
from potstill.recipe import AugmentSpec, ObjectiveSpec, StudentSpec, TeacherSpec
from potstill.students import Tokens, build_tower
from potstill.students.embedded import mixed
from potstill.teachers import open_teacher
from potstill.training.augmentation import Augmentation
from potstill.training.data import ArrayVectors, TrainingSet
from potstill.training.live_teacher import LiveTeacher
from potstill.training.loop import _Loop, train
from potstill.training.same_inputs import SameInputs, common_entries, table_map
from potstill.training.task import Task
from potstill.training.terms import build_terms
from tiny import make_tiny_encoder, words

TEXTS = [" ".join(np.random.default_rng(seed).choice(words(), 3 + seed % 9)) for seed in range(24)]
STUDENTS = {
    "static": StudentSpec(kind="static"),
    "rank": StudentSpec(kind="static", rank=8, prompts={"query": "wind in "}),
    "trimmed": StudentSpec(kind="static", vocabulary="trimmed"),
    "layers": StudentSpec(kind="layers", layers=(0,)),
    "tiny": StudentSpec(kind="tiny", depth=1, width=32, embedding_rank=8, vocabulary="trimmed"),
}
COPY = StudentSpec(kind="layers", layers=(0, 1))


@pytest.fixture(scope="module")
def teacher(tiny_encoder):
    return open_teacher(TeacherSpec(model=str(tiny_encoder), device="cpu"))


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """A teacher with a prompt, whose texts are cut early."""
    folder = make_tiny_encoder(
        tmp_path_factory.mktemp("tiny") / "prompted", prompts={"query": "law and "}, max_length=9
    )
    return open_teacher(TeacherSpec(model=str(folder), device="cpu"))


def tower_of(spec: StudentSpec, teacher):
    return build_tower(spec, teacher, lambda: iter(TEXTS), seed=0).eval()


def side_of(spec: StudentSpec, teacher, *, moves: bool = True) -> SameInputs:
    return SameInputs(tower_of(spec, teacher), LiveTeacher(teacher, "query"), "query", moves=moves)


def augmentation(side: SameInputs, **spec: object) -> Augmentation:
    chosen = {"mix": 1.0, "disagree": 1.0, "share": 1.0, **spec}
    return Augmentation(AugmentSpec(**chosen), {"query": side}, EmbeddingMatch("squared"), seed=0)


# The live teacher.


@pytest.mark.parametrize("share", [1.0, 0.0])
@pytest.mark.parametrize("which", ["teacher", "prompted"])
def test_a_mixture_that_is_all_one_text_has_that_texts_vector(which, share, request):
    teacher = request.getfixturevalue(which)
    live, side = LiveTeacher(teacher, "query"), side_of(STUDENTS["static"], teacher)
    partners = TEXTS[::-1]
    both = side.read(side.tower.tokens([*TEXTS, *partners]))
    found = live.forward_embedded(mixed(*live.embed(both.teacher).halves(), torch.full((len(TEXTS),), share)))
    expected = teacher.encode(TEXTS if share == 1.0 else partners, "query")
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


def test_the_teacher_is_frozen_but_lets_a_gradient_through(teacher):
    live, side = LiveTeacher(teacher, "query"), side_of(STUDENTS["layers"], teacher)
    inputs = live.embed(side.read(side.tower.tokens(TEXTS[:3])).teacher)
    assert not live.forward_embedded(inputs).requires_grad
    by = torch.zeros_like(inputs.vectors, requires_grad=True)
    (slope,) = torch.autograd.grad(live.forward_embedded(inputs.moved(by))[:, 0].sum(), by)
    assert slope.any()


def test_teachers_that_cannot_be_asked(tiny_encoder, teacher, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    def refused(other) -> str:
        with pytest.raises(InputError) as told:
            LiveTeacher(other, "query")
        assert told.value.where == "augment"
        assert "queries.mixed" in told.value.fix
        return told.value.message

    table = StaticEmbedding(tower_of(STUDENTS["static"], teacher).tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[table], device="cpu").save_pretrained(str(tmp_path / "table"))
    assert "is no transformer" in refused(open_teacher(TeacherSpec(model=str(tmp_path / "table"), device="cpu")))
    service = SimpleNamespace(
        name="service",
        dimensions=8,
        metric="dot",
        query_vectors=None,
        encoder=lambda role: None,
        fingerprint=lambda role: SimpleNamespace(normalize=True, prompt=""),
    )
    assert "does not run on this machine" in refused(service)
    service.query_vectors = object()
    assert "come from disk" in refused(service)
    other = open_teacher(TeacherSpec(model=str(tiny_encoder), device="cpu"))
    monkeypatch.setattr(type(other.encoder("query")[0].auto_model), "forward", lambda self, input_ids: None)
    assert "token ids alone" in refused(other)


# What both read.


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("which", ["teacher", "prompted"])
def test_the_teacher_reads_the_students_tokens_in_its_own_surroundings(name, which, request):
    teacher = request.getfixturevalue(which)
    side = side_of(STUDENTS[name], teacher)
    tokens = side.tower.tokens(TEXTS)
    both = side.read(tokens)
    asked = teacher.encoder("query").tokenizer(
        [teacher.prompt("query") + text for text in TEXTS], truncation=True, max_length=teacher.max_length("query")
    )["input_ids"]
    assert [both.teacher[row].tolist() for row in range(len(TEXTS))] == asked
    room = side.teacher.room
    own = tokens.lengths - sum(map(len, side.tower.surroundings("query")))
    assert both.lengths.tolist() == np.minimum(own, room).tolist()
    for row in np.flatnonzero(own <= room):
        assert both.student[row].tolist() == tokens[row].tolist()


@pytest.mark.parametrize("name", STUDENTS)
def test_own_tokens_are_the_same_on_both_sides(name, prompted):
    side = side_of(STUDENTS[name], prompted)
    both = side.read(side.tower.tokens(TEXTS))
    words_of = {number: token for token, number in side.tower.vocabulary().items()}
    teachers = {number: token for token, number in side.teacher.vocabulary().items()}
    ours, theirs = side.tower.embed(both.student).mask, side.teacher.embed(both.teacher).mask
    marked, own = side.own(both, ours, teacher=False), side.own(both, theirs, teacher=True)
    student, teacher = both.student.padded(0)[0], both.teacher.padded(0)[0]
    read = [words_of[i] for i in student[marked.numpy()].tolist()]
    assert read == [teachers[i] for i in teacher[own.numpy()].tolist()]
    assert "[CLS]" not in read
    assert len(read) == both.lengths.sum()


def test_left_padding_moves_the_same_tokens(teacher):
    side = side_of(STUDENTS["static"], teacher)
    both = side.read(side.tower.tokens(TEXTS))
    ids, mask = both.teacher.padded(0, left=True)
    own = side.own(both, torch.from_numpy(mask), teacher=True).numpy()
    right, mask = both.teacher.padded(0)
    expected = right[side.own(both, torch.from_numpy(mask), teacher=True).numpy()]
    assert ids[own].tolist() == expected.tolist()


def test_a_prompt_whose_end_melts_into_the_text_loses_no_token(teacher):
    side = side_of(STUDENTS["rank"], teacher)
    before = side.tower.surroundings("query")[0]
    both = side.read(Tokens.of([[before[0], 77, 78], [*before, 79], before[:1], []]))
    assert both.starts.tolist() == [1, 2, 1, 0]
    assert both.lengths.tolist() == [2, 1, 0, 0]
    assert [both.student[row].tolist() for row in range(4)] == [[before[0], 77, 78], [*before, 79], before[:1], []]


def test_entries_of_the_students_own_are_refused(teacher):
    assert common_entries({"b": 0, "a": 1}, {"a": 5, "b": 6, "c": 7}).tolist() == [6, 5]
    for spec in (
        StudentSpec(kind="static", vocabulary="corpus", vocabulary_size=60),
        StudentSpec(kind="static", phrases=3),
    ):
        tower = build_tower(spec, teacher, lambda: iter(["barley mash and copper still"] * 9), seed=0)
        with pytest.raises(InputError, match=r"entries are not the teacher's[\s\S]*queries\.mixed"):
            SameInputs(tower, LiveTeacher(teacher, "query"), "query", moves=False)


def test_least_squares_finds_a_linear_map():
    random = torch.Generator().manual_seed(0)
    ours, known = torch.randn(80, 6, generator=random), torch.randn(6, 9, generator=random)
    torch.testing.assert_close(table_map(ours, ours @ known), known, atol=1e-5, rtol=1e-5)
    assert table_map(ours, ours.clone()) is None
    lame = torch.cat([ours, ours[:, :1]], dim=1)  # a column twice: many maps fit, the shortest is taken
    found = table_map(lame, ours @ known)
    torch.testing.assert_close(lame @ found, ours @ known, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], found[-1], atol=1e-4, rtol=1e-4)


def test_a_student_with_the_teachers_table_needs_no_map(teacher):
    assert side_of(STUDENTS["layers"], teacher).map is None
    static = side_of(STUDENTS["static"], teacher)
    assert static.map.shape == (32, 32)
    assert static.unit == pytest.approx(float(static.tower.entry_table().norm(dim=1).mean()), rel=1e-5)


# What is drawn.


def test_what_is_drawn_depends_on_seed_and_step_alone(teacher):
    made = augmentation(side_of(STUDENTS["static"], teacher), share=0.25)
    tokens = {"query": made.sides["query"].tower.tokens(TEXTS)}
    once, again, later = (made.draw(tokens, step)["query"] for step in (3, 3, 4))
    for part, same in zip(once[1:], again[1:], strict=True):
        assert part.tolist() == same.tolist()
    assert once.shares.tolist() != later.shares.tolist()
    assert len(once.first) == len(once.moved) == len(TEXTS) // 4


def test_no_text_is_mixed_with_itself_and_each_comes_first_once(teacher):
    made = augmentation(side_of(STUDENTS["static"], teacher))
    tokens = made.sides["query"].tower.tokens(TEXTS)
    for step in range(20):
        drawn = made.draw({"query": tokens.select(range(2 + step))}, step)["query"]
        assert sorted(drawn.first.tolist()) == drawn.moved.tolist() == list(range(2 + step))
        assert (drawn.first != drawn.second).all()
        assert ((drawn.shares >= 0) & (drawn.shares <= 1)).all()


def test_one_text_is_moved_but_not_mixed_and_none_is_nothing(teacher):
    made = augmentation(side_of(STUDENTS["layers"], teacher))
    tokens = made.sides["query"].tower.tokens(TEXTS)
    assert set(made(made.draw({"query": tokens.select([0])}, 0))) == {"match:squared@disagreement"}
    assert made(made.draw({"query": tokens.select([])}, 0)) == {}


# Mixtures and steps.


def test_a_perfect_copy_of_the_teacher_loses_nothing(teacher):
    made = augmentation(side_of(COPY, teacher), disagree_steps=2)
    tokens = made.sides["query"].tower.tokens(TEXTS)
    found = made(made.draw({"query": tokens}, 0))
    assert set(found) == {"match:squared@mixed", "match:squared@disagreement"}
    for matched in found.values():
        assert EmbeddingMatch("squared")(*matched).item() < 1e-8
        assert matched.student.requires_grad
        assert not matched.teacher.requires_grad


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_increases_the_disagreement(name, steps, teacher):
    """Of nearly all texts: the gradient is of both models, so a small step along it goes up."""
    side = side_of(STUDENTS[name], teacher)
    made = augmentation(side, disagree_size=0.02, disagree_steps=steps)
    tokens = side.tower.tokens(TEXTS)
    moved = made(made.draw({"query": tokens}, 0))["match:squared@disagreement"]
    both = side.read(tokens)
    with torch.no_grad():
        student = side.tower.forward_embedded(side.tower.embed(both.student))
        teachers = side.teacher.forward_embedded(side.teacher.embed(both.teacher))
    before = (student - teachers).norm(dim=1)
    after = (moved.student - moved.teacher).detach().norm(dim=1)
    assert float((after > before).float().mean()) > 0.9
    assert float((after - before).abs().max()) < 0.5


def test_a_step_is_as_long_as_asked_and_moves_own_tokens_alone(prompted, monkeypatch):
    side = side_of(STUDENTS["layers"], prompted)
    seen = []
    monkeypatch.setattr(SameInputs, "carried", lambda self, by, ours, theirs, own: seen.append((by, ours)) or theirs)
    made = augmentation(side, disagree_size=0.5)
    made(made.draw({"query": side.tower.tokens(TEXTS)}, 0))
    by, ours = seen[-1]
    assert by.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5 * side.unit] * len(TEXTS), rel=1e-4)
    assert not by[~ours].any()
    assert by[ours].abs().sum(dim=1).all()


def test_moves_are_carried_through_the_map(teacher):
    side = side_of(STUDENTS["static"], teacher)
    side.map = torch.eye(32) * 3
    both = side.read(side.tower.tokens(TEXTS[:2]))
    ours = side.own(both, side.tower.embed(both.student).mask, teacher=False)
    theirs = side.teacher.embed(both.teacher)
    own = side.own(both, theirs.mask, teacher=True)
    by = torch.randn(*ours.shape, 32, generator=torch.Generator().manual_seed(0))
    move = side.carried(by, ours, theirs, own).vectors - theirs.vectors
    torch.testing.assert_close(move[own], 3 * by[ours], atol=1e-5, rtol=1e-5)
    assert not move[~own].any()


# In the loop.


def task_and_data(name: str, teacher, tower=None, *forms: str, **spec: object) -> tuple[Task, TrainingSet]:
    side = SameInputs(tower or tower_of(STUDENTS[name], teacher), LiveTeacher(teacher, "query"), "query", moves=True)
    chosen = AugmentSpec(**{"mix": 0.5, "disagree": 0.5, "share": 0.5, **spec})
    terms = build_terms([ObjectiveSpec(family="match", form=form) for form in forms or ("l2",)])
    made = Augmentation(chosen, {"query": side}, terms[0].objective, seed=0)
    data = TrainingSet(side.tower.tokens(TEXTS), ArrayVectors(teacher.encode(TEXTS, "query")))
    return Task(side.tower, terms, augmentation=made), data


@pytest.mark.parametrize("name", ["static", "rank", "layers"])
def test_a_run_killed_anywhere_ends_in_the_same_bytes(name, teacher, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    update = _Loop._update

    def fatal(self, *arguments):
        if self.at.step == 5:
            raise Killed
        update(self, *arguments)

    spec = settings(max_texts_per_batch=6, epochs=2, checkpoint_seconds=1e-9)
    whole, data = task_and_data(name, teacher)
    train(whole, data, spec, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(_Loop, "_update", fatal)
        with pytest.raises(Killed):
            train(*task_and_data(name, teacher), spec, tmp_path / "killed")
    again, data = task_and_data(name, teacher)
    train(again, data, spec, tmp_path / "killed", resume=True)
    assert bytes_of(again) == bytes_of(whole)
    assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "whole")


@pytest.mark.parametrize("name", ["static", "layers"])
def test_terms_are_weighted_logged_and_trained(name, teacher, tmp_path):
    task, data = task_and_data(name, teacher, None, "cosine", mix=2.0)
    assert [term.name for term in task.terms] == ["match:cosine", "match:cosine@mixed", "match:cosine@disagreement"]
    batch = task.prepare(data, np.arange(12), 0)
    outputs = task.train()(batch)
    losses = task.losses(outputs, batch)
    plain, mixture, moved = losses.terms.values()
    torch.testing.assert_close(losses.total, plain + 2.0 * mixture + 0.5 * moved)
    norms = task.gradient_norms(losses, outputs)
    assert all(norm > 0 for norm in norms.values())
    assert list(norms) == list(losses.terms)
    task.clear_touched()
    train(task, data, settings(epochs=10, max_texts_per_batch=12), tmp_path)
    logged = [line for line in lines_of(tmp_path) if "gradient_norms" in line]
    assert logged[-1]["gradient_norms"].keys() == logged[-1]["terms"].keys() == losses.terms.keys()
    assert logged[-1]["loss"] < losses.total.item()
    other, _ = task_and_data(name, teacher, None, "cosine", mix=0.0, disagree=0.0)
    assert [term.name for term in other.terms] == ["match:cosine"]
    train(other, data, settings(epochs=10, max_texts_per_batch=12), tmp_path / "plain")
    assert bytes_of(other) != bytes_of(task)


def test_the_teacher_is_no_part_of_what_is_trained(teacher, tmp_path):
    model = teacher.encoder("query")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task, data = task_and_data("layers", teacher)
    assert task.state_dict().keys() == {f"query_tower.{name}" for name in task.query_tower.state_dict()}
    train(task, data, settings(epochs=1), tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_documents_take_part_where_they_are_matched(teacher):
    tower = tower_of(STUDENTS["layers"], teacher)
    sides = {role: SameInputs(tower, LiveTeacher(teacher, role), role, moves=True) for role in ("query", "document")}
    made = Augmentation(AugmentSpec(mix=1, disagree=1, share=0.5), sides, EmbeddingMatch(), seed=0)
    terms = build_terms([ObjectiveSpec(family="match", form="l2", role="both")])
    vectors = teacher.encode(TEXTS, "query")
    data = TrainingSet(
        tower.tokens(TEXTS[:8]),
        ArrayVectors(vectors[:8]),
        documents=ArrayVectors(vectors),
        document_tokens=tower.tokens(TEXTS, "document"),
        trained_documents=np.arange(len(TEXTS)),
    )
    task = Task(tower, terms, mode="shared", augmentation=made)
    batch = task.prepare(data, np.asarray([0, 1, 2, 3, 8, 9, 30]), 0)
    assert {role: len(drawn.tokens) for role, drawn in batch.drawn.items()} == {"query": 4, "document": 3}
    found = task(batch).augmented
    assert {name: len(matched.student) for name, matched in found.items()} == {
        "match:l2@mixed": 4,
        "match:l2@disagreement": 4,
    }
