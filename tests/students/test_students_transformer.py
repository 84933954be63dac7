"""Transformer towers: layers, tiny, any model; widths, vocabularies, dropout, saving."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.errors import InputError
from potstill.recipe import StudentSpec, TeacherSpec
from potstill.students import build_tower, load_encoder
from potstill.students.transformer import TransformerTower
from potstill.teachers import open_teacher
from tiny import make_tiny_encoder

QUERIES = ["copper still", "The HEART and the blood of a patient " * 12, "storm", "", "moon, orbit!"]
KINDS = {
    "layers": {"kind": "layers"},
    "layer": {"kind": "layers", "layers": (1,), "vocabulary": "trimmed"},
    "narrow": {"kind": "layers", "layers": (0,), "width": 16},
    "tiny": {"kind": "tiny", "depth": 1, "width": 32, "embedding_rank": 8},
    "tiny head": {"kind": "tiny", "depth": 1, "width": 64, "embedding_rank": 64, "max_length": 8},
    "tiny trimmed": {"kind": "tiny", "depth": 1, "width": 64, "embedding_rank": 8, "vocabulary": "trimmed"},
    "tiny corpus": {"kind": "tiny", "depth": 1, "width": 32, "vocabulary": "corpus", "vocabulary_size": 60},
    "cls": {"kind": "tiny", "depth": 1, "width": 32, "pooling": "cls", "prompts": {"query": "wind "}},
}


def build(spec: dict, teacher, texts, **more) -> TransformerTower:
    tower = build_tower(StudentSpec(**spec), teacher, texts, seed=0, **more)
    assert isinstance(tower, TransformerTower)
    return tower


def vectors(tower, texts=QUERIES) -> np.ndarray:
    with torch.no_grad():
        return tower(tower.tokens(texts)).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_tower_and_saved_model_agree(name, teacher, texts, tmp_path):
    from sentence_transformers import SentenceTransformer

    tower = build(KINDS[name], teacher, texts)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02)
    mine = vectors(tower)
    assert mine.shape == (len(QUERIES), teacher.dimensions)
    assert np.linalg.norm(mine, axis=1) == pytest.approx(1.0, abs=1e-5)
    tower.save(tmp_path / "student", {"teacher": "tiny"})
    plain = SentenceTransformer(str(tmp_path / "student"), device="cpu")
    np.testing.assert_allclose(plain.encode(QUERIES), mine, atol=2e-6)
    encoder = load_encoder(tmp_path / "student")
    np.testing.assert_allclose(encoder.encode(QUERIES), mine, atol=2e-6)
    note = json.loads((tmp_path / "student" / "potstill.json").read_text())
    assert encoder.parameters == note["parameters"] == sum(t.numel() for t in tower.state_dict().values())
    assert note["kind"] == tower.kind == KINDS[name]["kind"]


def test_all_layers_are_the_teacher(teacher, texts):
    tower = build({"kind": "layers", "layers": (0, 1)}, teacher, texts)
    np.testing.assert_allclose(vectors(tower), teacher.encode(QUERIES, "query"), atol=2e-6)
    reverse = build({"kind": "layers", "layers": (1, 0)}, teacher, texts)
    assert np.abs(vectors(reverse) - vectors(tower)).max() > 1e-4


def test_default_layers_are_bottom_and_top(tmp_path, texts):
    teacher = open_teacher(TeacherSpec(model=str(make_tiny_encoder(tmp_path / "deep", layers=4)), device="cpu"))
    tower = build({"kind": "layers"}, teacher, texts)
    own = dict(teacher.encoder("query")[0].auto_model.state_dict())
    state = tower.model[0].auto_model.state_dict()
    for place, layer in ((0, 0), (1, 3)):
        name = "encoder.layer.{}.output.dense.weight"
        assert torch.equal(state[name.format(place)], own[name.format(layer)])
    assert tower.model[0].auto_model.config.num_hidden_layers == 2


def test_trimming_keeps_vectors_of_texts_made_of_kept_entries(teacher, texts):
    whole = build({"kind": "layers"}, teacher, texts)
    small = build({"kind": "layers", "vocabulary": "trimmed"}, teacher, texts)
    seen = [text for text in texts() if text]
    np.testing.assert_allclose(vectors(small, seen), vectors(whole, seen), atol=2e-6)
    assert len(small.model[0].tokenizer) < len(whole.model[0].tokenizer)


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "roberta", "modernbert"])
def test_other_families_lose_layers_too(family, tmp_path, texts):
    teacher = open_teacher(TeacherSpec(model=str(_foreign(family, tmp_path)), device="cpu"))
    every = build({"kind": "layers", "layers": (0, 1, 2)}, teacher, texts)
    np.testing.assert_allclose(vectors(every), teacher.encode(QUERIES, "query"), atol=5e-6)
    tower = build({"kind": "layers", "layers": (0, 2), "vocabulary": "trimmed"}, teacher, texts)
    tower.save(tmp_path / "student", {})
    np.testing.assert_allclose(load_encoder(tmp_path / "student").encode(QUERIES), vectors(tower), atol=5e-6)


def test_narrow_weights_are_the_teachers_own(teacher, texts):
    tower = build({"kind": "layers", "layers": (0,), "width": 16}, teacher, texts)
    model = tower.model[0].auto_model
    assert (model.config.hidden_size, model.config.num_attention_heads, model.config.intermediate_size) == (16, 2, 32)
    own = teacher.encoder("query")[0].auto_model.get_input_embeddings().weight.T.tolist()
    for column in model.get_input_embeddings().weight.T.tolist():
        assert column in own
    assert type(tower.model[2]).__name__ == "Dense"


def test_tiny_embeddings_are_the_teachers_factorised(teacher, texts):
    tower = build({"kind": "tiny", "depth": 1, "width": 32, "embedding_rank": 32}, teacher, texts)
    mine = tower.model[0].auto_model.get_input_embeddings().weight.detach()
    own = teacher.encoder("query")[0].auto_model.get_input_embeddings().weight.detach()
    torch.testing.assert_close(mine @ mine.T, own @ own.T, atol=1e-3, rtol=1e-3)  # a rotation, at full rank


def test_tiny_keeps_a_budget(teacher, texts, tmp_path):
    spec = {"kind": "tiny", "depth": 1, "width": 32, "embedding_rank": 4, "parameters": 13_600}
    tower = build(spec, teacher, texts)
    assert 13_500 < sum(tensor.numel() for tensor in tower.state_dict().values()) <= 13_600
    vectors(tower)


def test_dropout_is_off_unless_asked_for(teacher, texts):
    tower = build({"kind": "tiny", "depth": 1, "width": 32}, teacher, texts).train()
    assert np.array_equal(vectors(tower), vectors(tower))
    tower.dropout = True
    tower.train()
    assert not np.array_equal(vectors(tower), vectors(tower))
    assert np.array_equal(vectors(tower.eval()), vectors(tower))


def test_every_parameter_in_use_gets_a_gradient(teacher, texts):
    tower = build(KINDS["tiny head"], teacher, texts).train()
    tower(tower.tokens(QUERIES))[:, 0].sum().backward()
    missing = [name for name, p in tower.named_parameters() if p.grad is None]
    assert missing == []


def test_longer_texts_are_cut_and_counted(teacher, texts):
    tower = build({"kind": "layers", "max_length": 6}, teacher, texts)
    tokens = tower.tokens(["a a a a a", "a a a a", "a"])
    assert tokens.truncated == 1
    assert tokens.lengths.tolist() == [6, 6, 3]


def test_batching_changes_nothing(teacher, texts):
    tower = build({"kind": "layers"}, teacher, texts)
    tokens = tower.tokens(QUERIES)
    with torch.no_grad():
        alone = np.concatenate([tower(tokens.select([row])).numpy() for row in range(len(QUERIES))])
    np.testing.assert_allclose(alone, vectors(tower), atol=2e-6)


def test_any_model_gets_a_head_where_widths_differ(teacher, texts, tmp_path):
    other = make_tiny_encoder(tmp_path / "other", dim=16, normalize=False, prompts={"query": "rain "}, seed=5)
    tower = build({"kind": "model", "model": str(other)}, teacher, texts)
    assert tower.prompts == {"query": "rain "}
    assert [type(module).__name__ for module in tower.model] == ["Transformer", "Pooling", "Dense", "Normalize"]
    head = tower.model[2]
    assert head.linear.bias is None
    assert type(head.activation_function).__name__ == "Identity"
    torch.testing.assert_close(head.linear.weight.T @ head.linear.weight, torch.eye(16), atol=1e-5, rtol=0)
    tower.save(tmp_path / "student", {})
    np.testing.assert_allclose(load_encoder(tmp_path / "student").encode(QUERIES), vectors(tower), atol=2e-6)


def test_a_static_model_can_be_gone_on_from(teacher, texts, tmp_path):
    start = build_tower(StudentSpec(phrases=5), teacher, texts, 0)
    start.save(tmp_path / "static", {})
    tower = build_tower(StudentSpec(kind="model", model=str(tmp_path / "static")), teacher, texts, 0)
    np.testing.assert_allclose(vectors(tower.eval()), vectors(start.eval()), atol=2e-6)


def test_prompt_left_out_of_pooling(tmp_path, texts):
    folder = make_tiny_encoder(tmp_path / "asking", prompts={"query": "storm tide: "})
    config = next(Path(folder).glob("*Pooling/config.json"))
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    teacher = open_teacher(TeacherSpec(model=str(folder), device="cpu"))
    tower = build({"kind": "layers", "layers": (0, 1)}, teacher, texts)
    np.testing.assert_allclose(vectors(tower), teacher.encode(QUERIES, "query"), atol=2e-6)
    tower.save(tmp_path / "student", {})
    np.testing.assert_allclose(load_encoder(tmp_path / "student").encode(QUERIES), vectors(tower), atol=2e-6)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"kind": "layers", "layers": (0, 7)}, "student.layers"),
        ({"kind": "layers", "width": 20}, "student.width"),
        ({"kind": "layers", "vocabulary": "corpus"}, "student.vocabulary"),
        ({"kind": "layers", "parameters": 1000}, "student.parameters"),
        ({"kind": "layers", "phrases": 10}, "student.phrases"),
        ({"kind": "tiny", "width": 100}, "student.width"),
        ({"kind": "tiny", "width": 128, "parameters": 2000}, "student.parameters"),
        ({"kind": "tiny", "vocabulary": "teacher", "vocabulary_size": 40}, "student.vocabulary"),
        ({"kind": "model", "model": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_does_not_fit_is_told(spec, place, teacher, texts):
    with pytest.raises(InputError) as caught:
        build(spec, teacher, texts)
    assert place in str(caught.value)
    assert caught.value.fix


def _foreign(family: str, folder: Path) -> Path:
    """A random three-layer model of another family, saved for sentence-transformers."""
    import transformers as hf
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer

    from tiny import make_tiny_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tiny_tokenizer()
    common = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "distilbert":
        config = hf.DistilBertConfig(dim=32, n_layers=3, n_heads=4, hidden_dim=64, **common)
        model = hf.DistilBertModel(config)
    elif family == "mpnet":
        model = hf.MPNetModel(hf.MPNetConfig(**sizes, **common))
    elif family == "roberta":
        model = hf.RobertaModel(hf.RobertaConfig(**sizes, **{**common, "pad_token_id": 0}, max_position_embeddings=80))
    else:
        ends = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        model = hf.ModernBertModel(hf.ModernBertConfig(**sizes, **common, **ends, local_attention=8))
    plain = folder / "plain"
    model.eval().save_pretrained(plain)
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        model_max_length=64,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.save_pretrained(plain)
    encoder = SentenceTransformer(modules=[Transformer(str(plain)), Pooling(32, "mean")], device="cpu")
    encoder.save_pretrained(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"
