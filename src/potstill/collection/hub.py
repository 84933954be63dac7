"""Hugging Face datasets: from the hub, from a folder of one, or saved by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingExtra
from .records import COLUMNS, JUDGED_DOCUMENTS, JUDGED_QUERIES, Cells, Table
from .source import HUB, Source

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class HubTable:
    """A `datasets.Dataset`, read in batches from its memory map."""

    dataset: Dataset
    label: str
    batch_rows: int = 1000
    typed: bool = field(default=True, init=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Stream (row number from 1, column name -> value)."""
        names = [name for name in self.dataset.column_names if name in COLUMNS]
        if not names:
            return
        number = 0
        for batch in self.dataset.select_columns(names).with_format(None).iter(batch_size=self.batch_rows):
            for values in zip(*(batch[name] for name in names), strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))

    def where(self, row: int) -> str:
        """`data set, row n`."""
        return f"{self.label}, row {row}"

    @property
    def judges(self) -> bool:
        """Whether the columns are those of judgments."""
        names = set(self.dataset.column_names)
        return not (names.isdisjoint(JUDGED_QUERIES) or names.isdisjoint(JUDGED_DOCUMENTS))


def hub_source(address: str) -> Source:
    """`hf:NAME` or `hf:NAME/CONFIG`; NAME is `owner/data set` on the hub or a local folder.

    The layout is that of BEIR on the hub: configurations `corpus`, `queries`, and judgments in `qrels`, `NAME-qrels`,
    `default`, or a data set of its own called `NAME-qrels`. With CONFIG the names are `CONFIG-corpus` and so on, or
    CONFIG is itself the corpus. A data set with none of these is a corpus without queries.
    """
    path, config = _split_address(address)
    folder = Path(path).expanduser()
    if folder.is_dir():
        path = str(folder)
        if is_saved(folder):
            return saved_source(folder, address)
    configs = _configs(path, address) or []
    prefix = f"{config}-" if config else ""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    if f"{prefix}corpus" not in configs:
        if config and config not in configs:
            raise InputError(
                f"there is no configuration {config}", where=address, fix=f"choose one of {', '.join(configs)}"
            )
        return Source(name, address, [the_one(_load(path, config, address), "corpus", address)])
    queries = []
    if f"{prefix}queries" in configs:
        queries = [the_one(_load(path, f"{prefix}queries", address), "queries", address)]
    return Source(
        f"{name}-{config}" if config else name,
        address,
        [the_one(_load(path, f"{prefix}corpus", address), "corpus", address)],
        queries,
        _judgments(path, name, prefix, configs, address),
    )


def is_saved(folder: Path) -> bool:
    """Whether Hugging Face's `save_to_disk` made this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_source(folder: Path, address: str) -> Source:
    """A folder made by `save_to_disk`: `corpus`, `queries`, and splits of judgments, under `NAME` or `qrels-NAME`."""
    tables = saved_tables(folder)
    name = folder.resolve().name
    if "corpus" not in tables:
        return Source(name, address, [the_one(tables, "corpus", address)])
    judgments: dict[str, Table] = {}
    unread = []
    for key, table in tables.items():
        if key in ("corpus", "queries"):
            continue
        if table.judges:
            judgments["test" if key == "qrels" else key.removeprefix("qrels-").removeprefix("qrels_")] = table
        else:
            unread.append(key)
    queries = [tables["queries"]] if "queries" in tables else []
    return Source(name, address, [tables["corpus"]], queries, judgments, unread)


def saved_tables(folder: Path) -> dict[str, HubTable]:
    """The tables in a folder made by `save_to_disk`, by split; a single one is called after the folder."""
    datasets = _library()
    try:
        return _tables(datasets.load_from_disk(str(folder)), str(folder), folder.name)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"broken data set: {error}", where=str(folder), fix="save it again") from None


def the_one(tables: Mapping[str, HubTable], name: str, address: str) -> HubTable:
    """The table called `name`, else the only one, else `train`."""
    if name in tables:
        return tables[name]
    if len(tables) == 1:
        return next(iter(tables.values()))
    if "train" in tables:
        return tables["train"]
    raise InputError(
        f"which of the splits {', '.join(tables)} is the {name}?", where=address, fix=f"name the split `{name}`"
    )


def _split_address(address: str) -> tuple[str, str | None]:
    path = address.removeprefix(HUB)
    if not path.strip("/"):
        raise InputError(
            "the name of the data set is missing", where=address, fix=f"write {HUB}NAME, such as hf:BeIR/scifact"
        )
    parent, _, last = path.rstrip("/").rpartition("/")
    if Path(path).expanduser().is_dir():
        return path, None
    if parent and (parent.count("/") == 1 or Path(parent).expanduser().is_dir()):
        return parent, last
    return path, None


def _judgments(path: str, name: str, prefix: str, configs: list[str], address: str) -> dict[str, HubTable]:
    for config in (f"{prefix}qrels", f"{name}-qrels", "default"):
        if config in configs:
            tables = {split: table for split, table in _load(path, config, address).items() if table.judges}
            if tables:
                return tables
    apart = f"{path}-qrels"
    if Path(path).is_dir() and not Path(apart).is_dir():
        return {}
    if _configs(apart, address, optional=True) is None:
        return {}
    return _load(apart, None, address)


def _configs(path: str, address: str, *, optional: bool = False) -> list[str] | None:
    """Names of a data set's configurations; None where there is no such data set and it is `optional`."""
    datasets = _library()
    try:
        return list(datasets.get_dataset_config_names(path))
    except datasets.exceptions.DatasetNotFoundError as error:
        if optional:
            return None
        raise _failed(error, address) from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _failed(error, address) from None


def _load(path: str, config: str | None, address: str) -> dict[str, HubTable]:
    datasets = _library()
    try:
        loaded = datasets.load_dataset(path, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _failed(error, address) from None
    label = f"{HUB}{path}/{config}" if config else f"{HUB}{path}"
    return _tables(loaded, label, config or "train")


def _tables(loaded: Any, label: str, name: str) -> dict[str, HubTable]:
    if isinstance(loaded, _library().Dataset):
        return {name: HubTable(loaded, label)}
    return {split: HubTable(dataset, f"{label} {split}") for split, dataset in loaded.items()}


def _failed(error: Exception, address: str) -> InputError:
    return InputError(
        f"the data set cannot be loaded: {type(error).__name__}: {error}",
        where=address,
        fix="check the name and the connection, and log in (`hf auth login`) where it is private",
    )


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    return datasets
