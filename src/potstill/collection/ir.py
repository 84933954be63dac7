"""Published collections through the package ir_datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, MissingExtra
from .records import Cells, Table
from .source import IR_DATASETS, Source

_SPLITS = {"train": "train", "dev": "dev", "val": "dev", "validation": "dev", "test": "test"}


@dataclass(frozen=True)
class IrTable:
    """One kind of entity of one data set."""

    label: str
    entities: Callable[[], Iterable[Any]]
    cells: Callable[[Any], Cells]
    typed: bool = field(default=True, init=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream (position from 1, column name -> value)."""
        try:
            for number, entity in enumerate(self.entities(), start=1):
                yield number, self.cells(entity)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"ir_datasets cannot read it: {error}",
                where=self.label,
                fix="check the connection; some data sets must be put in place by hand",
            ) from None

    def where(self, row: int) -> str:
        """`data set, entry n`."""
        return f"{self.label}, entry {row}"


def ir_source(address: str) -> Source:
    """`ir_datasets:NAME`.

    Where NAME has judgments they are one split: `train`, `dev` or `test` where a part of NAME says so, else `test`.
    Where it has none, each data set below it with the same documents is a split, called by the rest of its name.
    """
    try:
        import ir_datasets
    except ImportError:
        raise MissingExtra("ir_datasets", "ir_datasets") from None
    name = address.removeprefix(IR_DATASETS)
    try:
        whole = ir_datasets.load(name)
    except KeyError:
        raise InputError(
            f"ir_datasets knows no data set {name!r}", where=address, fix="see https://ir-datasets.com for the names"
        ) from None
    if not whole.has_docs():
        raise InputError("the data set has no documents", where=address, fix="choose one that has")
    parts = {}
    if whole.has_qrels():
        named = [_SPLITS[part] for part in reversed(name.split("/")) if part in _SPLITS]
        parts[named[0] if named else "test"] = whole
    else:
        for other in ir_datasets.registry:
            if other.startswith(f"{name}/") and _belongs(ir_datasets, other, whole):
                parts[other.removeprefix(f"{name}/")] = ir_datasets.load(other)
    with_queries = [part for part in (whole, *parts.values()) if part.has_queries()]
    queries = []
    if with_queries:
        queries = [IrTable(f"{address} queries", lambda: _distinct_queries(with_queries), _query)]
    judgments: dict[str, Table] = {
        split: IrTable(f"{address} qrels {split}", part.qrels_iter, _judgment) for split, part in parts.items()
    }
    corpus = [IrTable(f"{address} documents", whole.docs_iter, _document)]
    return Source(name.replace("/", "-"), address, corpus, queries, judgments)


def _belongs(library: Any, name: str, whole: Any) -> bool:
    part = library.load(name)
    if not (part.has_docs() and part.has_queries() and part.has_qrels()):
        return False
    return bool(part.docs_handler() == whole.docs_handler())


def _distinct_queries(parts: Iterable[Any]) -> Iterator[Any]:
    """Queries of several parts; parts overlap, so that an id is taken once."""
    seen: set[str] = set()
    for part in parts:
        new = [query for query in part.queries_iter() if query.query_id not in seen]
        seen.update(query.query_id for query in new)
        yield from new


def _document(entity: Any) -> Cells:
    text = getattr(entity, "text", None)
    if text is None:
        return {"_id": entity.doc_id, "text": entity.default_text()}
    return {"_id": entity.doc_id, "title": getattr(entity, "title", None), "text": text}


def _query(entity: Any) -> Cells:
    text = getattr(entity, "text", None)
    return {"_id": entity.query_id, "text": entity.default_text() if text is None else text}


def _judgment(entity: Any) -> Cells:
    return {"query-id": entity.query_id, "corpus-id": entity.doc_id, "score": entity.relevance}
