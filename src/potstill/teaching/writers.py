"""Models that write, before they are taught: a sequence-to-sequence model, or an encoder on both sides of a new one.

A warm-started encoder-decoder (Rothe et al. 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks")
takes the encoder's weights for its decoder too; only what reads across, and the output's transform, is new.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import torch

from ..atomic import replacing_folder
from ..errors import InputError
from ..queries.seq2seq import load_seq2seq
from ..recipe import TeachGeneratorSpec
from ..teachers.base_encoder import load_base
from ..teachers.loading import find_model, within_positions
from ..teachers.sentence_encoder import positions


def untrained_writer(spec: TeachGeneratorSpec) -> tuple[Any, Any]:
    """The model that a specification starts from, on the CPU, and its tokenizer.

    New weights are random, from the training's seed.

    Raises:
        InputError: the base is neither a sequence-to-sequence model nor an encoder that can become one, or has too few
            positions.
    """
    if _writes(spec.base, spec.revision):
        model, tokenizer = load_seq2seq(spec.base, revision=spec.revision, device="cpu")
    else:
        encoder, tokenizer, _ = load_base(
            spec.base, head="none", max_length=spec.max_input, seed=spec.training.seed, revision=spec.revision
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.training.seed)
            model = warm_started(encoder, tokenizer, spec.base)
    for side, name, length in (("encoder", "max_input", spec.max_input), ("decoder", "max_output", spec.max_output)):
        limit = positions(getattr(model, side, model))
        fix = f"set {name} to at most {limit}"
        within_positions(length, limit, f"{name} is {length}", where=spec.base, fix=fix)
    return model, tokenizer


def warm_started(encoder: Any, tokenizer: Any, base: str) -> Any:
    """An encoder-decoder of which both sides have an encoder's weights; what is new is random.

    Args:
        encoder: a model of transformers.
        tokenizer: its own; queries are written between its first and last special tokens.
        base: for messages.

    Raises:
        InputError: the encoder has no kind that writes and reads across.
    """
    from transformers import AutoModelForCausalLM, EncoderDecoderModel, GenerationConfig

    config = copy.deepcopy(encoder.config)
    config.is_decoder, config.add_cross_attention, config.use_cache = True, True, True
    fix = "give a BERT-like or RoBERTa-like encoder, or a sequence-to-sequence model"
    quiet = logging.getLogger("transformers")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it wonders about decoders that are made of encoders
    try:
        decoder = AutoModelForCausalLM.from_config(config)
    except ValueError as error:
        raise InputError(
            f"a {config.model_type} encoder has no decoder in transformers", where=base, fix=fix
        ) from error
    finally:
        quiet.setLevel(level)
    lost = decoder.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    across = [name for name in lost if "crossattention" in name.lower()]
    if not across or len(across) < len(lost):
        raise InputError(f"a {config.model_type} decoder does not read across", where=base, fix=fix)
    decoder.tie_weights()
    model = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    start, end, pad = (
        getattr(tokenizer, first) if getattr(tokenizer, first) is not None else getattr(tokenizer, second)
        for first, second in (
            ("cls_token_id", "bos_token_id"),
            ("sep_token_id", "eos_token_id"),
            ("pad_token_id", "eos_token_id"),
        )
    )
    if start is None or end is None:
        raise InputError("the tokenizer has no tokens for a text's start and end", where=base, fix=fix)
    model.config.decoder_start_token_id, model.config.pad_token_id = start, pad
    model.generation_config = GenerationConfig(decoder_start_token_id=start, eos_token_id=end, pad_token_id=pad)
    return model.eval()


def save_writer(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder, whole or not at all, that transformers loads, and `queries.generator.model` names."""
    for config in (model.config, *(getattr(model.config, side, None) for side in ("encoder", "decoder"))):
        if config is not None and hasattr(config, "_name_or_path"):
            config._name_or_path = ""  # where the base lay is nobody's business
    with replacing_folder(Path(folder)) as path:
        model.save_pretrained(str(path))
        tokenizer.save_pretrained(str(path))
        (path / "README.md").write_text(_README, encoding="utf-8")


def _writes(base: str, revision: str | None) -> bool:
    """Whether a model is sequence-to-sequence already; False where nobody can tell, which loading it then explains."""
    from transformers import AutoConfig

    name, local = find_model(base)
    try:
        config = AutoConfig.from_pretrained(name, revision=None if local else revision, local_files_only=local)
    except (OSError, ValueError, KeyError):
        return False
    return bool(getattr(config, "is_encoder_decoder", False))


_README = """# Query generator trained with Potstill

Reads a document and writes queries that it answers. In a recipe: `queries.generator.model: PATH`.
"""
