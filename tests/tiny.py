"""A teacher and a collection small enough to be made inside a test. Both are the same bytes for the same arguments."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

TOPICS: dict[str, str] = {
    "whisky": "barley mash copper still spirit cask peat malt water yeast",
    "sailing": "wind sail mast harbour keel rope tide anchor storm crew",
    "bread": "flour dough oven crust salt butter loaf knead rise baker",
    "stars": "planet orbit telescope light galaxy dust moon comet gravity night",
    "birds": "wing feather nest egg song forest hawk river migrate winter",
    "music": "violin string bow rhythm chord piano choir concert note drum",
    "medicine": "cell protein blood heart vaccine trial dose patient virus immune",
    "railway": "engine steam track signal bridge coal station wagon wheel tunnel",
    "garden": "soil seed root leaf flower bee rain spade compost apple",
    "law": "court judge appeal witness statute verdict jury contract evidence clerk",
}
GLUE = "the a of in and with for from before after slow small old new great is was has to by"


def words() -> list[str]:
    """All words that tiny collections are made of, in a fixed order."""
    return [*TOPICS, *(word for topic in TOPICS.values() for word in topic.split()), *GLUE.split()]


def make_tiny_tokenizer(*, max_length: int = 64, more_words: Sequence[str] = ()) -> Any:
    """A lower-casing WordPiece `BertTokenizer`: the words of `tiny.words()`, then single characters for all else."""
    from transformers import BertTokenizer

    characters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    entries += [*words(), *more_words]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_length)


def make_tiny_encoder(
    folder: Path,
    *,
    dim: int = 32,
    layers: int = 2,
    heads: int = 4,
    max_length: int = 64,
    pooling: Literal["mean", "cls", "max", "lasttoken"] = "mean",
    normalize: bool = True,
    prompts: Mapping[str, str] | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    sentence_transformer: bool = True,
    more_words: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Save a random BERT (`dim` wide, `layers` deep) as a sentence-transformers folder and return the folder.

    Args:
        folder: where it is written.
        dim: width of the vectors, divisible by `heads`.
        layers: transformer layers.
        heads: attention heads.
        max_length: tokens per text, the two special ones included.
        pooling: how token vectors become one.
        normalize: append a Normalize module.
        prompts: prompts by name, saved with the model.
        similarity: saved as the model's similarity function.
        sentence_transformer: False writes a plain Hugging Face folder (no pooling, prompts or normalisation).
        more_words: whole words to add to the vocabulary.
        seed: of the weights.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    folder = Path(folder)
    tokenizer = make_tiny_tokenizer(max_length=max_length, more_words=more_words)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * dim,
        max_position_embeddings=max(max_length, 64),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
        with torch.no_grad():  # words decide, as in a trained model: positions and segments whisper
            model.embeddings.word_embeddings.weight.mul_(10.0)
    plain = folder if not sentence_transformer else folder / "plain"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    if not sentence_transformer:
        return folder
    modules: list[torch.nn.Module] = [Transformer(str(plain)), Pooling(dim, pooling)]
    if normalize:
        modules.append(Normalize())
    encoder = SentenceTransformer(
        modules=modules, device="cpu", prompts=dict(prompts) if prompts else None, similarity_fn_name=similarity
    )
    encoder.save_pretrained(str(folder), create_model_card=False)
    for file in plain.iterdir():
        file.unlink()
    plain.rmdir()
    return folder


def make_tiny_cross_encoder(
    folder: Path,
    *,
    labels: int = 1,
    label_names: Sequence[str] = (),
    dim: int = 32,
    layers: int = 2,
    max_length: int = 64,
    scale: float = 10.0,
    sentence_transformer: bool = True,
    seed: int = 0,
) -> Path:
    """Save a random BERT classifier of pairs and return the folder.

    Args:
        folder: where it is written.
        labels: logits of a pair.
        label_names: their names; none: `LABEL_0` and so on.
        dim: width inside, divisible by 4.
        layers: transformer layers.
        max_length: tokens per pair, the three special ones included; positions too, 64 at least.
        scale: by which the usual random weights are stretched; 0 gives every pair the same score.
        sentence_transformer: False writes a plain Hugging Face folder.
        seed: of the weights.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    names = list(label_names) or [f"LABEL_{number}" for number in range(labels)]
    tokenizer = make_tiny_tokenizer(max_length=max_length)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * dim,
        max_position_embeddings=max(max_length, 64),
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        with torch.no_grad():  # scores then differ by pair, as a trained model's do
            for name, weight in model.named_parameters():
                if name.endswith("weight") and "LayerNorm" not in name and "_embeddings" not in name:
                    weight.mul_(scale)
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if sentence_transformer:
        CrossEncoder(str(folder), device="cpu", local_files_only=True).save_pretrained(
            str(folder), create_model_card=False
        )
    return folder


def make_tiny_dual_pooled(folder: Path, *, dim: int = 32, max_length: int = 64, seed: int = 0) -> Path:
    """Save a dual-pooled cross-encoder made of a random BERT and return the folder."""
    from potstill.teachers.dual_pooled import DualPooledModel

    base = make_tiny_encoder(Path(folder) / "base", dim=dim, max_length=max_length, seed=seed)
    DualPooledModel.from_base(base, max_length=max_length).save(Path(folder) / "model")
    return Path(folder) / "model"


def make_tiny_late_interaction(
    folder: Path,
    *,
    dim: int = 32,
    layers: int = 2,
    width: int | None = 16,
    max_length: int = 64,
    expansion: int | None = 12,
    skip: Sequence[str] = (),
    prompts: Mapping[str, str] | None = None,
    mean: bool = False,
    seed: int = 0,
) -> Path:
    """Save a random multi-vector model (a BERT, a projection, unit token vectors) and return the folder.

    Args:
        folder: where it is written.
        dim: width inside, divisible by 4.
        layers: transformer layers.
        width: of token vectors; None: no projection.
        max_length: tokens of a document.
        expansion: tokens to which every query is filled up with [MASK]; None: queries stay as they are.
        skip: words that documents are scored without.
        prompts: prompts by name, saved with the model.
        mean: scores are divided by the query's tokens.
        seed: of the weights.
    """
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    folder = Path(folder)
    plain = make_tiny_encoder(
        folder / "plain", dim=dim, layers=layers, max_length=max_length, sentence_transformer=False, seed=seed
    )
    fill = None if expansion is None else {"strategy": "fixed", "length": expansion}
    modules: list[torch.nn.Module] = [Transformer(str(plain), query_expansion=fill, document_length=max_length)]
    if width is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            modules.append(
                Dense(
                    dim,
                    width,
                    bias=False,
                    activation_function=torch.nn.Identity(),
                    module_input_name="token_embeddings",
                )
            )
    modules += [MultiVectorMask(list(skip)), Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(
        modules=modules,
        device="cpu",
        prompts=dict(prompts) if prompts else None,
        similarity_fn_name="meanmaxsim" if mean else "maxsim",
    )
    model.save_pretrained(str(folder), create_model_card=False)
    for file in plain.iterdir():
        file.unlink()
    plain.rmdir()
    return folder


def make_tiny_sparse_encoder(
    folder: Path,
    *,
    dim: int = 32,
    max_length: int = 64,
    prompts: Mapping[str, str] | None = None,
    similarity: Literal["cosine", "dot", "euclidean"] = "dot",
    max_active_dims: int | None = None,
    static_queries: bool = False,
    seed: int = 0,
) -> Path:
    """Save a random SPLADE model (a masked BERT with max pooling) and return the folder.

    Args:
        folder: where it is written.
        dim: width inside, divisible by 4.
        max_length: tokens per text, the two special ones included.
        prompts: prompts by name, saved with the model.
        similarity: saved as the model's similarity function.
        max_active_dims: saved as the number of entries that a vector keeps.
        static_queries: queries get one weight a word instead, as inference-free models have it.
        seed: of the weights.
    """
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import Router, SparseStaticEmbedding, SpladePooling, Transformer
    from transformers import BertConfig, BertForMaskedLM

    folder = Path(folder)
    tokenizer = make_tiny_tokenizer(max_length=max_length)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=2 * dim,
        max_position_embeddings=max(max_length, 64),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForMaskedLM(config)
        with torch.no_grad():
            model.bert.embeddings.word_embeddings.weight.mul_(10.0)
            model.cls.predictions.bias.fill_(0.0 if static_queries else -1.5)  # most entries are zero
    plain = folder / "plain"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    modules: list[torch.nn.Module] = [Transformer(str(plain), transformer_task="fill-mask"), SpladePooling("max")]
    if static_queries:
        weights = torch.linspace(0.5, 3.0, len(tokenizer))
        static = SparseStaticEmbedding(tokenizer, weight=weights, frozen=True)
        modules = [Router.for_query_document(query_modules=[static], document_modules=modules)]
    encoder = SparseEncoder(
        modules=modules,
        device="cpu",
        prompts=dict(prompts) if prompts else None,
        similarity_fn_name=similarity,
        max_active_dims=max_active_dims,
    )
    encoder.save_pretrained(str(folder), create_model_card=False)
    for file in plain.iterdir():
        file.unlink()
    plain.rmdir()
    return folder


def make_tiny_seq2seq(
    folder: Path, *, kind: Literal["t5", "bart", "bert"] = "t5", dim: int = 32, seed: int = 0
) -> Path:
    """Save a random sequence-to-sequence model (two layers a side) with the tiny tokenizer and return the folder.

    `bert` is an encoder-decoder of two tiny BERTs. None of them writes sense; sampled texts differ, which is enough.
    """
    import torch
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        BertConfig,
        EncoderDecoderConfig,
        EncoderDecoderModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    tokenizer = make_tiny_tokenizer()
    start, end, pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": pad, "eos_token_id": end, "bos_token_id": start}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any
        if kind == "t5":
            sizes = {"d_model": dim, "d_kv": 8, "d_ff": 2 * dim, "num_layers": 2, "num_heads": 4}
            model = T5ForConditionalGeneration(T5Config(**sizes, **tokens, decoder_start_token_id=pad))
        elif kind == "bart":
            sizes = {"d_model": dim, "max_position_embeddings": 64, "forced_eos_token_id": end}
            for side in ("encoder", "decoder"):
                sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 2 * dim}
            model = BartForConditionalGeneration(BartConfig(**sizes, **tokens, decoder_start_token_id=start))
        else:
            sizes = {"hidden_size": dim, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * dim}
            sides = [BertConfig(**sizes, **tokens, max_position_embeddings=64) for _ in range(2)]
            model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*sides))
            model.generation_config.update(decoder_start_token_id=start, eos_token_id=end, pad_token_id=pad)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def make_tiny_collection(
    folder: Path,
    *,
    documents: int = 30,
    queries: int = 24,
    splits: Sequence[str] = ("train", "test"),
    titles: bool = True,
    seed: int = 0,
) -> Path:
    """Write a collection in BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`) and return the folder.

    Document i (id `d0`, `d1`, ...) is about topic i modulo 10; query i (id `q0`, ...) has three or four words of the
    document that it is judged to fit (grade 2; another document of its topic has grade 1). Queries are dealt to the
    splits in turn. `splits=()` writes the corpus alone.
    """
    folder = Path(folder)
    chance = random.Random(seed)
    names, glue = list(TOPICS), GLUE.split()
    corpus = []
    for number in range(documents):
        topic = names[number % len(names)]
        own = TOPICS[topic].split()
        sentences = []
        for _ in range(chance.randint(2, 5)):
            picked = [chance.choice(own) if chance.random() < 0.55 else chance.choice(glue) for _ in range(8)]
            sentences.append(" ".join(picked).capitalize() + ".")
        title = f"{topic} {chance.choice(own)} {chance.choice(own)}" if titles else ""
        corpus.append({"_id": f"d{number}", "title": title, "text": " ".join(sentences)})
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "corpus.jsonl", corpus)
    if not splits:
        return folder
    asked, judged = [], []
    for number in range(queries):
        target = number % documents
        text = f"{corpus[target]['title']} {corpus[target]['text']}".lower().replace(".", "")
        own = [word for word in dict.fromkeys(text.split()) if word not in glue]
        chance.shuffle(own)
        asked.append({"_id": f"q{number}", "text": " ".join(own[: chance.randint(3, 4)])})
        judged.append((f"q{number}", f"d{target}", 2))
        sibling = (target + len(names)) % documents
        if sibling != target:
            judged.append((f"q{number}", f"d{sibling}", 1))
    _write_lines(folder / "queries.jsonl", asked)
    (folder / "qrels").mkdir(exist_ok=True)
    for place, split in enumerate(splits):
        rows = [row for row in judged if int(row[0][1:]) % len(splits) == place]
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
