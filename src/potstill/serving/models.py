"""What is served: a student's towers, or a ranker, with the tokens that each text costs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import Role
from ..students.encoder import StaticEncoder
from ..students.loading import STUDENT, Student, load
from ..students.saving import read_note
from ..students.tokens import encode_texts


class Towers:
    """A student that gives vectors.

    Args:
        student: the student.
        name: what clients call it.
        documents: open the document tower too; of an asymmetric student that is its teacher.
    """

    def __init__(self, student: Student, name: str, documents: bool = False) -> None:
        self.student, self.name = student, name
        asymmetric = student.note.get("towers") == "asymmetric"
        self.encoders: dict[Role, Any] = {"query": student.queries}
        if documents or not asymmetric:
            self.encoders["document"] = student.documents
        # Texts are counted while the model's thread tokenises others: one tokenizer would be borrowed twice and fail.
        self._counters = {
            role: copy.deepcopy(getattr(getattr(one, "model", None), "tokenizer", None))
            for role, one in self.encoders.items()
        }
        self.dimensions = student.dimensions
        self.metric = str(student.note.get("metric") or "cosine")

    def encoder(self, role: Role) -> Any:
        """The tower of a role.

        Raises:
            InputError: documents are the teacher's to encode, and it was not opened.
        """
        if role not in self.encoders:
            fix = "start the service with --documents, or take the document vectors of the index"
            raise InputError("this student encodes queries only; its documents are the teacher's", fix=fix)
        return self.encoders[role]

    def instant(self, role: Role) -> bool:
        """Whether encoding takes microseconds, so that a short request needs no thread."""
        return isinstance(self.encoders.get(role), StaticEncoder)

    def limit(self, role: Role) -> int | None:
        """Tokens at which a text is cut; None: never."""
        encoder = self.encoder(role)
        limit = getattr(getattr(encoder, "model", None), "max_seq_length", None) or getattr(encoder, "max_length", None)
        return int(limit) if isinstance(limit, int) else None

    def costs(self, role: Role, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, before anything is cut."""
        encoder = self.encoder(role)
        tokenizer = getattr(encoder, "tokenizer", None) or self._counters[role]
        if hasattr(tokenizer, "encode_batch_fast"):
            prompt = getattr(encoder, "prompt", "")
            return [len(found.ids) for found in encode_texts(tokenizer, [prompt + text for text in texts])]
        if callable(tokenizer):
            found = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
            return [len(ids) for ids in found]
        if hasattr(encoder, "teacher"):
            return [int(length) for length in encoder.teacher.lengths(list(texts), role)]
        return [1 + len(text) // 4 for text in texts]

    def encode(self, role: Role, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 `(n, d)`."""
        vectors: np.ndarray = self.encoder(role).encode(texts)
        return vectors


class Ranker:
    """A student that reads a query and a document together: `(query, text)` pairs to scores."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise MissingExtra(error.name or "sentence-transformers", "train") from None
        import torch

        self.name, self.metric = name, "score"
        self._identity = torch.nn.Identity()
        self._model = CrossEncoder(str(path), device="cpu")
        self._counter = copy.deepcopy(self._model.tokenizer)  # the model's own is in use in its thread

    def costs(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens of each pair, before anything is cut."""
        queries, texts = zip(*pairs, strict=True)
        found = self._counter(list(queries), list(texts), truncation=False, padding=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]

    def scores(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Raw scores (logits), float32 `(n,)`."""
        given = [list(pair) for pair in pairs]
        found = self._model.predict(
            given, activation_fn=self._identity, batch_size=len(given) or 1, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32).reshape(len(given))


def open_served(path: str | Path, name: str | None = None, *, documents: bool = False) -> Towers | Ranker:
    """Open what a run, a folder or an id holds.

    Args:
        path: a run, a student's folder, or any model's folder or id.
        name: what clients call it; None: the folder's name.
        documents: open the document tower of an asymmetric student too.

    Raises:
        InputError: there is no student or model there.
    """
    folder = Path(path)
    called = name or folder.resolve().name
    inside = folder / STUDENT if (folder / STUDENT).is_dir() else folder
    if inside.is_dir() and (read_note(inside) or {}).get("reads") == "pairs":
        return Ranker(inside, called)
    return Towers(load(path), called, documents)
