"""Sequence-to-sequence models: any T5, BART or doc2query of transformers, and encoder-decoder folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import GeneratorSpec
from ..signals import Fingerprint
from ..teachers.load_report import watched_loading
from ..teachers.loading import (
    chosen_device,
    explained,
    first_line,
    located,
    not_safetensors,
    require_whole,
    weights_identity,
    within_positions,
)
from ..teachers.sentence_encoder import positions
from ..texts import whole
from .sampling import Draws, uniforms

_DECODING = 1  # of this file; a later way to decode gets another fingerprint
# What a model itself says of how it starts and ends. All else (beams, penalties, lengths) is the recipe's to say.
_TOKENS = (
    "decoder_start_token_id",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
)


def load_seq2seq(model: str, *, revision: str | None = None, device: str | None = None) -> tuple[Any, Any]:
    """Load a sequence-to-sequence model in float32, ready for inference, and its tokenizer.

    Weights come from safetensors alone, and no code that comes with the model is run.

    Args:
        model: a folder or an id of the Hugging Face hub.
        revision: commit, tag or branch; for ids only.
        device: None takes an accelerator when there is one.

    Raises:
        InputError: no such model, a broken one, or one of another kind.
        MissingExtra: transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig
    except ImportError:
        raise MissingExtra("transformers", "train") from None
    name, local = located(model, revision)
    asked = "queries.generator.device"
    place = chosen_device(device, where=asked, fix=f"leave out `{asked}`, or give cpu")
    options = {"revision": revision, "local_files_only": local, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        with watched_loading() as missing:
            loaded = AutoModelForSeq2SeqLM.from_pretrained(name, use_safetensors=True, dtype=torch.float32, **options)
        loaded = loaded.to(place).eval()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a foreign loader raises about a broken model is about the user's input
        raise _explained(error, model, local) from error
    require_whole(missing, model)
    tokens = {key: getattr(loaded.generation_config, key, None) for key in _TOKENS}
    if tokens["decoder_start_token_id"] is None:
        tokens["decoder_start_token_id"] = getattr(loaded.config, "decoder_start_token_id", None)
    loaded.generation_config = GenerationConfig(**{key: value for key, value in tokens.items() if value is not None})
    for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        if getattr(loaded.generation_config, key) is None:
            raise InputError(
                f"the model does not say its {key}: it cannot write",
                where=model,
                fix=f"set {key} in its generation_config.json",
            )
    return loaded, tokenizer


class Seq2Seq:
    """A model that writes a few texts for each text that it reads.

    Attributes:
        name: for people: the id, or the folder's name.
        truncated: texts that were cut at the maximum length so far.
    """

    def __init__(self, spec: GeneratorSpec, seed: int) -> None:
        """Load the model.

        Args:
            spec: the model and how it writes.
            seed: of sampling; nothing depends on it where beams decide.

        Raises:
            InputError: see `load_seq2seq`; or a length that the model has no positions for.
        """
        self.spec, self.seed = spec, seed
        self.model, self.tokenizer = load_seq2seq(spec.model, revision=spec.revision, device=spec.device)
        self.name, self._revision = weights_identity(spec.model, spec.revision)
        self.truncated = 0
        for side, length in (("input", spec.max_input), ("output", spec.max_output)):
            part = "encoder" if side == "input" else "decoder"
            limit = positions(getattr(self.model, part, self.model))
            option = f"queries.generator.max_{side}"
            fix = f"set {option} to at most {limit}"
            within_positions(length, limit, f"{option} is {length}", where=spec.model, fix=fix)

    def fingerprint(self) -> Fingerprint:
        """Identity of what is written: the weights and every setting of decoding, and the seed where chance decides."""
        spec = self.spec
        extra = {"each": spec.each, "max_output": spec.max_output, "decoding": _DECODING}
        if spec.sampling is None:
            extra["beams"] = spec.beams
        else:
            extra |= {"top_p": spec.sampling, "temperature": spec.temperature, "seed": self.seed}  # type: ignore[dict-item]
        return Fingerprint(
            kind="seq2seq",
            model=self.name,
            revision=self._revision,
            role="any",
            prompt=spec.prefix,
            pooling=None,
            max_length=spec.max_input,
            normalize=None,
            dtype="float32",
            dimensions=0,
            extra=tuple((key, str(value)) for key, value in extra.items()),
        )

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens (n,) int64 of each text with its prefix, cut at the maximum length."""
        ids = self.tokenizer([self._whole(text) for text in texts], truncation=False, verbose=False)["input_ids"]
        counts = np.array([len(one) for one in ids], dtype=np.int64)
        self.truncated += int((counts > self.spec.max_input).sum())
        return np.minimum(counts, self.spec.max_input)

    def write(self, texts: Sequence[str]) -> list[list[str]]:
        """`each` texts for each of these, as one batch; white space is collapsed, and a text may be empty."""
        import torch

        spec = self.spec
        held = self.tokenizer(
            [self._whole(text) for text in texts],
            truncation=True,
            max_length=spec.max_input,
            padding=True,
            return_tensors="pt",
        )
        ids, mask = (held[key].to(self.model.device) for key in ("input_ids", "attention_mask"))
        options: dict[str, Any] = {"max_new_tokens": spec.max_output, "do_sample": False}
        with torch.inference_mode():
            read = self.model.get_encoder()(input_ids=ids, attention_mask=mask)
            if spec.sampling is None:
                options |= {"num_beams": spec.beams, "num_return_sequences": spec.each}
            else:  # each sample is a row of its own; the text is read once for all of them
                chance = np.concatenate([uniforms(text, self.seed, spec.each, spec.max_output) for text in texts])
                draws = Draws(torch.from_numpy(chance), spec.sampling, spec.temperature)
                read.last_hidden_state = read.last_hidden_state.repeat_interleave(spec.each, dim=0)
                mask = mask.repeat_interleave(spec.each, dim=0)
                options |= {"num_beams": 1, "logits_processor": [draws]}
            written = self.model.generate(encoder_outputs=read, attention_mask=mask, **options)
        said = [" ".join(text.split()) for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return [said[start : start + spec.each] for start in range(0, len(said), spec.each)]

    def _whole(self, text: str) -> str:
        return whole(self.spec.prefix + text)


def _explained(error: Exception, model: str, local: bool) -> InputError:
    if "Unrecognized configuration class" in first_line(error):
        return InputError(
            "this is no sequence-to-sequence model",
            where=model,
            fix="give a T5, BART or doc2query model, or make one with `potstill teach generator`",
        )
    if "trust_remote_code" in str(error):
        return InputError(
            "the model brings its own Python code, which is not run", where=model, fix="give another model"
        )
    if "safetensors" in str(error):
        return not_safetensors(error, model)
    return explained(error, model, local)
