"""Dual pooling: two vectors of one joint pass, whose inner product is the score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, T5Config, T5ForConditionalGeneration

from potstill.errors import InputError
from potstill.recipe import Prompts, ScorerSpec
from potstill.signals import SignalStore, fill, pair_text
from potstill.teachers.base_encoder import load_base
from potstill.teachers.dual_pooled import DualPooledModel
from potstill.teachers.dual_pooled_scorer import DualPooledScorer
from potstill.teachers.pair_tokens import PairIds
from tiny import make_tiny_encoder, make_tiny_tokenizer

QUERIES = ["barley mash", "wind and sail", "copper still whisky cask", "moon"]
DOCUMENTS = [
    "Malt and yeast in the mash. A copper still.",
    "Storm.",
    "The keel of a ship with a mast and sail, the crew at anchor in the harbour, tide and rope and wind.",
    "a planet in orbit",
]


@pytest.fixture(scope="module")
def model(tiny_encoder: Path) -> DualPooledModel:
    return DualPooledModel.from_base(tiny_encoder, max_length=32, damping=None)


@pytest.fixture(scope="module")
def saved(model: DualPooledModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dual") / "model"
    model.save(folder)
    return folder


def joined(model: DualPooledModel, queries: list[str] = QUERIES, documents: list[str] = DOCUMENTS) -> PairIds:
    return model.pairs.join(model.pairs.ids(queries), model.pairs.ids(documents))


def spec(folder: Path, **more: object) -> ScorerSpec:
    return ScorerSpec(kind="dual-pooled", model=str(folder), **more)


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_halves_are_pooled_from_the_last_layer_of_the_joint_pass(tiny_encoder: Path, pooling, normalize):
    model = DualPooledModel.from_base(tiny_encoder, max_length=32, damping=None, pooling=pooling, normalize=normalize)
    query, document = model(joined(model))
    for row, texts in enumerate(zip(QUERIES, DOCUMENTS, strict=True)):
        own = model.tokenizer(*texts, truncation="longest_first", max_length=32, return_tensors="pt")
        hidden = model.encoder(**own).last_hidden_state[0]
        for side, made in enumerate((query, document)):
            tokens = hidden[[place == side for place in own.sequence_ids(0)]]
            expected = tokens.mean(dim=0) if pooling == "mean" else tokens[0]
            expected = expected / expected.norm() if normalize else expected
            torch.testing.assert_close(made[row], expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_score_is_the_inner_product_and_scale_changes_no_order(model: DualPooledModel):
    pairs = joined(model)
    query, document = model(pairs)
    torch.testing.assert_close(model.scores(pairs), torch.einsum("nd,nd->n", query, document))
    torch.testing.assert_close(model.logits(pairs), 20.0 * model.scores(pairs))
    assert bool((query.norm(dim=1) - 1).abs().max() < 1e-5)


def test_the_query_vector_depends_on_the_document(model: DualPooledModel):
    with torch.inference_mode():
        query, _ = model(joined(model, [QUERIES[0]] * 4))
    assert float((query - query[0]).norm(dim=1)[1:].min()) > 1e-4


@torch.inference_mode()
def test_neither_batches_nor_padding_change_a_pair(model: DualPooledModel):
    whole = joined(model)
    together = torch.cat(model(whole), dim=1)
    for row in range(len(QUERIES)):
        alone = torch.cat(model(joined(model, [QUERIES[row]], [DOCUMENTS[row]])), dim=1)
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
    noise = np.random.default_rng(0).integers(5, 100, whole.ids.shape)
    other = PairIds(
        np.where(whole.mask, whole.ids, noise),
        whole.mask,
        np.where(whole.mask, whole.types, 1),
        whole.query,
        whole.document,
    )
    torch.testing.assert_close(torch.cat(model(other), dim=1), together, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_side_without_tokens_has_the_zero_vector(model: DualPooledModel):
    query, document = model(joined(model, ["", "moon"], ["moon", ""]))
    assert not query[0].any()
    assert not document[1].any()
    assert model.scores(joined(model, [""], [""])).tolist() == [0.0]


def test_what_is_saved_loads_the_same(model: DualPooledModel, saved: Path, tmp_path: Path):
    again = DualPooledModel.load(saved)
    with torch.inference_mode():
        assert torch.equal(torch.cat(again(joined(again)), 1), torch.cat(model(joined(model)), 1))
    assert not again.training
    again.save(tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in saved.iterdir()
    }
    note = json.loads((saved / "dual_pooled.json").read_text())
    assert (note["pooling"], note["normalize"], note["max_length"], note["dimensions"]) == ("mean", True, 32, 32)
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors", ".md"}


def test_the_scale_is_learned_and_saved(tiny_encoder: Path, tmp_path: Path):
    model = DualPooledModel.from_base(tiny_encoder, max_length=32, damping=None, scale=5.0)
    model.logits(joined(model)).sum().backward()
    with torch.no_grad():
        expected = float(model.scores(joined(model)).sum() * 5.0)
    assert float(model.log_scale.grad) == pytest.approx(expected, rel=1e-4)  # d(s e^x)/dx, not a hundred times as much
    with torch.no_grad():
        model.log_scale.add_(0.002)
    assert float(model.scale.detach()) == pytest.approx(5.0 * np.exp(0.2), rel=1e-5)
    model.save(tmp_path / "model")
    assert float(DualPooledModel.load(tmp_path / "model").scale.detach()) == pytest.approx(5.0 * np.exp(0.2), rel=1e-5)


def test_the_scorer_fills_tables_of_both_signals(model: DualPooledModel, saved: Path, tmp_path: Path):
    scorer = DualPooledScorer(spec(saved, name="mine"))
    assert (scorer.name, scorer.kind, scorer.dimensions) == ("mine", "dual-pooled", 32)
    assert scorer.signals == {"scores", "pair_vectors"}
    assert scorer.parameters == sum(tensor.numel() for tensor in load_file(saved / "model.safetensors").values())
    pairs = [pair_text(query, document) for query in QUERIES for document in DOCUMENTS]
    tables = {}
    for signal in ("scores", "pair_vectors"):
        source = scorer.source(signal)
        tables[signal] = SignalStore(tmp_path).vectors(source.fingerprint("pair"))
        report = fill(tables[signal], source, pairs, "pair", tokens_per_batch=100)
        assert (report.encoded, report.batches > 1) == (16, True)
        assert fill(tables[signal], source, pairs, "pair").encoded == 0
    vectors, scores = (tables[name].vectors(pairs) for name in ("pair_vectors", "scores"))
    assert (vectors.shape, scores.shape) == ((16, 64), (16, 1))
    halves = (vectors[:, :32] * vectors[:, 32:]).sum(axis=1)
    np.testing.assert_allclose(halves, scores[:, 0], atol=2e-3)  # stored in float16
    exact = scorer.source("pair_vectors").encode(pairs, "pair")
    np.testing.assert_allclose(
        (exact[:, :32] * exact[:, 32:]).sum(axis=1), scorer.source("scores").encode(pairs, "pair")[:, 0], atol=1e-6
    )
    assert scorer.source("pair_vectors").encode([], "pair").shape == (0, 64)


def test_what_changes_a_row_changes_the_fingerprint(saved: Path, tmp_path: Path):
    base = DualPooledScorer(spec(saved))
    prints = {base.source(signal).fingerprint("pair").digest() for signal in ("scores", "pair_vectors")}
    assert base.source().fingerprint("pair").role == "pair"
    assert ("signal", "scores") in base.source("scores").fingerprint("pair").extra
    for changed in (
        {"max_length": 24},
        {"prompts": Prompts(query="query: ")},
        {"prompts": Prompts(document="query: ")},
        {"dtype": "bfloat16"},
    ):
        prints.add(DualPooledScorer(spec(saved, **changed)).source().fingerprint("pair").digest())
    other = make_tiny_encoder(tmp_path / "encoder", seed=1)
    DualPooledModel.from_base(other, max_length=32, damping=None).save(tmp_path / "other" / "model")
    prints.add(DualPooledScorer(spec(tmp_path / "other")).source().fingerprint("pair").digest())  # a run's folder
    assert len(prints) == 7
    assert DualPooledScorer(spec(saved, name="x")).source().fingerprint("pair").digest() in prints


def test_prompts_lengths_and_cuts(saved: Path):
    plain, prompted = (
        DualPooledScorer(spec(saved, prompts=prompts)).source("pair_vectors")
        for prompts in (Prompts(), Prompts(query="old ", document="new "))
    )
    pair, spelled = pair_text("mash", "cask malt"), pair_text("old mash", "new cask malt")
    assert np.array_equal(prompted.encode([pair], "pair"), plain.encode([spelled], "pair"))
    long = pair_text("mash", "cask " * 50)
    both = pair_text("mash " * 50, "cask " * 50)
    assert plain.lengths([pair, long, both], "pair").tolist() == [6, 32, 32]
    assert plain.truncated([pair, long, both], "pair") == 2


def causal(folder: Path) -> Path:
    config = GPT2Config(vocab_size=len(make_tiny_tokenizer()), n_positions=64, n_embd=16, n_layer=1, n_head=2)
    GPT2Model(config).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def sequence_to_sequence(folder: Path) -> Path:
    config = T5Config(vocab_size=200, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def static(folder: Path) -> Path:
    folder.mkdir()
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "x.models.StaticEmbedding"}]')
    return folder


def unfinished(folder: Path) -> Path:
    make_tiny_encoder(folder, sentence_transformer=False)
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1" not in k}, folder / "model.safetensors", {"format": "pt"})
    return folder


def not_finite(folder: Path) -> Path:
    make_tiny_encoder(folder, sentence_transformer=False)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def few_words(folder: Path) -> Path:
    BertModel(BertConfig(vocab_size=8, hidden_size=8, num_attention_heads=1, intermediate_size=8)).save_pretrained(
        folder
    )
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def pickled(folder: Path) -> Path:
    make_tiny_encoder(folder, sentence_transformer=False)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def pickled_inside(folder: Path) -> Path:
    """A sentence-transformers model of which the transformer lies in a folder of its own."""
    pickled(folder / "0_Transformer")
    kind = "sentence_transformers.models.Transformer"
    (folder / "modules.json").write_text(f'[{{"idx": 0, "name": "0", "path": "0_Transformer", "type": "{kind}"}}]')
    return folder


def config_alone(folder: Path) -> Path:
    BertConfig().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (causal, "reads from left to right"),
        (sequence_to_sequence, "encoder with a decoder"),
        (static, "begins with StaticEmbedding"),
        (unfinished, "weights are not whole"),
        (not_finite, "NaN or infinite"),
        (few_words, "cannot read a pair"),
        (pickled, r"a pickle alone \(pytorch_model.bin\), which is never loaded"),
        (pickled_inside, "a pickle alone"),
        (config_alone, "cannot load an encoder"),
        (lambda folder: folder, "no such model folder"),
    ],
    ids=["causal", "seq2seq", "static", "unfinished", "nan", "few-words", "pickle", "inside", "config", "nothing"],
)
@pytest.mark.parametrize("head", ["none", "classifier"])
def test_a_base_that_is_no_encoder_is_refused(tmp_path: Path, make, said, head):
    folder = make(tmp_path / "base")
    with pytest.raises(InputError, match=said) as told:
        load_base(folder, head=head, max_length=32)
    assert told.value.where
    assert told.value.fix


def test_a_pickle_that_is_not_needed_is_never_opened(tiny_encoder: Path, tmp_path: Path):
    """Beside safetensors, or in a module that comes after the transformer and is not loaded."""
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "base"))
    (folder / "2_Dense").mkdir()
    for place in (folder, folder / "2_Dense"):
        (place / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load_base(folder, head="none", max_length=32)[2].max_length == 32


def test_lengths_beyond_the_positions_are_refused(tiny_encoder: Path):
    with pytest.raises(InputError, match="positions for 64 tokens"):
        load_base(tiny_encoder, head="none", max_length=65)


def test_a_sentence_transformers_base_gives_its_transformer(tiny_encoder: Path):
    base, _, _ = load_base(tiny_encoder, head="none", max_length=32)
    held = load_file(tiny_encoder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(base.state_dict()[name], held[name])


def test_bad_scorers_are_told(tiny_encoder: Path, saved: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no dual-pooled teacher") as told:
        DualPooledScorer(spec(tiny_encoder))
    assert "potstill teach dual-pooled" in told.value.fix
    for option in ({"label": 1}, {"revision": "main"}):
        with pytest.raises(InputError, match="has no"):
            DualPooledScorer(spec(saved, **option))
    with pytest.raises(InputError, match="no device"):
        DualPooledScorer(spec(saved, device="cuda:7"))
    for number, note in enumerate(
        [
            "[]",
            "{",
            '{"format": 2}',
            '{"format": 1, "pooling": "max", "normalize": true, "max_length": 32, "scale": 1.0}',
        ]
    ):
        broken = tmp_path / str(number)
        DualPooledModel.from_base(tiny_encoder, max_length=32, damping=None).save(broken)
        (broken / "dual_pooled.json").write_text(note)
        with pytest.raises(InputError):
            DualPooledModel.load(broken)


def test_minilm_ranks_before_it_learns(minilm: str):
    model = DualPooledModel.from_base(minilm, max_length=48, damping=None)
    query = "How is whisky made?"
    documents = [
        "Whisky is distilled from fermented malt in copper stills.",
        "The keel is the spine of a sailing ship.",
    ]
    with torch.inference_mode():
        right, wrong = model.scores(joined(model, [query] * 2, documents)).tolist()
    assert right > wrong


@torch.inference_mode()
@pytest.mark.parametrize("damping", [1e4, 0.5, 0.0])
def test_texts_apart_are_read_as_the_bi_encoder_reads_them_the_less_they_attend_to_each_other(
    tiny_encoder: Path, damping: float
):
    from sentence_transformers import SentenceTransformer

    model = DualPooledModel.from_base(tiny_encoder, max_length=64, damping=damping).eval()
    encoder = SentenceTransformer(str(tiny_encoder), device="cpu")
    wanted = [torch.from_numpy(encoder.encode(texts)) for texts in (QUERIES, DOCUMENTS)]
    found = model(joined(model))
    off = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
    assert off < 1e-5 if damping == 1e4 else off > 1e-3
    alone = [model(joined(model, [q], [d])) for q, d in zip(QUERIES, DOCUMENTS, strict=True)]
    for side in (0, 1):  # batching and padding change nothing
        torch.testing.assert_close(torch.cat([pair[side] for pair in alone]), found[side], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_damping_is_saved_with_the_model(tiny_encoder: Path, tmp_path: Path):
    model = DualPooledModel.from_base(tiny_encoder, max_length=32, damping=1.5).eval()
    model.save(tmp_path / "model")
    again = DualPooledModel.load(tmp_path / "model")
    assert again.damping == 1.5
    assert again.pairs.apart
    torch.testing.assert_close(again.scores(joined(again)), model.scores(joined(model)))


def test_ids_of_texts_apart_are_those_of_each_text_alone(tiny_encoder: Path):
    model = DualPooledModel.from_base(tiny_encoder, max_length=32)
    pairs = joined(model)
    for row, (query, document) in enumerate(zip(QUERIES, DOCUMENTS, strict=True)):
        alone = [model.tokenizer(text)["input_ids"] for text in (query, document)]
        ids = pairs.ids[row][pairs.mask[row]].tolist()
        if sum(map(len, alone)) <= 32:
            assert ids == alone[0] + alone[1]
        assert len(ids) <= 32
        assert (pairs.query[row] ^ pairs.document[row])[: len(ids)].all()
