"""Blocks: which they are, where they are read, and that the stored ones are those of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.errors import InputError
from potstill.recipe import TeacherSpec
from potstill.signals import SignalStore, fill
from potstill.students.transformer import TransformerTower
from potstill.teachers import open_teacher
from potstill.teachers.blocks import Blocks, Tap, at_place
from potstill.teachers.layer_vectors import LayerVectors
from tiny import make_tiny_encoder

TEXTS = ["copper still", "the moon in the night", "bread"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = make_tiny_encoder(tmp_path_factory.mktemp("layers") / "model", layers=3, prompts={"query": "night "})
    return open_teacher(TeacherSpec(model=str(folder)))


def hidden_states(teacher, role):
    """What transformers itself calls hidden states 1 to n; 0 is the embedding output, which is no block."""
    features = teacher.features(TEXTS, role)
    model = teacher.encoder(role)[0].auto_model
    with torch.inference_mode():
        states = model(
            input_ids=features["input_ids"], attention_mask=features["attention_mask"], output_hidden_states=True
        ).hidden_states
    return states[1:], features["attention_mask"]


@pytest.mark.parametrize("place", ["first", "mean"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_stored_layers_are_the_blocks_without_the_embedding_output(tmp_path, teacher, role, place):
    source = LayerVectors(teacher, place)
    assert (source.depth, source.width) == (3, 32)
    states, mask = hidden_states(teacher, role)
    expected = []
    for state in states:
        kept = [row[there.bool()] for row, there in zip(state, mask, strict=True)]
        expected.append(torch.stack([one[0] if place == "first" else one.mean(dim=0) for one in kept]))
    np.testing.assert_allclose(source.encode(TEXTS, role), torch.cat(expected, dim=1).numpy(), atol=1e-5)
    table = SignalStore(tmp_path).vectors(source.fingerprint(role))
    fill(table, source, TEXTS, role)
    found = table.gather(table.rows(TEXTS))
    np.testing.assert_allclose(found, torch.cat(expected, dim=1).numpy(), rtol=1e-3, atol=1e-3)
    scores = found[:, -32:] @ found[:, -32:].T
    np.testing.assert_allclose(scores, expected[-1].numpy() @ expected[-1].numpy().T, rtol=5e-3)


def test_where_they_are_read_and_in_which_role_is_part_of_what_they_are(teacher):
    prints = {
        LayerVectors(teacher, place).fingerprint(role).digest()
        for place in ("first", "mean")
        for role in ("query", "document")
    }
    assert len(prints | {teacher.fingerprint("query").digest()}) == 5


def test_a_student_reads_several_taps_in_one_pass(teacher):
    tower = TransformerTower(
        list(teacher.encoder("query").children()),
        kind="model",
        dimensions=32,
        normalize=True,
        prompts={"query": "night "},
        max_length=None,
        seed=0,
    )
    tokens, taps = tower.tokens(TEXTS), (Tap(0, "mean"), Tap(2, "first"), Tap(2, "mean"))
    calls = []
    handle = tower.model[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        vectors, layers = tower.layered(tokens, taps)
        assert calls == [1]
        torch.testing.assert_close(vectors, tower(tokens))
    handle.remove()
    first, mean = (LayerVectors(teacher, place).encode(TEXTS, "query").reshape(3, 3, 32) for place in ("first", "mean"))
    expected = np.stack([mean[:, 0], first[:, 2], mean[:, 2]], axis=1)
    np.testing.assert_allclose(layers.numpy(), expected, atol=1e-5)
    hooks = tower.model[0].auto_model.encoder.layer[0]._forward_hooks  # transformers keeps one of its own there
    before = len(hooks)
    tower.layered(tokens, taps)
    assert len(hooks) == before


def test_the_first_token_is_found_behind_padding_on_the_left():
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert at_place(hidden, mask, "first").tolist() == [[2, 3], [6, 7]]
    assert at_place(hidden, mask, "mean").tolist() == [[3, 4], [8, 9]]
    with pytest.raises(InputError, match="a block gives numbers of shape"):
        at_place(hidden.reshape(6, 2), mask, "mean")


def test_models_whose_blocks_cannot_be_read_are_refused(tmp_path):
    from transformers import AlbertConfig, AlbertModel

    shared = AlbertModel(
        AlbertConfig(vocab_size=20, embedding_size=8, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    )
    with pytest.raises(InputError, match="cannot be told apart"):
        Blocks(shared)
    index = tmp_path / "index.npy"
    np.save(index, np.eye(4, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    alone = open_teacher(TeacherSpec(index=index, index_ids=tmp_path / "ids.txt"))
    with pytest.raises(InputError, match="cannot show its layers: it does not run on this machine"):
        LayerVectors(alone, "mean")
