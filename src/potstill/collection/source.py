"""Where a collection comes from: tables of documents, queries and judgments, whatever holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .records import Table

HUB = "hf:"
IR_DATASETS = "ir_datasets:"


@dataclass(frozen=True)
class Source:
    """Tables that are found and not yet read. `queries` is empty where there are none; judgments are split -> table."""

    name: str
    address: str
    corpus: Sequence[Table]
    queries: Sequence[Table] = ()
    judgments: Mapping[str, Table] = field(default_factory=dict)
    unread: Sequence[str] = ()


def find_source(address: str) -> Source:
    """Find the tables behind a source string or path.

    Raises:
        InputError: nothing is there, it holds no corpus, or it holds two.
    """
    if address.startswith(HUB):
        from .hub import hub_source

        return hub_source(address)
    if address.startswith(IR_DATASETS):
        from .ir import ir_source

        return ir_source(address)
    path = Path(address).expanduser()
    if path.is_dir():
        from .folder import folder_source

        return folder_source(path, address)
    if path.is_file():
        from .folder import file_source

        return file_source(path, address)
    raise InputError(
        "there is no such file or folder",
        where=address,
        fix=f"check the path, or write {HUB}NAME or {IR_DATASETS}NAME for a published data set",
    )
