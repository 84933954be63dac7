"""Which weights a model has: a digest of a folder's contents, or the commit of a hub id."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PARTS = {".safetensors", ".bin", ".json", ".txt", ".model", ".py", ".vocab", ".merges", ".tiktoken", ".jinja"}
_BLOCK = 1 << 20
_known: dict[tuple[str, int, int], str] = {}


def file_digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in hex; kept for this process until its size or time of change differ."""
    state = path.stat()
    key = (str(path.resolve()), state.st_mtime_ns, state.st_size)
    if key not in _known:
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        _known[key] = digest.hexdigest()
    return _known[key]


def folder_digest(folder: Path) -> str:
    """Digest of a model folder: names and contents of weights, configuration and tokenizer, not of its place.

    Readme files, hidden files and exports to other runtimes (`onnx/`, `openvino/`) do not count.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in ("onnx", "openvino", "__pycache__") for part in inner.parts)
        if path.suffix in _PARTS and not hidden and path.is_file():
            digest.update(f"{inner.as_posix()}\0{file_digest(path)}\n".encode())
    return f"blake2b:{digest.hexdigest()}"


def hub_commit(model: str, revision: str | None, organisation: str = "sentence-transformers") -> str | None:
    """The commit that an already loaded hub id stands at in the local cache; None when it is not there.

    An id without an owner is looked for at `organisation` first, as its loader does.
    """
    from huggingface_hub import try_to_load_from_cache

    names = [model] if "/" in model else [f"{organisation}/{model}", model]
    for name in names:
        for file in ("modules.json", "config.json"):
            found = try_to_load_from_cache(
                name, file, revision=revision, cache_dir=os.environ.get("SENTENCE_TRANSFORMERS_HOME")
            )
            if isinstance(found, str):
                return Path(found).parent.name
    return None
