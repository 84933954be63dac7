"""Where a collection comes from: tables of documents, queries and judgments, whatever holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
