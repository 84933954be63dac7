"""A small collection on disk that tests may break as they like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

DOCUMENTS = [
    {"_id": "d1", "title": "Stills", "text": "A pot still makes whisky in batches."},
    {"_id": "d2", "title": "", "text": "A column still runs without a pause."},
    {"_id": "d3", "title": "Casks", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "batch distillation"}, {"_id": "q2", "text": "ageing in oak"}]
JUDGMENTS = {"test": [("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d3", 1)]}


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_qrels(path: Path, rows: Iterable[tuple[str, str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{query}\t{document}\t{grade}\n" for query, document, grade in rows]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A folder with three documents, two queries and a test split, whole and right."""
    folder = tmp_path / "spirits"
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "queries.jsonl", QUERIES)
    for split, rows in JUDGMENTS.items():
        write_qrels(folder / "qrels" / f"{split}.tsv", rows)
    return folder
