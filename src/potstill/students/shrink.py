"""Smaller copies of a teacher's transformer: chosen layers, a trimmed vocabulary, a narrower body."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..objectives.layers import spread
from ..progress import say
from ..teachers.blocks import block_prefix
from ..teachers.load_report import without_bars
from .counting import Texts, token_counts
from .vocabulary import trimmed_to


def keep_layers(model: Any, layers: Sequence[int] | None) -> Any:
    """A copy of an encoder with the given layers of its own, in the given order; None: the bottom and the top one.

    Raises:
        InputError: there is no such layer, or the layers share their weights.
    """
    depth = int(model.config.num_hidden_layers)
    chosen = list(layers) if layers is not None else sorted({0, depth - 1})
    if not chosen or any(not 0 <= layer < depth for layer in chosen):
        raise InputError(
            f"layers {chosen} of a teacher that has {depth}",
            where="student.layers",
            fix=f"give numbers from 0 to {depth - 1}, for example layers:0,{depth - 1}",
        )
    prefix = block_prefix(model, depth)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(chosen)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = [kinds[layer] for layer in chosen]
    state = {}
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.(.*)")
    for name, tensor in model.state_dict().items():
        found = pattern.fullmatch(name)
        if found is None:
            state[name] = tensor
            continue
        for place, layer in enumerate(chosen):
            if layer == int(found[1]):
                state[f"{prefix}.{place}.{found[2]}"] = tensor
    return _filled(model, config, state)


def evenly(depth: int, share: float) -> tuple[int, ...]:
    """That share of a model's layers (at least one), evenly spread, the top one included."""
    return spread(depth, max(1, round(depth * share)))


def narrow(model: Any, width: int) -> Any:
    """A copy of a BERT with some of its hidden numbers, heads and inner units; all else is the teacher's own weights.

    Structured pruning by size: hidden numbers are kept by the spread of the embeddings that enter them times the
    layer norms' gain, heads by the norm of what they write, inner units likewise. What is kept is the same in all
    layers where they are joined by residuals. The result is a start for training, not a working model.

    Raises:
        InputError: the model is no BERT, or the width does not fit its heads.
    """
    config = copy.deepcopy(model.config)
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    size = hidden // heads
    if config.model_type != "bert":
        raise InputError(
            f"cannot narrow a model of type {config.model_type}",
            where="student.width",
            fix="leave out `width`, or use a student tiny:2x128, which starts from the same embeddings",
        )
    if width >= hidden or width % size:
        raise InputError(
            f"width {width} of a teacher with {heads} heads of {size}",
            where="student.width",
            fix=f"give a multiple of {size} below {hidden}",
        )
    state = {name: tensor.float() for name, tensor in model.state_dict().items()}
    config.hidden_size, config.num_attention_heads = width, width // size
    config.intermediate_size = max(1, round(int(config.intermediate_size) * width / hidden))
    entering = state["embeddings.word_embeddings.weight"].std(0) * state["embeddings.LayerNorm.weight"].abs()
    body = _largest(entering, width)
    out = {}
    for name, tensor in state.items():
        prefix = re.match(r"encoder\.layer\.\d+\.", name)
        if prefix is None:
            table = name.startswith("embeddings.") and tensor.ndim == 2  # its rows are entries, positions, segments
            for axis in range(1 if table else 0, tensor.ndim):
                tensor = tensor.index_select(axis, body)
            out[name] = tensor
            continue
        layer, part = prefix[0], name[prefix.end() :]
        written = state[f"{layer}attention.output.dense.weight"].square().sum(0).view(heads, size).sum(1)
        kept = _largest(written, width // size)
        of_heads = (kept[:, None] * size + torch.arange(size)[None, :]).flatten()
        inner = _largest(state[f"{layer}output.dense.weight"].square().sum(0), config.intermediate_size)
        rows, columns = _axes(part, body, of_heads, inner)
        tensor = tensor.index_select(0, rows)
        out[name] = tensor.index_select(1, columns) if tensor.ndim == 2 else tensor
    return _filled(model, config, out)


def trim_vocabulary(model: Any, tokenizer: Any, texts: Texts, limit: int | None) -> tuple[Any, Any, np.ndarray]:
    """A copy of an encoder and its tokenizer with only the entries that occur in the texts (at most `limit`).

    Returns:
        Model, tokenizer and the old ids of the entries kept, int64 `(V',)`.
    """
    backend = plain_backend(tokenizer)
    counts = token_counts(backend, texts)
    small, old = trimmed_to(backend, counts, limit, keep_special=True)
    rows = model.get_input_embeddings().weight.detach()
    old = old[old < len(rows)]
    say(f"student: {len(old):,} of the teacher's {len(counts):,} entries are kept")
    config = copy.deepcopy(model.config)
    config.vocab_size = len(old)
    new = {int(number): place for place, number in enumerate(old)}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id"):
        number = getattr(config, name, None)
        if isinstance(number, int):
            setattr(config, name, new.get(number))
    table = next(name for name, value in model.state_dict().items() if value.data_ptr() == rows.data_ptr())
    state = {**model.state_dict(), table: rows[torch.from_numpy(old)]}
    return _filled(model, config, state), small_tokenizer(small, tokenizer), old


def small_tokenizer(backend: Any, like: Any) -> Any:
    """A stock fast tokenizer around a `tokenizers.Tokenizer`, with the special tokens and habits of another."""
    from transformers import PreTrainedTokenizerFast

    special = {name: str(token) for name, token in like.special_tokens_map.items() if isinstance(token, str)}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=like.model_max_length,
        padding_side=like.padding_side,
        model_input_names=list(like.model_input_names),
        **special,
    )


def plain_backend(tokenizer: Any) -> Any:
    """A copy of a Hugging Face tokenizer's `tokenizers.Tokenizer` that neither cuts nor pads."""
    from tokenizers import Tokenizer

    copied = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def as_module(model: Any, tokenizer: Any, max_length: int | None) -> Any:
    """A sentence-transformers `Transformer` around a model and a tokenizer, by way of files, as anyone loads them."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    with without_bars(), tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        module = Transformer(str(Path(folder)))
    if max_length is not None:
        module.max_seq_length = max_length
    return module


def _filled(model: Any, config: Any, state: dict[str, torch.Tensor]) -> Any:
    """A new model of the same class with a changed configuration and the given weights, float32."""
    with torch.random.fork_rng(devices=[]):
        fresh = type(model)(config)
    fresh.load_state_dict({name: tensor.detach().float().cpu() for name, tensor in state.items()})
    return fresh.float().eval()


def _largest(values: torch.Tensor, count: int) -> torch.Tensor:
    return values.argsort(descending=True, stable=True)[:count].sort().values


def _axes(part: str, body: torch.Tensor, heads: torch.Tensor, inner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows and columns of one tensor of a BERT layer are kept."""
    if part.startswith("attention.self."):
        return heads, body
    if part.startswith("attention.output.dense."):
        return body, heads
    if part.startswith("intermediate.dense."):
        return inner, body
    if part.startswith("output.dense."):
        return body, inner
    return body, body  # layer norms
