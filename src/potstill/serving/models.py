"""What is served: a student's towers, or a ranker, with the tokens that each text costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..recipe import Role, ScorerSpec
from ..signals import pair_text
from ..students.encoder import SentenceEncoder, StaticEncoder
from ..students.loading import STUDENT, Student, TeacherEncoder, load
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
        self._counters = {role: _counter(encoder, role) for role, encoder in self.encoders.items()}
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
        if isinstance(encoder, SentenceEncoder):
            from ..teachers.sentence_encoder import declared_length

            return declared_length(encoder.model, role)
        return None

    def costs(self, role: Role, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, before anything is cut."""
        encoder, counter = self.encoder(role), self._counters[role]
        if counter is not None:
            tokenizer, prompt, special = counter
            given = [prompt + text for text in texts]
            return [len(found.ids) for found in encode_texts(tokenizer, given, special=special)]
        if isinstance(encoder, TeacherEncoder):
            return [int(length) for length in encoder.teacher.lengths(list(texts), role)]
        return [1 + len(text) // 4 for text in texts]

    def encode(self, role: Role, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 `(n, d)`."""
        vectors: np.ndarray = self.encoder(role).encode(texts)
        return vectors


def _counter(encoder: Any, role: Role) -> tuple[Any, str, bool] | None:
    """A tokenizer to count a tower's tokens with, the prompt before every text, and whether special tokens count.

    Texts are counted while the model's own thread tokenises others, and a tokenizer whose cutting and padding are set
    anew for every batch cannot be shared: a sentence-transformers model is counted with a copy of its own.
    """
    if not isinstance(encoder, SentenceEncoder):
        tokenizer = getattr(encoder, "tokenizer", None)
        return None if tokenizer is None else (tokenizer, encoder.prompt, False)
    from ..teachers.sentence_encoder import adds_special_tokens, backend_tokenizer, declared_prompt

    copied = backend_tokenizer(encoder.model, role)
    if copied is None:
        return None
    return copied, declared_prompt(encoder.model, role)[0], adds_special_tokens(encoder.model, role)


class Ranker:
    """A student that reads a query and a document together: `(query, text)` pairs to scores."""

    def __init__(self, path: Path, name: str) -> None:
        from ..teachers.cross_encoder import CrossEncoderScorer
        from ..teachers.sentence_encoder import backend_tokenizer

        self.name, self.metric = name, "score"
        self._scorer = CrossEncoderScorer(ScorerSpec(kind="cross-encoder", model=str(path), device="cpu"))
        self._counter = backend_tokenizer(self._scorer.model, "query")

    def costs(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens of each pair, before anything is cut."""
        if self._counter is None:
            return [1 + (len(query) + len(text)) // 4 for query, text in pairs]
        return [len(found.ids) for found in self._counter.encode_batch_fast(list(pairs))]

    def scores(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Raw scores (logits), float32 `(n,)`."""
        return self._scorer.encode([pair_text(query, text) for query, text in pairs])[:, 0]


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
