"""Finding a collection: what a source string or a path stands for."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .folder import file_source, folder_source
from .hub import hub_source
from .ir import ir_source
from .source import HUB, IR_DATASETS, Source


def find_source(address: str) -> Source:
    """Find the tables behind a source string or path.

    Raises:
        InputError: nothing is there, it holds no corpus, or it holds two.
    """
    if address.startswith(HUB):
        return hub_source(address)
    if address.startswith(IR_DATASETS):
        return ir_source(address)
    path = Path(address).expanduser()
    if path.is_dir():
        return folder_source(path, address)
    if path.is_file():
        return file_source(path, address)
    raise InputError(
        "there is no such file or folder",
        where=address,
        fix=f"check the path, or write {HUB}NAME or {IR_DATASETS}NAME for a published data set",
    )
