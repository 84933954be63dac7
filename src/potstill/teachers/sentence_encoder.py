"""The one place that loads and looks into sentence-transformers models; teachers and students both come here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingExtra
from ..recipe import Role
from .loading import Dtype, load_model, require_whole

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_NO_LIMIT = 10**9  # tokenizers without a limit say 1e30


def load_sentence_encoder(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: Dtype = "float32",
    pooling: str | None = None,
    normalize: bool | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Load a sentence-transformers or plain Hugging Face model, ready for inference (`eval()`).

    Args:
        model: a folder or an id of the Hugging Face hub.
        revision: commit, tag or branch; for ids only.
        device: `cpu`, `cuda:0`, ...; None takes an accelerator when there is one.
        dtype: precision of weights and computation.
        pooling: replaces the model's pooling; None keeps it (plain models: mean, decoders: last token).
        normalize: False takes the model's Normalize modules away; True and None leave the modules as they are.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        InputError: no such model, a broken one, or an option that does not fit it.
        MissingExtra: sentence-transformers is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtra("sentence-transformers", "train") from None
    encoder, missing = load_model(
        SentenceTransformer,
        model,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        option="teacher",
    )
    require_whole(missing, model)
    if pooling is not None:
        _set_pooling(encoder, pooling, str(model))
    if normalize is False:
        _drop_normalize(encoder)
    whole: SentenceTransformer = encoder.eval()
    return whole


def modules_for(encoder: SentenceTransformer, role: Role) -> list[torch.nn.Module]:
    """The modules that a text of this role passes through, in order; of a Router, the route's.

    Raises:
        InputError: the model's Router has no route for the role.
    """
    from sentence_transformers.sentence_transformer.modules import Router

    passed: list[torch.nn.Module] = []
    for module in encoder.children():
        if not isinstance(module, Router):
            passed.append(module)
            continue
        try:
            route = module._resolve_route(task=role, modality="text")
        except ValueError as error:
            raise InputError(
                f"the model's Router has no route for {role} texts: {error}",
                fix="give a Router with routes `query` and `document`, or two models",
            ) from None
        passed.extend(module.sub_modules[route])
    return passed


def is_routed(encoder: SentenceTransformer) -> bool:
    """Whether the model sends queries and documents through different modules."""
    from sentence_transformers.sentence_transformer.modules import Router

    return any(isinstance(module, Router) for module in encoder.children())


def declared_prompt(encoder: SentenceTransformer, role: Role) -> tuple[str, str]:
    """The prompt that the model declares for a role, and the name it goes by; ("", "") when it declares none.

    Queries take the prompt `query`; documents the first of `document`, `passage` and `corpus` that is not empty.
    """
    for name in ("query",) if role == "query" else _DOCUMENT_PROMPTS:
        if prompt := encoder.prompts.get(name):
            return str(prompt), name
    return "", ""


def declared_length(encoder: SentenceTransformer, role: Role) -> int | None:
    """Tokens after which the model cuts a text of this role; None where it has no limit."""
    first = modules_for(encoder, role)[0]
    length = getattr(first, f"{role}_length", None) or getattr(first, "max_seq_length", None)
    return int(length) if length is not None and not math.isinf(length) and length < _NO_LIMIT else None


def longest_length(encoder: SentenceTransformer, role: Role) -> int | None:
    """Tokens that the model has positions for; None where it is not a transformer, 0 where texts are never cut."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    first = modules_for(encoder, role)[0]
    if not isinstance(first, Transformer):
        return 0
    return positions(first.auto_model)


def positions(model: torch.nn.Module) -> int | None:
    """Tokens that a transformers model has positions for; None where it does not say."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if table is not None and hasattr(table, "num_embeddings"):
            # RoBERTa and its kin number positions from padding_idx + 1 on.
            padding = getattr(module, "padding_idx", None)
            return int(table.num_embeddings) - (padding + 1 if isinstance(padding, int) else 0)
    declared = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return int(declared) if declared and declared > 0 else None


def pooling_name(encoder: SentenceTransformer, role: Role) -> str | None:
    """The pooling that texts of this role get, e.g. `mean` or `cls+mean`; None where the model does not say."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    for module in modules_for(encoder, role):
        if isinstance(module, Pooling):
            modes = module.pooling_mode
            name = modes if isinstance(modes, str) else "+".join(modes)
            return name if module.include_prompt else f"{name} without prompt"
    return None


def normalizes(encoder: SentenceTransformer, role: Role) -> bool:
    """Whether vectors of this role leave the model with length 1 by construction."""
    from sentence_transformers.sentence_transformer.modules import Normalize

    return encoder.truncate_dim is None and isinstance(modules_for(encoder, role)[-1], Normalize)


def backend_tokenizer(encoder: SentenceTransformer, role: Role) -> Any | None:
    """A copy of the role's `tokenizers.Tokenizer`, without truncation and padding; None if it has no fast one."""
    import tokenizers

    found = getattr(modules_for(encoder, role)[0], "tokenizer", None)
    found = getattr(found, "backend_tokenizer", found)
    if not isinstance(found, tokenizers.Tokenizer):
        return None
    copy = tokenizers.Tokenizer.from_str(found.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def adds_special_tokens(encoder: SentenceTransformer, role: Role) -> bool:
    """Whether the model wraps texts in special tokens; static models do not."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return not isinstance(modules_for(encoder, role)[0], StaticEmbedding)


def stored_numbers(modules: Sequence[torch.nn.Module]) -> tuple[int, int]:
    """Count and bytes of all distinct stored numbers, buffers included."""
    seen: set[tuple[int, int]] = set()
    count = size = 0
    for module in modules:
        for tensor in module.state_dict().values():
            key = (tensor.data_ptr(), tensor.numel())
            if key not in seen:
                seen.add(key)
                count += tensor.numel()
                size += tensor.numel() * tensor.element_size()
    return count, size


def _routes(encoder: SentenceTransformer) -> Iterator[torch.nn.Module]:
    """Every sequence of modules in the model: the whole, then each route of each Router."""
    from sentence_transformers.sentence_transformer.modules import Router

    yield encoder
    for module in encoder.children():
        if isinstance(module, Router):
            yield from module.sub_modules.values()


def _set_pooling(encoder: SentenceTransformer, mode: str, name: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    replaced = 0
    for route in list(_routes(encoder)):
        for key, module in list(route.named_children()):
            if isinstance(module, Pooling):
                new = Pooling(module.embedding_dimension, mode, include_prompt=module.include_prompt)
                if new.pooling_output_dimension != module.pooling_output_dimension:
                    raise InputError(
                        f"the model pools as {module.pooling_mode}; what follows does not fit {mode} pooling",
                        where=name,
                        fix="leave out `teacher.pooling`",
                    )
                route._modules[key] = new
                replaced += 1
    if not replaced:
        raise InputError("this model has no pooling to replace", where=name, fix="leave out `teacher.pooling`")


def _drop_normalize(encoder: SentenceTransformer) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize

    for route in list(_routes(encoder)):
        for key, module in list(route.named_children()):
            if isinstance(module, Normalize):
                del route._modules[key]
