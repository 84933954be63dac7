"""Folders and single files: BEIR's layout, the same in other forms, and saved Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .hub import is_saved, saved_source, saved_tables, the_one
from .records import Table
from .source import Source
from .tables import JUDGMENT_FORMS, TEXT_FORMS, open_table, stem


def file_source(path: Path, address: str) -> Source:
    """One file is a corpus without queries."""
    name = stem(path, TEXT_FORMS)
    if name is None:
        raise InputError(
            "this is not a file that can hold documents",
            where=address,
            fix=f"give a folder, or a file that ends in {_or(TEXT_FORMS)}",
        )
    return Source(
        name=path.resolve().parent.name if name == "corpus" else name, address=address, corpus=[open_table(path)]
    )


def folder_source(folder: Path, address: str) -> Source:
    """A folder with `corpus`, and, where there are some, `queries` and `qrels`."""
    if is_saved(folder):
        return saved_source(folder, address)
    corpus = _tables(folder, "corpus")
    if not corpus:
        found = ", ".join(sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))[:8]) or "nothing"
        raise InputError(
            f"the folder holds no corpus (there is {found})",
            where=str(folder),
            fix=f"name the documents' file `corpus` with the ending {_or(TEXT_FORMS)}, or give the file itself",
        )
    judgments, unread = _judgments(folder)
    return Source(folder.resolve().name, address, corpus, _tables(folder, "queries"), judgments, unread)


def _tables(folder: Path, name: str) -> list[Table]:
    """The one file `name` in any form, or the shards in the folder `name`, in the order of their names."""
    files = [path for form in TEXT_FORMS if (path := folder / f"{name}{form}").is_file()]
    shards = folder / name
    if len(files) + shards.is_dir() > 1:
        names = [path.name for path in files] + [f"{name}/"] * shards.is_dir()
        raise InputError(
            f"there are several: {', '.join(names)}", where=str(folder), fix="keep one of them and move the others away"
        )
    if not shards.is_dir():
        return [open_table(path) for path in files]
    if is_saved(shards):
        return [the_one(saved_tables(shards), name, str(shards))]
    found = sorted(path for path in shards.iterdir() if stem(path, TEXT_FORMS))
    if not found:
        raise InputError(
            "the folder is empty", where=str(shards), fix=f"fill it with files that end in {_or(TEXT_FORMS)}"
        )
    return [open_table(path) for path in found]


def _judgments(folder: Path) -> tuple[dict[str, Table], list[str]]:
    for form in JUDGMENT_FORMS:
        if (stray := folder / f"qrels{form}").is_file():
            raise InputError(
                "judgments are kept by split, in a folder `qrels`",
                where=str(stray),
                fix=f"mkdir qrels && mv {stray.name} qrels/test{form}",
            )
    qrels = folder / "qrels"
    tables: dict[str, Table] = {}
    unread: list[str] = []
    if not qrels.is_dir():
        return tables, unread
    if is_saved(qrels):
        return dict(saved_tables(qrels)), unread
    for path in sorted(qrels.iterdir()):
        split = stem(path, JUDGMENT_FORMS)
        if path.name.startswith("."):
            continue
        if split is None or not path.is_file():
            unread.append(path.name)
        elif split in tables:
            raise InputError(
                f"there are two files for the split {split}", where=str(path), fix="keep one of them, or rename one"
            )
        else:
            tables[split] = open_table(path, judgments=True)
    return tables, unread


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
