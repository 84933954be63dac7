"""How models of others come in: found, checked for pickles and devices, watched while they load; failures explained."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, MissingExtra
from ..recipe import ScorerSpec
from .identity import folder_digest, hub_commit
from .load_report import POOLER, watched_loading

Dtype = Literal["float32", "float16", "bfloat16"]

_MODULE = re.compile(r"\d+_\w+")  # folders of a sentence-transformers model's modules


def load_model(
    make: Callable[..., Any],
    model: str | Path,
    *,
    revision: str | None,
    device: str | None,
    dtype: Dtype,
    trust_remote_code: bool,
    option: str,
    unused: re.Pattern[str] | None = POOLER,
    safetensors_only: bool = False,
) -> tuple[Any, list[str]]:
    """Load with one of sentence-transformers' classes.

    Args:
        make: `SentenceTransformer`, `CrossEncoder` or `SparseEncoder`.
        model: a folder or an id of the Hugging Face hub.
        revision: commit, tag or branch; for ids only.
        device: `cpu`, `cuda:0`, ...; None takes an accelerator when there is one.
        dtype: precision of weights and computation.
        trust_remote_code: run Python code that comes with the model.
        option: the recipe's group that names the model, for messages.
        unused: weights that may be missing, because this kind of model does not use them.
        safetensors_only: refuse weights that are only there as pickles.

    Returns:
        The model, ready for inference (`eval()`), and the names of weights that no file held: these are random numbers.

    Raises:
        InputError: no such model, a broken one, or a device that is not here.
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None
    name, local = located(model, revision)
    if local and safetensors_only:
        modules = [path for path in Path(name).iterdir() if path.is_dir() and _MODULE.fullmatch(path.name)]
        refuse_pickles(Path(name), *modules)
    precision = getattr(torch, dtype)
    _check_device(device, option)
    try:
        with watched_loading(unused) as missing:
            loaded = make(
                name,
                revision=revision,
                device=device,
                trust_remote_code=trust_remote_code,
                local_files_only=local,
                model_kwargs={"dtype": precision, **({"use_safetensors": True} if safetensors_only else {})},
            )
        loaded.to(dtype=precision)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a foreign loader raises about a broken model is about the user's input
        if "trust_remote_code" in str(error):
            raise InputError(
                "the model brings its own Python code, which is not run by default",
                where=str(model),
                fix=f"read that code, and if you trust it set {option}.trust_remote_code: true",
            ) from error
        raise explained(error, str(model), local, revision) from error
    return loaded.eval(), missing


def load_scorer(make: Callable[..., Any], spec: ScorerSpec) -> tuple[Any, list[str]]:
    """`load_model` with a scorer's options: no weight may be missing (a classifier uses BERT's pooler), no pickles."""
    return load_model(
        make,
        spec.model,
        revision=spec.revision,
        device=spec.device,
        dtype=spec.dtype,
        trust_remote_code=spec.trust_remote_code,
        option="scorers",
        unused=None,
        safetensors_only=True,
    )


def find_model(model: str | Path) -> tuple[str, bool]:
    """What to load and whether it is a folder here: `("/models/a", True)` or `("owner/name", False)`.

    Raises:
        InputError: a path that does not exist, is a file, or holds no model.
    """
    text = str(model)
    path = Path(text).expanduser()
    if path.is_dir():
        if not any((path / file).is_file() for file in ("modules.json", "config.json")):
            raise InputError(
                "the folder holds no model (neither modules.json nor config.json)",
                where=text,
                fix="give the folder that SentenceTransformer.save_pretrained or save_pretrained wrote",
            )
        return str(path), True
    if path.exists():
        raise InputError("a file is not a model", where=text, fix="give the model's folder or a Hugging Face id")
    if path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1 or "\\" in text:
        raise InputError("no such model folder", where=text, fix="check the path")
    return text, False


def located(model: str | Path, revision: str | None) -> tuple[str, bool]:
    """As `find_model`, for loading at a revision.

    Raises:
        InputError: see `find_model`; or a revision of a folder.
    """
    name, local = find_model(model)
    if local and revision is not None:
        raise InputError("a folder has no revisions", where=name, fix="leave out `revision`, or give a Hugging Face id")
    return name, local


def weights_identity(
    model: str | Path, revision: str | None, organisation: str = "sentence-transformers"
) -> tuple[str, str | None]:
    """Name and revision of a model for a fingerprint: a folder's name and digest, or a hub id and its commit.

    Args:
        model: as it was loaded.
        revision: as it was asked for.
        organisation: whose models may be named without their owner.
    """
    found, local = find_model(model)
    if local:
        return Path(found).resolve().name, folder_digest(Path(found))
    return found, hub_commit(found, revision, organisation) or revision


def refuse_pickles(folder: Path, *parts: Path) -> None:
    """Refuse a model of which weights are there as a pickle alone; `parts` are folders inside that are loaded too.

    Raises:
        InputError: there is such a pickle.
    """
    for place in (folder, *parts):
        pickles = sorted(place.glob("pytorch_model*.bin"))
        if pickles and not any(place.glob("*.safetensors")):
            raise InputError(
                f"the weights are there as a pickle alone ({pickles[0].relative_to(folder)}), which is never loaded",
                where=str(folder),
                fix="save the model again with save_pretrained, which writes model.safetensors",
            )


def require_whole(missing: Sequence[str], model: str | Path) -> None:
    """Refuse a model of which weights, named by `missing`, are in no file.

    Raises:
        InputError: there are such weights.
    """
    if missing:
        raise InputError(
            f"the weights are not whole: {missing[0]} and others are in no file and would be random numbers",
            where=str(model),
            fix="save the model again, or give another",
        )


def within_positions(length: int | None, limit: int | None, asked: str, *, where: str | Path, fix: str) -> None:
    """Refuse a length beyond a model's positions; None is no length, or no limit.

    Args:
        length: tokens asked for.
        limit: tokens that the model has positions for.
        asked: what asks, as the message begins.
        where: the model.
        fix: what to do.

    Raises:
        InputError: the length is beyond the limit.
    """
    if length is not None and limit is not None and length > limit:
        raise InputError(f"{asked}, but the model has positions for {limit} tokens", where=str(where), fix=fix)


def held_length(
    asked: int | None, declared: int | None, limit: int | None, *, where: str
) -> tuple[int | None, dict[str, Any]]:
    """The maximum length that holds for a scorer, and what to tell `preprocess` where the model would say otherwise.

    Args:
        asked: the scorer's `max_length`.
        declared: tokens at which the model itself cuts.
        limit: tokens that the model has positions for.
        where: the model.

    Raises:
        InputError: the length asked for is beyond the limit.
    """
    said = f"the scorer's max_length is {asked}"
    within_positions(asked, limit, said, where=where, fix=f"give at most {limit}, or leave it out")
    known = [length for length in (declared, limit) if length is not None]
    holds = asked or (min(known) if known else None)
    return holds, {} if holds == declared else {"processing_kwargs": {"text": {"max_length": holds}}}


def chosen_device(device: str | None, *, where: str, fix: str) -> str:
    """The device asked for, or an accelerator, or the CPU where there is none.

    Raises:
        InputError: there is no such device here; `where` and `fix` say who asked and what to do.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError):  # what PyTorch says of a device that is none, or that it was built without
        raise InputError(f"there is no device {device} here", where=where, fix=fix) from None
    return device


def first_line(error: Exception) -> str:
    """What an error says, in one line: its first that is not empty, or else its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def explained(error: Exception, model: str, local: bool, revision: str | None = None) -> InputError:
    """What a foreign loader raised, as the user's error."""
    said = first_line(error)
    if local:
        return InputError(f"cannot load the model: {said}", where=model, fix="save the model again, or give another")
    at = f" at revision {revision}" if revision else ""
    return InputError(
        f"cannot load the model{at} from the Hugging Face hub or its local cache: {said}",
        where=model,
        fix="check the id and the network (HF_HUB_OFFLINE=1 allows the cache alone), or give a folder",
    )


def not_safetensors(error: Exception, model: str) -> InputError:
    """What a foreign loader raised because it may read safetensors alone, as the user's error."""
    return InputError(
        f"the weights are not in safetensors, and no other format is read: {first_line(error)}",
        where=model,
        fix="save the model again with transformers, or give another",
    )


def _check_device(device: str | None, option: str) -> None:
    import torch

    if device is None:
        return
    where, fix = f"{option}.device", f"leave out `{option}.device`, or give cpu"
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise InputError(f"{device!r} is not a device", where=where, fix=fix) from None
    if kind.type == "cuda" and (not torch.cuda.is_available() or (kind.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"there is no device {device} here", where=where, fix=fix)
    if kind.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no device mps here", where=where, fix=fix)
