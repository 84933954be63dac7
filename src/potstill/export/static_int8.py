"""A static student whose table is int8 rows with a scale each, for numpy alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..atomic import replacing_folder
from ..errors import InputError
from ..progress import say
from ..students.encoder import INT8, SCALES
from ..students.saving import NOTE, stored
from .exporting import Exported, checked_width
from .samples import TEXTS
from .source import Source, open_sources
from .static_graph import int8_rows
from .writing import checked, refuse_other

MODULE = "0_StaticEmbedding"
WEIGHTS = "model.safetensors"


def export_static(
    student: str | Path, out: Path, *, dimensions: int | None = None, texts: Sequence[str] = TEXTS
) -> Exported:
    """Write a static student with an int8 table; `potstill.load` opens it with numpy and tokenizers alone.

    Args:
        student: a student's folder.
        out: the folder to write.
        dimensions: cut vectors there, and give them unit length again where the student does.
        texts: what is compared with the original.

    Raises:
        InputError: the student is not static.
        PotstillError: the export says something else than the original.
    """
    refuse_other(out)
    queries, documents = open_sources(student)
    width = checked_width(queries, dimensions)
    if queries.static is None or documents is not None:
        what = "has two towers" if queries.static is not None else "is not static"
        raise InputError(
            f"this student {what}: there is no table to write for numpy", where=str(student), fix="use --format onnx"
        )
    with replacing_folder(out) as folder:
        _write(queries, folder, width)
        found = checked(queries, folder, "int8", width, texts)
    file = out / MODULE / WEIGHTS
    say(f"{out}: {file.stat().st_size / 1e6:,.1f} MB; {found}")
    return Exported("static", "int8", out, file, file.stat().st_size, found)


def _write(source: Source, folder: Path, width: int) -> None:
    from safetensors.numpy import save_file

    static = source.static
    assert static is not None
    table, head = static.table, static.head
    if head is None:
        table = table[:, :width]
    modules = [
        "StaticEmbedding",
        *(["Dense"] if head is not None else []),
        *(["Normalize"] if static.normalize else []),
    ]
    places = [f"{number}_{kind}" for number, kind in enumerate(modules)]
    for place in places:
        (folder / place).mkdir()
    rows, scales = int8_rows(table)
    save_file({INT8: rows, SCALES: scales}, folder / MODULE / WEIGHTS)
    source.tokenizer.save(str(folder / MODULE / "tokenizer.json"))
    if head is not None:
        save_file({"linear.weight": head[:, :width].T.copy()}, folder / places[1] / WEIGHTS)
        config: dict[str, object] = {"in_features": int(head.shape[0]), "out_features": width, "bias": False}
        config["activation_function"] = "torch.nn.modules.linear.Identity"
        _json(folder / places[1] / "config.json", config)
    listed = [
        {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for number, (place, kind) in enumerate(zip(places, modules, strict=True))
    ]
    _json(folder / "modules.json", listed)
    prompts = source.prompts | ({} if "document" in source.roles else {"document": ""})
    _json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    if source.index_head is not None:
        target = folder / str(source.note["index_head"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.index_head, target)
    numbers = stored(folder)
    same = {"dimensions": width, "parameters": numbers.parameters, "bytes": numbers.bytes}
    _json(folder / NOTE, {**source.note, **same, **source.cut(width), "export": "static", "precision": "int8"})
    (folder / "README.md").write_text(_README, encoding="utf-8")


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


_README = f"""# Static student exported with Potstill, in int8

`{MODULE}/{WEIGHTS}` holds int8 rows (`{INT8}`) and one float32 scale a row (`{SCALES}`). Potstill reads it with numpy
and tokenizers alone; sentence-transformers does not know this form.

```python
import potstill

queries = potstill.load("PATH").encode_queries(["a query"])
```
"""
