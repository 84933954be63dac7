"""Writing towers as sentence-transformers folders, and counting what is in them. Safetensors and JSON only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..atomic import replacing_folder
from ..errors import InputError
from ..version import __version__

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

NOTE = "potstill.json"
_ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


class Stored(NamedTuple):
    """Numbers stored in a model folder, buffers included, and the bytes they take."""

    parameters: int
    bytes: int


def stored(path: Path) -> Stored:
    """Count every number in the safetensors files of a folder, reading their headers alone.

    Raises:
        InputError: the folder holds no safetensors file.
    """
    files = sorted(path.rglob("*.safetensors"))
    if not files:
        raise InputError("the folder holds no safetensors file", where=str(path), fix="save the model as safetensors")
    numbers = size = 0
    for file in files:
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                count = math.prod(entry["shape"])
                numbers += count
                size += count * _ITEM_BYTES.get(entry["dtype"], 1)
    return Stored(numbers, size)


def save_model(
    model: SentenceTransformer,
    path: Path,
    note: Mapping[str, Any],
    *,
    kind: str,
    prompts: Mapping[str, str],
    normalize: bool,
) -> None:
    """Write a model folder whole or not at all, with `potstill.json` and a short README.

    A prompt becomes the model's default, so that `SentenceTransformer(path).encode(texts)` needs no argument.
    """
    roles = {role: text for role, text in prompts.items() if text}
    model.prompts = {"query": "", "document": "", **roles}
    model.default_prompt_name = "query" if "query" in roles else next(iter(roles), None)
    model.similarity_fn_name = "cosine" if normalize or note.get("metric") == "cosine" else "dot"
    with replacing_folder(path) as folder:
        model.save(str(folder), create_model_card=False, safe_serialization=True)
        numbers = stored(folder)
        whole = {
            **note,
            "kind": kind,
            "dimensions": model.get_embedding_dimension(),
            "parameters": numbers.parameters,
            "bytes": numbers.bytes,
            "version": __version__,
        }
        _write_note(folder, whole)
        (folder / "README.md").write_text(readme(whole), encoding="utf-8")


def save_packed(queries: Path, documents: SentenceTransformer | str | Path, out: Path) -> None:
    """Put a student's query tower and a document model into one folder with two routes; the default is the query's.

    Plain `SentenceTransformer(out)` then has `encode_query` (and `encode`) from the student and `encode_document` from
    the document model.

    Args:
        queries: folder of the student's query tower.
        documents: the model that encodes documents: an open one, a folder or an id.
        out: folder to write.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    student = SentenceTransformer(str(queries), device="cpu")
    teacher = documents
    if not isinstance(teacher, SentenceTransformer):
        teacher = SentenceTransformer(str(teacher), device="cpu")
    router = Router.for_query_document(
        query_modules=list(student.children()), document_modules=list(teacher.children()), default_route="query"
    )
    prompts = {
        "query": student.prompts.get(student.default_prompt_name or "query") or "",
        "document": teacher.prompts.get("document") or teacher.prompts.get(teacher.default_prompt_name or "") or "",
    }
    model = SentenceTransformer(
        modules=[router],
        device="cpu",
        prompts=prompts,
        default_prompt_name="query" if prompts["query"] else None,
        similarity_fn_name=student.similarity_fn_name,
    )
    note = read_note(queries) or {}
    with replacing_folder(out) as folder:
        model.save(str(folder), create_model_card=False, safe_serialization=True)
        numbers = stored(folder)
        _write_note(folder, {**note, "packed": True, "parameters": numbers.parameters, "bytes": numbers.bytes})
        (folder / "README.md").write_text(readme(note), encoding="utf-8")


def read_note(path: Path) -> dict[str, Any] | None:
    """What `potstill.json` of a model folder says, or None where there is none.

    Raises:
        InputError: the file is not a JSON object.
    """
    file = path / NOTE
    if not file.is_file():
        return None
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the note: {error}", where=str(file), fix="save the student again") from None
    if not isinstance(note, dict):
        raise InputError("the note is not a JSON object", where=str(file), fix="save the student again")
    return note


def readme(note: Mapping[str, Any]) -> str:
    """A few lines for people: what this folder is, and which teacher and index it serves."""
    teacher = note.get("teacher") or "its teacher"
    if isinstance(teacher, Mapping):
        teacher = next((str(teacher[key]) for key in ("model", "query_model", "url", "index") if teacher.get(key)), "?")
    index = note.get("index") or note.get("collection")
    lines = [
        "# Query encoder distilled with Potstill",
        "",
        f"- Teacher: {teacher}",
        *([f"- Made for the index of: {index}"] if index else []),
        f"- Kind: {note.get('kind')}, {note.get('dimensions')} dimensions, {note.get('parameters')} stored numbers",
        f"- Towers: {note.get('towers', 'asymmetric')}",
        "",
        "Its vectors live in the teacher's space: search an index of the teacher's document vectors with them.",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'queries = SentenceTransformer("PATH").encode(["a query"])',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _write_note(folder: Path, note: Mapping[str, Any]) -> None:
    text = json.dumps(dict(note), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / NOTE).write_text(text + "\n", encoding="utf-8")
