"""From a recipe's student and an open teacher to a tower that can be trained."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ..errors import InputError
from ..recipe import Role, StudentSpec
from ..teachers.teacher import VectorTeacher
from .anatomy import Anatomy, open_up
from .counting import Texts, sampled
from .tower import Tower


def build_tower(spec: StudentSpec, teacher: VectorTeacher, texts: Texts, seed: int, *, role: Role = "query") -> Tower:
    """Build an untrained tower that starts from what the teacher knows.

    Args:
        spec: what kind, how large.
        teacher: an open teacher; the tower's vectors are as wide as its vectors and of unit length if they are.
        texts: called for a fresh pass over representative texts (documents and training queries), for counts.
        seed: of whatever starts at random.
        role: whose texts the tower encodes; a tower for both takes the query's side of a teacher that has two.

    Raises:
        InputError: the student does not fit the teacher, with the key of the recipe to change.
    """
    anatomy = open_up(teacher, role)
    if spec.kind == "static":
        from .static_init import build_static

        tower: Tower = build_static(spec, anatomy, texts, seed)
    else:
        if spec.phrases or spec.rank:
            key = "phrases" if spec.phrases else "rank"
            raise InputError(f"`{key}` is for static students", where=f"student.{key}", fix="leave it out")
        tower = {"layers": _layers, "tiny": _tiny, "model": _model}[spec.kind](spec, anatomy, sampled(texts), seed)
    if role == "document":
        tower.prompts.pop("query", None)
    count = sum(tensor.numel() for name, tensor in tower.state_dict().items() if name not in ("weight", "scale"))
    if spec.parameters is not None and count > spec.parameters:
        raise InputError(
            f"the student has {count:,} numbers, more than {spec.parameters:,}",
            where="student.parameters",
            fix="use fewer layers, a smaller width, `vocabulary: trimmed`, or more parameters",
        )
    return tower


def _layers(spec: StudentSpec, anatomy: Anatomy, texts: Texts, seed: int) -> Tower:
    from .shrink import as_module, evenly, keep_layers, narrow, trim_vocabulary

    transformer = anatomy.transformer
    if transformer is None:
        raise InputError(
            "a student made of the teacher's layers needs a teacher that is a transformer on this machine",
            where="student.kind",
            fix="use static, tiny:2x128 or a model id",
        )
    _no_corpus(spec)
    chosen = spec.layers
    if spec.share is not None:
        chosen = evenly(int(transformer.auto_model.config.num_hidden_layers), spec.share)
    model, tokenizer = keep_layers(transformer.auto_model, chosen), transformer.tokenizer
    if spec.vocabulary == "trimmed" or spec.vocabulary_size is not None:
        model, tokenizer, _ = trim_vocabulary(model, tokenizer, texts, spec.vocabulary_size)
    rest = [copy.deepcopy(module) for module in anatomy.modules[1:]]
    if spec.width is not None and spec.width != model.config.hidden_size:
        model = narrow(model, spec.width)
        rest = [_pooling(spec.width, spec.pooling or _pooling_mode(anatomy))]
    elif spec.pooling is not None:
        rest = [_pooling(model.config.hidden_size, spec.pooling), *rest[1:]]
    first = as_module(model, tokenizer, anatomy.teacher.max_length(anatomy.role))
    first.do_lower_case = bool(getattr(transformer, "do_lower_case", False))
    return _tower([first, *rest], "layers", spec, anatomy, _declared(anatomy.encoder, anatomy), seed)


def _tiny(spec: StudentSpec, anatomy: Anatomy, texts: Texts, seed: int) -> Tower:
    from .shrink import as_module
    from .tiny import tiny_model

    model, tokenizer = tiny_model(spec, anatomy, texts, seed)
    pooling = _pooling(model.config.hidden_size, spec.pooling or "mean")
    return _tower([as_module(model, tokenizer, None), pooling], "tiny", spec, anatomy, {}, seed)


def _model(spec: StudentSpec, anatomy: Anatomy, texts: Texts, seed: int) -> Tower:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

    from ..teachers.sentence_encoder import load_sentence_encoder, modules_for

    _no_corpus(spec)
    assert spec.model is not None
    name = spec.document_model if anatomy.role == "document" and spec.document_model else spec.model
    encoder = load_sentence_encoder(name, device="cpu", pooling=spec.pooling)
    modules = modules_for(encoder, anatomy.role)
    prompts = _declared(encoder, None)
    if isinstance(modules[0], StaticEmbedding):
        from .static_init import static_from

        return static_from(modules, spec, anatomy, prompts, seed)
    if not isinstance(modules[0], Transformer):
        raise InputError(
            f"a student that starts with {type(modules[0]).__name__} is not supported",
            where=f"student.model: {name}",
            fix="give a transformer or a static embedding model",
        )
    if spec.vocabulary == "trimmed" or spec.vocabulary_size is not None:
        from .shrink import as_module, trim_vocabulary

        small, tokenizer, _ = trim_vocabulary(modules[0].auto_model, modules[0].tokenizer, texts, spec.vocabulary_size)
        modules[0] = as_module(small, tokenizer, modules[0].max_seq_length)
    return _tower(modules, "model", spec, anatomy, prompts, seed)


def _tower(
    modules: list[torch.nn.Module], kind: str, spec: StudentSpec, anatomy: Anatomy, prompts: dict[str, str], seed: int
) -> Tower:
    from .transformer import TransformerTower

    said = {"query": spec.prompts.query, "document": spec.prompts.document}
    return TransformerTower(
        modules,
        kind=kind,
        dimensions=anatomy.dimensions,
        normalize=anatomy.normalize,
        prompts={**prompts, **{role: text for role, text in said.items() if text is not None}},
        max_length=spec.max_length,
        seed=seed,
    )


def _declared(encoder: Any, anatomy: Anatomy | None) -> dict[str, str]:
    """The prompts that a model declares; of a teacher, what it was opened with goes first."""
    from ..teachers.sentence_encoder import declared_prompt

    prompts = {"query": declared_prompt(encoder, "query")[0], "document": declared_prompt(encoder, "document")[0]}
    return prompts if anatomy is None else {**prompts, anatomy.role: anatomy.prompt}


def _pooling(width: int, mode: str) -> torch.nn.Module:
    from sentence_transformers.sentence_transformer.modules import Pooling

    module: torch.nn.Module = Pooling(width, mode)
    return module


def _pooling_mode(anatomy: Anatomy) -> str:
    from ..teachers.sentence_encoder import pooling_name

    name = (pooling_name(anatomy.encoder, anatomy.role) if anatomy.encoder is not None else None) or "mean"
    return name.split("+")[0].split(" ")[0]


def _no_corpus(spec: StudentSpec) -> None:
    if spec.vocabulary == "corpus":
        raise InputError(
            f"a student of kind {spec.kind} keeps its model's vocabulary",
            where="student.vocabulary",
            fix="use teacher or trimmed, or a static or tiny student",
        )
