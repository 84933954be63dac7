"""Encoding with an exported student: onnxruntime, tokenizers and numpy; torch is never imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import Role
from .saving import read_note
from .tokens import check_texts, encode_texts

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
_KEYS = ("output", "dimensions", "prompts", "precision")


class OnnxEncoder:
    """One graph from token ids to vectors, in one role.

    Args:
        folder: what `potstill export` wrote.
        role: decides the prompt.
        threads: of onnxruntime for one call; 0 leaves the number to onnxruntime.
        batch_size: texts a call; texts of like length share one.

    Raises:
        InputError: the folder holds no exported student, or one that scores pairs.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, role: Role = "query", *, threads: int = 1, batch_size: int = 32) -> None:
        opened = _Opened(Path(folder), threads)
        if opened.output != "vector":
            raise InputError(
                "this export scores pairs of texts and gives no vectors",
                where=str(folder),
                fix="open it with potstill.students.onnx.OnnxRanker",
            )
        self.tokenizer, self.session = opened.tokenizer, opened.session
        self.special, self.batch_size = opened.special, batch_size
        self.prompt = str(opened.said["prompts"].get(role) or "")
        self.dimensions = int(opened.said["dimensions"])
        self.parameters, self.bytes = opened.parameters, opened.bytes

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 `(n, dimensions)`.

        Raises:
            InputError: a single string was given instead of a list.
        """
        check_texts(texts)
        if len(texts) == 1:
            ids = encode_texts(self.tokenizer, [self.prompt + texts[0]], special=self.special)[0].ids
            return self._run([ids])
        encodings = encode_texts(self.tokenizer, [self.prompt + text for text in texts], special=self.special)
        rows = [encoding.ids for encoding in encodings]
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for chosen in _alike(rows, self.batch_size):
            out[chosen] = self._run([rows[row] for row in chosen])
        return out

    def _run(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        vectors: np.ndarray = self.session.run(None, _feed(rows))[0]
        return vectors


class OnnxRanker:
    """One graph from the token ids of pairs to scores. Arguments and errors are those of `OnnxEncoder`."""

    def __init__(self, folder: str | Path, *, threads: int = 1, batch_size: int = 32) -> None:
        opened = _Opened(Path(folder), threads)
        if opened.output != "score":
            raise InputError(
                "this export gives vectors and scores no pairs", where=str(folder), fix="open it with potstill.load"
            )
        self.tokenizer, self.session, self.batch_size = opened.tokenizer, opened.session, batch_size
        self.parameters, self.bytes = opened.parameters, opened.bytes
        prompts = opened.said["prompts"]
        self.prompts = (str(prompts.get("query") or ""), str(prompts.get("document") or ""))

    def scores(self, query: str, documents: Sequence[str]) -> np.ndarray:
        """Score of each document for the query, higher is better, float32 `(n,)`.

        Raises:
            InputError: a single string was given instead of a list of documents.
        """
        check_texts(documents)
        before, beside = self.prompts
        pairs: Any = [(before + query, beside + document) for document in documents]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(pairs)]
        out = np.zeros(len(rows), dtype=np.float32)
        for chosen in _alike(rows, self.batch_size):
            out[chosen] = self.session.run(None, _feed([rows[row] for row in chosen]))[0]
        return out


class _Opened:
    """What both need of the folder."""

    def __init__(self, folder: Path, threads: int) -> None:
        note = read_note(folder) or {}
        said = note.get("onnx")
        if not isinstance(said, Mapping) or any(key not in said for key in _KEYS):
            raise InputError(
                "the folder holds no exported student",
                where=str(folder),
                fix="write one: potstill export RUN --format onnx",
            )
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra("onnxruntime", "onnx") from None
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        file = folder / str(said.get("file", MODEL))
        try:
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # both raise bare exceptions of their own
            told = str(error).splitlines()[0][:200]
            raise InputError(f"cannot open the export: {told}", where=str(folder), fix="export it again") from None
        self.tokenizer.no_padding()  # batches are padded here, to their own longest text
        self.said, self.output = said, str(said["output"])
        self.special = bool(said.get("special_tokens", True))
        self.parameters, self.bytes = int(note.get("parameters") or 0), file.stat().st_size


def _alike(rows: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Places of rows, in portions of like length."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _feed(rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Ids and mask, padded on the right with 0: where the mask is 0 no graph looks at the id."""
    if len(rows) == 1 and rows[0]:  # what a user waits for
        one = np.array(rows, dtype=np.int64)
        return {"input_ids": one, "attention_mask": np.ones_like(one)}
    width = max((len(row) for row in rows), default=0) or 1
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
