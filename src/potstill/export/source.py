"""What is exported: a student's towers as they lie on disk, taken apart into what a graph and a tokenizer need."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..recipe import Role, ScorerSpec
from ..signals import pair_text
from ..students import load_encoder, read_note
from ..students.encoder import Int8StaticEncoder, SentenceEncoder, StaticEncoder

STUDENT, DOCUMENTS = "student", "student-documents"


@dataclass
class Source:
    """One tower, or a ranker.

    Attributes:
        name: for messages.
        note: what `potstill.json` says; {} where there is none.
        tokenizer: a `tokenizers.Tokenizer` that cuts at the student's length and does not pad.
        special: whether it adds special tokens to a text.
        pad: id and token of the padding.
        prompts: text put before the texts of a role; both roles are named.
        max_length: tokens of a text; None: no limit.
        normalize: whether vectors have unit length.
        width: of the whole vector; 1 for a ranker.
        parameters: numbers stored.
        reference: the original: role and texts to vectors `(n, d)`; of a ranker: query and documents to scores `(n,)`.
        static: the table's encoder where the student is static.
        modules: what a text passes through where the student is a transformer; of a ranker the classifier alone.
        own: the transformers tokenizer, where there is one.
        index_head: file to copy beside the graph, as the note names it.
        roles: whose texts it encodes.
    """

    name: str
    note: dict[str, Any]
    tokenizer: Any
    special: bool
    pad: tuple[int, str]
    prompts: dict[str, str]
    max_length: int | None
    normalize: bool
    width: int
    parameters: int
    reference: Callable[..., np.ndarray]
    static: StaticEncoder | None = None
    modules: Sequence[Any] = ()
    own: Any = None
    index_head: Path | None = None
    roles: tuple[Role, ...] = ("query",)

    def cut(self, dimensions: int) -> dict[str, Any]:
        """What a note says of vectors that are cut there; {} where they are whole."""
        if self.pairs or dimensions == self.width:
            return {}
        return {"cut": {"from": self.width, "normalize": self.normalize}}

    @property
    def pairs(self) -> bool:
        """Whether it reads pairs and gives scores."""
        return self.note.get("reads") == "pairs"


def student_folder(path: str | Path) -> str | Path:
    """The student's folder of a run, else the path (or a model's id) itself.

    Raises:
        InputError: a folder without a student, or an export.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.exists() or len(folder.parts) > 2 or str(path).startswith((".", "/")):
            raise InputError("there is no such folder", where=str(path), fix="give the folder of a run or a student")
        return path
    if (folder / STUDENT).is_dir():
        folder = folder / STUDENT
    if (folder / "model.onnx").is_file():
        raise InputError("this is an export already", where=str(folder), fix="give the run that it was made from")
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise InputError(
            "the folder holds no student and no model", where=str(path), fix="give the folder of a run or a student"
        )
    return folder


def open_sources(path: str | Path) -> tuple[Source, Source | None]:
    """The query tower (or the tower of both roles, or the ranker), and the document tower where it is another one.

    Args:
        path: a student's folder, or a model's id.

    Raises:
        InputError: there is no student, or its document tower is missing.
    """
    folder = Path(path)
    note = (read_note(folder) or {}) if folder.is_dir() else {}
    if note.get("reads") == "pairs":
        return _ranker(folder, note), None
    towers = note.get("towers", "asymmetric" if note else "shared")
    roles: tuple[Role, ...] = ("query",) if towers == "asymmetric" else ("query", "document")
    if towers == "separate":
        beside = folder.parent / DOCUMENTS
        if not beside.is_dir():
            raise InputError(
                "this student has a document tower of its own, and it is not there",
                where=str(beside),
                fix="put the run's student-documents/ beside the student's folder",
            )
        return _tower(folder, note, ("query",)), _tower(beside, read_note(beside) or {}, ("document",))
    if _is_static(folder):
        return _static(folder, note, roles), None
    from ..teachers.sentence_encoder import is_routed, load_sentence_encoder

    model = load_sentence_encoder(path, device="cpu")
    if is_routed(model):
        note = {key: value for key, value in note.items() if key != "packed"} | {"towers": "separate"}
        return _transformer(path, note, ("query",), model), _transformer(path, note, ("document",), model)
    note = note or {"kind": "model", "towers": "shared"}
    return _transformer(path, note, roles, model), None


def _tower(folder: Path, note: dict[str, Any], roles: tuple[Role, ...]) -> Source:
    if _is_static(folder):
        return _static(folder, note, roles)
    from ..teachers.sentence_encoder import load_sentence_encoder

    return _transformer(folder, note, roles, load_sentence_encoder(folder, device="cpu"))


def _is_static(folder: Path) -> bool:
    return (folder / "modules.json").is_file() and StaticEncoder.open(folder) is not None


def _static(folder: Path, note: dict[str, Any], roles: tuple[Role, ...]) -> Source:
    towers = {role: StaticEncoder.open(folder, role) for role in roles}
    static = towers[roles[0]]
    assert static is not None
    if isinstance(static, Int8StaticEncoder):
        raise InputError(
            "this static student is in int8 already", where=str(folder), fix="give the run that it was made from"
        )
    cut = static.tokenizer.truncation
    tokenizer = _copy(static.tokenizer, post_processor=None)
    return Source(
        name=str(folder),
        note=note,
        tokenizer=tokenizer,
        special=False,
        pad=_padding(tokenizer, None),
        prompts={"query": "", "document": ""} | {role: each.prompt for role, each in towers.items() if each},
        max_length=int(cut["max_length"]) if cut else None,
        normalize=static.normalize,
        width=static.dimensions,
        parameters=static.parameters,
        reference=lambda role, texts: load_encoder(folder, role).encode(texts),
        static=static,
        index_head=_index_head(folder, note),
        roles=roles,
    )


def _transformer(path: str | Path, note: dict[str, Any], roles: tuple[Role, ...], model: Any) -> Source:
    from sentence_transformers.sentence_transformer.modules import Transformer

    from ..teachers.sentence_encoder import declared_length, modules_for, normalizes

    modules = modules_for(model, roles[0])
    if not isinstance(modules[0], Transformer):
        raise InputError(
            f"a model that starts with {type(modules[0]).__name__} and goes on with more than a linear head cannot be"
            " exported",
            where=str(path),
            fix="give a static student, or one that starts with a transformer",
        )
    own = modules[0].tokenizer
    tokenizer = _fast(own, str(path))
    length = declared_length(model, roles[0])
    if length is not None:
        tokenizer.enable_truncation(length)
    tensors = {id(tensor): tensor for module in modules for tensor in module.state_dict().values()}
    return Source(
        name=str(path),
        note=note,
        tokenizer=tokenizer,
        special=True,
        pad=_padding(tokenizer, own),
        prompts={"query": "", "document": ""} | {role: _prompt(model, role) for role in roles},
        max_length=length,
        normalize=normalizes(model, roles[0]),
        width=int(model.get_embedding_dimension()),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        reference=lambda role, texts: SentenceEncoder(model, role).encode(texts),
        modules=modules,
        own=own,
        index_head=_index_head(Path(path), note),
        roles=roles,
    )


def _ranker(folder: Path, note: dict[str, Any]) -> Source:
    from ..teachers.cross_encoder import CrossEncoderScorer

    scorer = CrossEncoderScorer(ScorerSpec(kind="cross-encoder", model=str(folder), device="cpu"))
    model = scorer.model
    own = model.tokenizer
    length = int(note.get("max_length") or model.max_length or 512)
    tokenizer = _fast(own, str(folder))
    tokenizer.enable_truncation(length, strategy="longest_first")

    def reference(query: str, documents: list[str]) -> np.ndarray:
        return scorer.encode([pair_text(query, document) for document in documents])[:, 0]

    return Source(
        name=str(folder),
        note=note,
        tokenizer=tokenizer,
        special=True,
        pad=_padding(tokenizer, own),
        prompts={"query": "", "document": ""},
        max_length=length,
        normalize=False,
        width=1,
        parameters=sum(tensor.numel() for tensor in model.parameters()),
        reference=reference,
        modules=[model.model],
        own=own,
    )


def _index_head(folder: Path, note: dict[str, Any]) -> Path | None:
    return folder / str(note["index_head"]) if note.get("index_head") else None


def _prompt(model: Any, role: Role) -> str:
    """What `encode_query` or `encode_document` of sentence-transformers puts before a text."""
    names = ("query",) if role == "query" else ("document", "passage", "corpus")
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return str(model.prompts.get(name) or "")


def _fast(own: Any, where: str) -> Any:
    backend = getattr(own, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "the student's tokenizer has no fast form", where=where, fix="give a model with a tokenizer.json"
        )
    return _copy(backend)


def _copy(tokenizer: Any, **changes: Any) -> Any:
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str()) | changes
    return Tokenizer.from_str(json.dumps(state))


def _padding(tokenizer: Any, own: Any) -> tuple[int, str]:
    """Id and token of the padding: the tokenizer's own, or entry 0, which the mask hides."""
    if own is not None and own.pad_token_id is not None:
        return int(own.pad_token_id), str(own.pad_token)
    return 0, str(tokenizer.id_to_token(0) or "[PAD]")
