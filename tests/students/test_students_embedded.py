"""Token embeddings as inputs: a tower reads them as it reads the tokens themselves, and mixtures lie between texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from potstill.recipe import StudentSpec, TeacherSpec
from potstill.students import build_tower
from potstill.students.embedded import Embedded, mixed
from potstill.students.static import StaticTower
from potstill.teachers import open_teacher
from tiny import make_tiny_encoder

QUERIES = ["copper still", "The HEART and the blood of a patient " * 3, "storm", "", "moon, orbit ☃!"]
PARTNERS = ["a bee in the garden after rain", "law", "the judge and the jury", "wind", "court " * 12]
KINDS = {
    "static": {"kind": "static"},
    "static rank": {"kind": "static", "rank": 8, "prompts": {"query": "wind "}},
    "static phrases": {"kind": "static", "phrases": 4},
    "layers": {"kind": "layers", "layers": (0,)},
    "cls": {"kind": "layers", "layers": (1,), "pooling": "cls", "prompts": {"query": "wind "}},
    "tiny": {"kind": "tiny", "depth": 1, "width": 32, "embedding_rank": 8, "vocabulary": "trimmed"},
}


def build(name: str, teacher, texts):
    return build_tower(StudentSpec(**KINDS[name]), teacher, texts, seed=0)


@pytest.fixture(scope="module", params=KINDS)
def tower(request, teacher, texts):
    return build(request.param, teacher, texts).eval()


def test_embedded_tokens_are_read_as_tokens(tower):
    tokens = tower.tokens(QUERIES)
    with torch.no_grad():
        inputs = tower.embed(tokens)
        assert inputs.mask.sum(dim=1).tolist() == tokens.lengths.tolist()
        torch.testing.assert_close(tower.forward_embedded(inputs), tower(tokens), atol=1e-6, rtol=0)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_mixture_that_is_all_one_text_is_that_text(tower, share):
    first, second = tower.tokens(QUERIES), tower.tokens(PARTNERS)
    with torch.no_grad():
        halves = tower.embed(type(first).join([first, second])).halves()
        vectors = tower.forward_embedded(mixed(*halves, torch.full((len(QUERIES),), share)))
        torch.testing.assert_close(vectors, tower(first if share == 1.0 else second), atol=1e-5, rtol=0)


def test_the_entry_table_is_what_tokens_are_looked_up_in(tower):
    tokens = tower.tokens(QUERIES)
    inputs = tower.embed(tokens)
    looked_up = tower.entry_table()[torch.from_numpy(tokens.ids.astype(np.int64))]
    torch.testing.assert_close(inputs.vectors[inputs.mask > 0].detach(), looked_up)
    assert tower.vocabulary()["wind"] < len(tower.entry_table())


def test_what_stands_around_a_text(tower):
    before, after = tower.surroundings("query")
    ids = tower.tokens(["still"])[0].tolist()
    assert ids == [*before, tower.vocabulary()["still"], *after]


def test_where_one_text_has_no_token_the_other_adds_nothing():
    first = Embedded(torch.ones(1, 3, 2), torch.tensor([[1, 0, 0]]))
    second = Embedded(torch.full((1, 3, 2), 10.0), torch.tensor([[1, 1, 0]]))
    found = mixed(first, second, torch.tensor([0.25]))
    assert found.mask.tolist() == [[1, 1, 0]]
    assert found.vectors[0].tolist() == [[7.75, 7.75], [7.5, 7.5], [0.0, 0.0]]


def test_a_static_mixture_is_the_weighted_sum(teacher, texts):
    tower = build("static", teacher, texts)
    first, second, share = tower.tokens(["copper still"]), tower.tokens(["wind in the sail"]), 0.3
    table = tower.entry_table()
    sums = [table[torch.from_numpy(tokens.ids.astype(np.int64))].sum(dim=0) for tokens in (first, second)]
    expected = F.normalize(share * sums[0] + (1 - share) * sums[1], dim=0)
    halves = tower.embed(type(first).join([first, second])).halves()
    found = tower.forward_embedded(mixed(*halves, torch.tensor([share])))
    torch.testing.assert_close(found[0].detach(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["static", "static rank"])
def test_gradients_reach_the_rows_that_were_used_and_are_those_of_forward(teacher, texts, name):
    """The same vectors by either way pull the same rows by the same gradient, weights included."""
    tower, goal = build(name, teacher, texts).train(), torch.randn(len(QUERIES), teacher.dimensions)
    tokens = tower.tokens(QUERIES)

    def uses(vectors):
        (vectors * goal).sum().backward()
        found = [(use.rows.tolist(), use.sub.grad.clone()) for use in tower.touched()]
        tower.clear_touched()
        return found

    plain, embedded = uses(tower(tokens)), uses(tower.forward_embedded(tower.embed(tokens)))
    assert len(plain) == len(embedded) == 2
    for (rows, gradient), (same_rows, same_gradient) in zip(plain, embedded, strict=True):
        assert rows == same_rows == sorted(set(tokens.ids.tolist()))
        torch.testing.assert_close(same_gradient, gradient, atol=1e-6, rtol=1e-5)


def test_nothing_is_noted_outside_training(teacher, texts):
    tower = build("static", teacher, texts).eval()
    tower.embed(tower.tokens(QUERIES))
    assert tower.touched() == []


def test_an_unknown_token_adds_nothing_to_a_mixture(teacher, texts):
    tower = build("static", teacher, texts)
    assert isinstance(tower, StaticTower)
    assert tower.unknown is not None
    inputs = tower.embed(tower.tokens(["☃ wind"]))
    assert inputs.mask.tolist() == [[1, 1]]
    assert not inputs.vectors[0, 0].any()
    assert inputs.vectors[0, 1].any()


def test_a_prompt_that_the_pooling_leaves_out_is_left_out_of_embedded_texts(tmp_path, texts):
    from sentence_transformers import SentenceTransformer

    folder = make_tiny_encoder(tmp_path / "prompted", prompts={"query": "wind in the "})
    model = SentenceTransformer(str(folder), device="cpu")
    model[1].include_prompt = False
    model.save_pretrained(str(folder), create_model_card=False)
    teacher = open_teacher(TeacherSpec(model=str(folder), device="cpu"))
    tower = build_tower(StudentSpec(kind="layers", layers=(0, 1)), teacher, texts, seed=0).eval()
    tokens = tower.tokens(QUERIES)
    assert tokens.prompt == len(tower.surroundings("query")[0])
    with torch.no_grad():
        inputs = tower.embed(tokens)
        found = tower.forward_embedded(inputs)
        torch.testing.assert_close(found, tower(tokens), atol=1e-6, rtol=0)
        with_prompt = tower.forward_embedded(Embedded(inputs.vectors, inputs.mask))
    assert (with_prompt - found).abs().max() > 1e-3
