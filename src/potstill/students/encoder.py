"""Encoding with a finished student. A static one needs numpy, tokenizers and safetensors; torch is never imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..recipe import Role
from .saving import read_note, stored
from .tokens import check_texts as check_texts
from .tokens import encode_texts

_TEXTS_PER_CALL = 1024
# Names of tensors in the file of a static student whose table is int8 rows with a scale each.
INT8, SCALES = "embedding.int8", "embedding.scale"


class Encoder(Protocol):
    """Texts to vectors in one role.

    Attributes:
        dimensions: width of the vectors.
        parameters: numbers stored, buffers included.
        bytes: what they take.
    """

    dimensions: int
    parameters: int
    bytes: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 `(n, dimensions)`."""


class StaticEncoder:
    """Lookup, mean, optional head, optional unit length; the same vectors as sentence-transformers gives.

    A text with no tokens has the zero vector.
    """

    def __init__(
        self, tokenizer: Any, table: np.ndarray, head: np.ndarray | None, normalize: bool, prompt: str
    ) -> None:
        self.tokenizer = tokenizer
        self.table = np.ascontiguousarray(table, dtype=np.float32)
        self.head = None if head is None else np.ascontiguousarray(head.T, dtype=np.float32)  # (r, d)
        self.normalize, self.prompt = normalize, prompt
        self.dimensions = int(self.table.shape[1] if self.head is None else self.head.shape[1])
        self.parameters = self.bytes = 0

    @classmethod
    def open(cls, path: Path, role: Role = "query") -> StaticEncoder | None:
        """Read a model folder; None when it is anything but StaticEmbedding (+ linear Dense) (+ Normalize)."""
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        modules = _modules(path)
        kinds = [module["type"].rpartition(".")[2] for module in modules]
        if kinds not in (
            ["StaticEmbedding"],
            ["StaticEmbedding", "Normalize"],
            ["StaticEmbedding", "Dense"],
            ["StaticEmbedding", "Dense", "Normalize"],
        ):
            return None
        folder = path / modules[0]["path"]
        if not (folder / "model.safetensors").is_file():
            return None
        stored_table = load_file(folder / "model.safetensors")
        small = INT8 in stored_table and SCALES in stored_table
        table = stored_table.get(INT8 if small else "embedding.weight")
        if table is None:
            return None
        head = None
        if "Dense" in kinds:
            dense = path / modules[1]["path"]
            config = json.loads((dense / "config.json").read_text(encoding="utf-8"))
            plain = not config.get("bias", True) and not config.get("use_residual", False)
            if not plain or not config.get("activation_function", "").endswith("Identity"):
                return None
            head = load_file(dense / "model.safetensors")["linear.weight"]
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        settings = (head, kinds[-1] == "Normalize", _prompt(path, role))
        encoder: StaticEncoder = (
            cls(tokenizer, table, *settings)
            if not small
            else (Int8StaticEncoder(tokenizer, table, stored_table[SCALES], *settings))
        )
        encoder.parameters, encoder.bytes = stored(path)
        return encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 `(n, dimensions)`.

        Raises:
            InputError: a single string was given instead of a list.
        """
        if len(texts) == 1 and not isinstance(texts, str):
            return self.encode_counted(texts[0])[0]
        check_texts(texts)
        sums = np.zeros((len(texts), self.table.shape[1]), dtype=np.float32)
        prompt = self.prompt
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = texts[start : start + _TEXTS_PER_CALL]
            if prompt:
                chunk = [prompt + text for text in chunk]
            encodings = encode_texts(self.tokenizer, list(chunk))
            # One gather and sum a text: a text's rows stay in the cache, which beats one big segmented sum.
            for row, encoding in enumerate(encodings, start):
                ids = encoding.ids
                if ids:
                    self._sum(ids, sums[row])
                    if not self.normalize:
                        sums[row] /= len(ids)
        out: np.ndarray = sums if self.head is None else sums @ self.head
        if self.normalize:
            lengths = np.sqrt(np.einsum("nd,nd->n", out, out))[:, None]
            np.divide(out, lengths, out=out, where=lengths > 0)
        return out

    def encode_counted(self, text: str) -> tuple[np.ndarray, int]:
        """The vector of one text, float32 `(1, dimensions)`, and how many tokens it has.

        Without anything that costs a microsecond: this is what a user waits for.
        """
        if self.prompt:
            text = self.prompt + text
        # A batch of one: unlike `Tokenizer.encode` it works out no character offsets.
        ids = encode_texts(self.tokenizer, [text])[0].ids
        if not ids:
            return np.zeros((1, self.dimensions), dtype=np.float32), 0
        vector = self._sum(ids)
        if self.head is not None:
            vector = np.dot(vector, self.head)
        if self.normalize:
            square = float(vector.dot(vector))
            if square > 0.0:
                vector *= square**-0.5
        else:
            vector /= len(ids)
        return vector[None, :], len(ids)

    def _sum(self, ids: list[int], out: np.ndarray | None = None) -> np.ndarray:
        """The sum of the rows of one text, float32 `(r,)`."""
        total: np.ndarray = np.add.reduce(self.table.take(ids, 0), 0, out=out)
        return total


class Int8StaticEncoder(StaticEncoder):
    """The same with a table of int8 rows and one float32 scale a row, `(V,)`: a quarter of the size."""

    def __init__(
        self,
        tokenizer: Any,
        table: np.ndarray,
        scales: np.ndarray,
        head: np.ndarray | None,
        normalize: bool,
        prompt: str,
    ) -> None:
        super().__init__(tokenizer, np.zeros((0, table.shape[1]), dtype=np.float32), head, normalize, prompt)
        self.table = np.ascontiguousarray(table, dtype=np.int8)
        self.scales = np.ascontiguousarray(scales, dtype=np.float32).reshape(-1)

    def _sum(self, ids: list[int], out: np.ndarray | None = None) -> np.ndarray:
        """Scales times rows: a product, which is faster than to scale each row and to add."""
        total: np.ndarray = np.dot(self.scales.take(ids), self.table.take(ids, 0).astype(np.float32), out=out)
        return total


class SentenceEncoder:
    """Any sentence-transformers model, in one role.

    Args:
        model: a folder, an id or an open model.
        role: decides the prompt, and the route of a model that has two.
        batch_size: texts a batch.
    """

    def __init__(self, model: Any, role: Role = "query", batch_size: int = 64) -> None:
        if isinstance(model, str | Path):
            from ..teachers.sentence_encoder import load_sentence_encoder

            model = load_sentence_encoder(model, device="cpu")
        self.model, self.role, self.batch_size = model, role, batch_size
        self.dimensions = int(model.get_embedding_dimension())
        tensors = list(model.state_dict().values())
        self.parameters = sum(tensor.numel() for tensor in tensors)
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 `(n, dimensions)`."""
        check_texts(texts)
        if not len(texts):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        call = self.model.encode_query if self.role == "query" else self.model.encode_document
        vectors = call(list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32)


def load_encoder(path: str | Path, role: Role = "query") -> Encoder:
    """Open one model folder (or id) for inference: with numpy alone where it is static, else in sentence-transformers.

    What `potstill export` wrote is opened with onnxruntime.

    Raises:
        InputError: there is no such model; or it needs sentence-transformers, which is not installed.
    """
    folder = Path(path)
    if (folder / "model.onnx").is_file() and "onnx" in (read_note(folder) or {}):
        from .onnx import OnnxEncoder

        return OnnxEncoder(folder, role)
    if (folder / "modules.json").is_file():
        static = StaticEncoder.open(folder, role)
        if static is not None:
            return static
    encoder = SentenceEncoder(path, role)
    if folder.is_dir() and any(folder.rglob("*.safetensors")):
        encoder.parameters, encoder.bytes = stored(folder)
    return encoder


def _modules(path: Path) -> list[dict[str, str]]:
    try:
        modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
        return [{"type": str(module["type"]), "path": str(module["path"])} for module in modules]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read modules.json: {error}", where=str(path), fix="save the model again") from None


def _prompt(path: Path, role: Role) -> str:
    """What `encode_query` or `encode_document` of sentence-transformers puts before a text."""
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return ""
    config = json.loads(file.read_text(encoding="utf-8"))
    prompts = config.get("prompts") or {}
    return str(prompts.get(role if role in prompts else config.get("default_prompt_name")) or "")
