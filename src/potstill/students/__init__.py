"""What is deployed: static tables, shrunk teachers, tiny transformers, any model; how they are built, saved, loaded.

Building and training need torch; loading a static student needs numpy, tokenizers and safetensors alone, so everything
here is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .building import build_tower
    from .encoder import Encoder, SentenceEncoder, StaticEncoder, load_encoder
    from .loading import Student, load
    from .saving import read_note, save_packed, stored
    from .tokens import Tokens
    from .tower import TouchedRows, Tower

__all__ = [
    "Encoder",
    "SentenceEncoder",
    "StaticEncoder",
    "Student",
    "Tokens",
    "TouchedRows",
    "Tower",
    "build_tower",
    "load",
    "load_encoder",
    "read_note",
    "save_packed",
    "stored",
]

_HOMES = {
    "build_tower": "building",
    "Encoder": "encoder",
    "SentenceEncoder": "encoder",
    "StaticEncoder": "encoder",
    "load_encoder": "encoder",
    "Student": "loading",
    "load": "loading",
    "read_note": "saving",
    "save_packed": "saving",
    "stored": "saving",
    "Tokens": "tokens",
    "TouchedRows": "tower",
    "Tower": "tower",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
