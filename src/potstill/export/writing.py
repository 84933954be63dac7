"""An export's folder: graph, tokenizer, note, README; written whole or not at all, and only if it says the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing_folder
from ..errors import InputError, PotstillError
from ..students.onnx import MODEL, TOKENIZER, OnnxRanker
from ..students.saving import NOTE
from ..version import __version__
from .precision import Precision
from .source import Source

LEAST = {"fp32": 0.9999, "fp16": 0.999}  # cosine that every text must keep; int8 is told, not judged
_DOCUMENTS = 100  # the last texts are documents: so many are paired with each of a few queries
MOST = {"fp32": 1e-3, "fp16": 5e-2}  # difference of a ranker's logits


@dataclass(frozen=True)
class Checked:
    """How far an export is from the original, over some texts.

    Attributes:
        texts: how many were compared.
        cosine_min: smallest cosine between the export's vector and the original's; None for a ranker.
        score_difference: largest difference of a score, of a ranker; else None.
    """

    texts: int
    cosine_min: float | None = None
    score_difference: float | None = None

    def __str__(self) -> str:
        if self.cosine_min is not None:
            return f"least cosine with the original over {self.texts:,} texts: {self.cosine_min:.7f}"
        return f"largest difference of a score over {self.texts:,} pairs: {self.score_difference:.2e}"


def write_onnx(
    source: Source, graph: Any, out: Path, *, precision: Precision, dimensions: int, texts: Sequence[str]
) -> Checked:
    """Write `model.onnx`, `tokenizer.json`, `potstill.json` and a README, and compare with the original.

    Args:
        source: what is exported.
        graph: its ONNX model, in that precision.
        out: the folder; an older export there is replaced.
        precision: of the weights.
        dimensions: width of the vectors, at most the original's.
        texts: what is compared.

    Raises:
        InputError: the folder holds something else, or the student's index head is missing.
        PotstillError: the export says something else than the original; nothing is written.
    """
    refuse_other(out)
    with replacing_folder(out) as folder:
        (folder / MODEL).write_bytes(graph.SerializeToString())
        _write_tokenizer(source, folder)
        note = _note(source, precision, dimensions, (folder / MODEL).stat().st_size)
        (folder / NOTE).write_text(json.dumps(note, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_readme(source, note), encoding="utf-8")
        if source.index_head is not None:
            if not source.index_head.is_file():
                raise InputError(
                    "this student searches documents through a head, and the head is not there",
                    where=str(source.index_head),
                    fix="copy the whole folder of the student",
                )
            target = folder / str(source.note["index_head"])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.index_head, target)
        return checked(source, folder, precision, dimensions, texts)


def refuse_other(out: Path) -> None:
    """Refuse to replace what is no export.

    Raises:
        InputError: the path is a file, or a folder that holds something else.
    """
    if not out.exists():
        return
    export = out.is_dir() and (not any(out.iterdir()) or "export" in _said(out))
    if not export:
        raise InputError("this is no export, and would be overwritten", where=str(out), fix="give another --out")


def _said(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def checked(source: Source, folder: Path, precision: str, dimensions: int, texts: Sequence[str]) -> Checked:
    """Compare what a folder gives with what the original gives.

    Raises:
        PotstillError: they differ by more than the precision explains.
    """
    asked = list(texts)
    if source.pairs:
        ranker = OnnxRanker(folder)
        some, asked = asked[:4], asked[-_DOCUMENTS:]
        apart = max(float(np.abs(ranker.scores(q, asked) - source.reference(q, asked)).max()) for q in some)
        found = Checked(len(some) * len(asked), score_difference=apart)
        wrong = not apart <= MOST.get(precision, np.inf)
    else:
        least = min(_least(source, folder, role, dimensions, asked) for role in source.roles)
        found = Checked(len(asked), cosine_min=least)
        wrong = not least >= LEAST.get(precision, -1.0)
    if wrong:
        raise PotstillError(
            f"the export differs from the original: {found}",
            where=source.name,
            fix="nothing was written; this model cannot be exported faithfully, which is worth a report",
        )
    return found


def _least(source: Source, folder: Path, role: Any, dimensions: int, texts: list[str]) -> float:
    from ..students import load_encoder

    mine = load_encoder(folder, role).encode(texts)
    return least_cosine(mine, source.reference(role, texts)[:, :dimensions])


def least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The smallest cosine of rows `(n, d)`; two zero vectors are alike, a zero and another one are not (0)."""
    lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    products = np.einsum("nd,nd->n", first.astype(np.float64), second.astype(np.float64))
    both = lengths[0] * lengths[1]
    cosines = np.divide(products, both, out=np.zeros_like(products), where=both > 0)
    cosines[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
    return float(np.min(np.minimum(cosines, 1.0), initial=1.0))


def _write_tokenizer(source: Source, folder: Path) -> None:
    number, token = source.pad
    source.tokenizer.enable_padding(direction="right", pad_id=number, pad_token=token)
    source.tokenizer.save(str(folder / TOKENIZER))
    source.tokenizer.no_padding()


def _note(source: Source, precision: str, dimensions: int, size: int) -> dict[str, Any]:
    said = {
        "file": MODEL,
        "output": "score" if source.pairs else "vector",
        "dimensions": 1 if source.pairs else dimensions,
        "prompts": source.prompts,
        "max_length": source.max_length,
        "normalize": source.normalize,
        "precision": precision,
        "special_tokens": source.special,
    }
    same = {"dimensions": said["dimensions"], "parameters": source.parameters, "bytes": size, "version": __version__}
    return {**source.note, **same, **source.cut(dimensions), "export": "onnx", "onnx": said}


def _readme(source: Source, note: dict[str, Any]) -> str:
    said = note["onnx"]
    told = f"float32 `(n, {said['dimensions']})`" if said["output"] == "vector" else "float32 `(n,)`"
    texts = '[("a query", "a document")]' if source.pairs else '["a query"]'
    if not source.pairs and said["prompts"]["query"]:
        texts = f'[{json.dumps(said["prompts"]["query"], ensure_ascii=False)} + "a query"]'
    return f"""# Student exported with Potstill

- `model.onnx`: `input_ids`, `attention_mask` (int64 `(n, t)`) -> `{said["output"]}` ({told})
- Weights: {said["precision"]}
- `tokenizer.json`: cuts at {said["max_length"] or "no"} tokens, pads on the right

```python
import numpy as np, onnxruntime, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("{TOKENIZER}")
session = onnxruntime.InferenceSession("{MODEL}")
rows = tokenizer.encode_batch({texts})
feed = {{
    "input_ids": np.array([row.ids for row in rows], dtype=np.int64),
    "attention_mask": np.array([row.attention_mask for row in rows], dtype=np.int64),
}}
{said["output"]}s = session.run(["{said["output"]}"], feed)[0]
```
"""
