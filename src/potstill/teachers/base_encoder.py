"""Any Hugging Face encoder, or a sentence-transformers model's, as the start of a teacher that reads pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import InputError
from .load_report import watched_loading
from .loading import first_line, located, not_safetensors, refuse_pickles, require_whole, within_positions
from .pair_tokens import PairIds, PairTokenizer
from .sentence_encoder import positions


def load_base(
    base: str | Path,
    *,
    head: Literal["none", "classifier"],
    max_length: int,
    seed: int = 0,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    apart: bool = False,
) -> tuple[Any, Any, PairTokenizer]:
    """Load an encoder, its tokenizer, and what joins pairs for it; in eval mode.

    Weights come from safetensors alone.

    Args:
        base: a folder (plain, or of a sentence-transformers model) or an id.
        head: `classifier` puts one logit on top, random from `seed` where the base has none.
        max_length: most tokens of a pair.
        seed: of weights that the base lacks.
        revision: commit, tag or branch; for ids only.
        dtype: precision of weights and computation.
        apart: see `PairTokenizer`.

    Raises:
        InputError: no such model, a broken one, one that is no encoder, or a length beyond its positions.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    name, local = located(base, revision)
    place = _transformer_of(Path(name)) if local else name
    if local:
        refuse_pickles(Path(place))
    where = {"revision": revision, "local_files_only": local}
    more: dict[str, Any] = {"num_labels": 1} if head == "classifier" else {}
    try:
        config = AutoConfig.from_pretrained(place, **where)
        if getattr(config, "is_encoder_decoder", False):
            raise _no_encoder(base, "it is an encoder with a decoder")
        with watched_loading() as missing, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind = AutoModelForSequenceClassification if head == "classifier" else AutoModel
            model = kind.from_pretrained(place, dtype=dtype, use_safetensors=True, **where, **more).eval()
        tokenizer = AutoTokenizer.from_pretrained(place, **where)
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a foreign loader raises about a broken model is about the user's input
        if not local and "safetensors" in str(error):
            raise not_safetensors(error, str(base)) from error
        raise InputError(
            f"cannot load an encoder: {first_line(error)}",
            where=str(base),
            fix="give the folder or id of a BERT-like encoder, or of a sentence-transformers model built on one",
        ) from error
    inside = f"{model.base_model_prefix}." if head == "classifier" else ""
    require_whole([weight for weight in missing if weight.startswith(inside)], base)
    most = positions(model)
    asked = f"a maximum length of {max_length} is asked"
    within_positions(max_length, most, asked, where=base, fix=f"give at most {most}")
    pairs = PairTokenizer(tokenizer, max_length, apart=apart)
    _try(model, pairs, str(base))
    return model, tokenizer, pairs


def inputs(pairs: PairIds, takes_types: bool, device: torch.device) -> dict[str, torch.Tensor]:
    """What a transformers model is called with."""
    arrays = {"input_ids": pairs.ids, "attention_mask": pairs.mask.astype("int64")}
    if takes_types:
        arrays["token_type_ids"] = pairs.types
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def save_tokenizer(tokenizer: Any, max_length: int, folder: Path) -> None:
    """Write a tokenizer that cuts at this length wherever it is loaded."""
    tokenizer.model_max_length = max_length
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(str(folder))


def _transformer_of(folder: Path) -> str:
    """Where the transformer of a model folder lies."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return str(folder)
    try:
        first = json.loads(listed.read_text(encoding="utf-8"))[0]
        kind, path = str(first["type"]), str(first["path"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"cannot read modules.json: {error}", where=str(folder), fix="save the model again") from None
    if not kind.endswith(".Transformer"):
        raise _no_encoder(folder, f"it begins with {kind.rpartition('.')[2]}, not with a transformer")
    return str(folder / path)


def _try(model: Any, pairs: PairTokenizer, base: str) -> None:
    """See that vectors come out, and that a query's token sees the end of the document."""
    texts = pairs.ids(["water", "a cask of malt", "a cask of yeast"])
    joined = pairs.join([texts[0], texts[0]], texts[1:])
    try:
        with torch.inference_mode():
            out = model.base_model(**inputs(joined, pairs.takes_types, model.device))
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise _no_encoder(base, f"it cannot read a pair: {first_line(error)}") from error
    hidden = getattr(out, "last_hidden_state", None)
    if hidden is None or hidden.shape[:2] != joined.ids.shape:
        raise _no_encoder(base, "it gives no vector for each token")
    if not bool(hidden.isfinite().all()):
        raise InputError("the model gives NaN or infinite numbers", where=base, fix="check its weights")
    if torch.equal(hidden[0, 0], hidden[1, 0]) and not (joined.ids[0] == joined.ids[1]).all():
        raise _no_encoder(base, "it reads from left to right, so a query's tokens would not see the document")


def _no_encoder(base: str | Path, because: str) -> InputError:
    return InputError(
        f"the base is no encoder: {because}",
        where=str(base),
        fix="give a BERT-like encoder, or a sentence-transformers model built on one",
    )
