"""A new small transformer: stock ELECTRA, whose embeddings are narrower than its body, so a large vocabulary is cheap.

Embeddings start as the teacher's, factorised: the `(V, h)` table's rows projected on the leading directions of its
frequency-weighted second moment; position embeddings are projected on the same. The body starts at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..recipe import StudentSpec
from .anatomy import Anatomy
from .counting import Texts, token_counts
from .shrink import plain_backend, small_tokenizer, trim_vocabulary
from .static_init import factorised
from .vocabulary import CORPUS_SIZE, corpus_tokenizer, entry_text

DEFAULT_WIDTH = 128
DEFAULT_EMBEDDING_RANK = 64
_POSITIONS = 512
_HEAD_SIZE = 32


def tiny_model(spec: StudentSpec, anatomy: Anatomy, texts: Texts, seed: int) -> tuple[Any, Any]:
    """An ELECTRA encoder and its tokenizer.

    Raises:
        InputError: the sizes do not fit each other or the budget.
    """
    from transformers import ElectraConfig, ElectraModel

    width = spec.width or DEFAULT_WIDTH
    rank = min(spec.embedding_rank or DEFAULT_EMBEDDING_RANK, width)
    heads = max(1, width // _HEAD_SIZE)
    if width % heads:
        raise InputError(
            f"width {width} is not divisible into {heads} heads", where="student.width", fix="use 32, 64, ..."
        )
    positions = min(spec.max_length or anatomy.teacher.max_length(anatomy.role) or _POSITIONS, _POSITIONS)
    limit = vocabulary_room(spec, anatomy.dimensions, width, rank, positions)
    tokenizer, counts, table, places = _embeddings(spec, anatomy, texts, limit)
    config = ElectraConfig(
        vocab_size=len(counts),
        embedding_size=rank,
        hidden_size=width,
        num_hidden_layers=spec.depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ElectraModel(config)
    if table is not None:
        small, directions = factorised(table, np.ones(len(table), np.float32), counts.astype(np.float64), rank)
        with torch.no_grad():
            model.embeddings.word_embeddings.weight[:, : small.shape[1]] = torch.from_numpy(small)
            if places is not None:
                known = min(len(places), positions)
                projected = torch.from_numpy(places[:known] @ directions)
                model.embeddings.position_embeddings.weight[:known, : small.shape[1]] = projected
    tokenizer.model_max_length = positions
    return model.eval(), tokenizer


def vocabulary_room(spec: StudentSpec, dimensions: int, width: int, rank: int, positions: int) -> int | None:
    """Most vocabulary entries that a budget of parameters leaves, or the recipe's own number; None: no limit."""
    if spec.parameters is None:
        return spec.vocabulary_size
    body = spec.depth * (12 * width * width + 13 * width)
    embeddings = (positions + 2 + 2) * rank  # positions, two segments, layer norm
    projections = (rank + 1) * width * (rank != width) + width * dimensions * (width != dimensions)
    room = (spec.parameters - body - embeddings - projections) // rank
    if room < 64:
        raise InputError(
            f"{spec.depth} layers of width {width} leave room for {max(0, room)} vocabulary entries "
            f"in {spec.parameters:,} parameters",
            where="student.parameters",
            fix="give fewer layers, a smaller width or a smaller embedding_rank",
        )
    return min(room, spec.vocabulary_size or room)


def _embeddings(
    spec: StudentSpec, anatomy: Anatomy, texts: Texts, limit: int | None
) -> tuple[Any, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Tokenizer, counts `(V,)`, and the teacher's embeddings of entries `(V, h)` and positions, None where unknown."""
    transformer = anatomy.transformer
    if transformer is None or spec.vocabulary == "corpus":
        return _corpus(spec, anatomy, texts, limit)
    model, tokenizer = transformer.auto_model, transformer.tokenizer
    if spec.vocabulary == "trimmed" or limit is not None:
        if spec.vocabulary == "teacher" and limit is not None and limit < len(tokenizer):
            raise InputError(
                f"the teacher's {len(tokenizer):,} entries are more than {limit:,}",
                where="student.vocabulary",
                fix="use `vocabulary: trimmed`, a smaller embedding_rank, or more parameters",
            )
        model, tokenizer, _ = trim_vocabulary(model, tokenizer, texts, limit)
    else:
        tokenizer = small_tokenizer(plain_backend(tokenizer), tokenizer)
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    counts = token_counts(plain_backend(tokenizer), texts)
    counts = np.pad(counts, (0, max(0, len(table) - len(counts))))[: len(table)]
    return tokenizer, counts, table, _position_table(model, table.shape[1])


def _corpus(
    spec: StudentSpec, anatomy: Anatomy, texts: Texts, limit: int | None
) -> tuple[Any, np.ndarray, np.ndarray | None, np.ndarray | None]:
    from transformers import PreTrainedTokenizerFast

    backend = corpus_tokenizer(texts, limit or CORPUS_SIZE, special=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    counts = token_counts(backend, texts)
    transformer = anatomy.transformer
    teacher = anatomy.tokenizer
    if transformer is None or teacher is None:
        return tokenizer, counts, None, None
    # An entry's embedding is the mean of those of the teacher's pieces of it.
    rows = transformer.auto_model.get_input_embeddings().weight.detach().float().cpu().numpy()
    pieces = teacher.encode_batch_fast([entry_text(backend, i) for i in range(len(counts))], add_special_tokens=False)
    table = np.stack([rows[piece.ids].mean(0) if piece.ids else np.zeros(rows.shape[1]) for piece in pieces])
    return tokenizer, counts, table.astype(np.float32), _position_table(transformer.auto_model, rows.shape[1])


def _position_table(model: Any, width: int) -> np.ndarray | None:
    """The teacher's learned position embeddings `(positions, h)` in BERT's numbering, or None."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding) and table.embedding_dim == width:
            first = (table.padding_idx + 1) if table.padding_idx is not None else 0
            return table.weight.detach().float().cpu().numpy()[first:]
    return None
