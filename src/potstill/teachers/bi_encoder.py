"""A teacher that runs here: one sentence-transformers model for both roles, a Router, or a model for each role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError
from ..progress import say
from ..recipe import Role, TeacherSpec
from ..signals import Fingerprint
from .loading import find_model, first_line, weights_identity
from .sentence_encoder import (
    adds_special_tokens,
    backend_tokenizer,
    declared_length,
    declared_prompt,
    is_routed,
    load_sentence_encoder,
    longest_length,
    modules_for,
    normalizes,
    pooling_name,
    stored_numbers,
)
from .teacher import Metric

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .precomputed import PrecomputedIndex

_PROBES = ("water", "вода", "水", "7", "a short text to see what comes out")  # one token each, were all words unknown


@dataclass
class _Side:
    """All that the vectors of one role depend on."""

    encoder: SentenceTransformer
    model: str
    revision: str | None
    prompt: str
    max_length: int | None  # what holds
    cut: int | None  # what has to be asked for, because the model itself says otherwise
    tokenizer: Any | None
    special_tokens: bool


class BiEncoderTeacher:
    """A teacher of vectors from sentence-transformers models; see `VectorTeacher` for what its members mean."""

    recomputable: bool = True
    can_encode_queries: bool = True
    can_encode_documents: bool = True
    index: PrecomputedIndex | None = None
    query_vectors: PrecomputedIndex | None = None

    def __init__(self, spec: TeacherSpec) -> None:
        """Load the model or the pair and try it on one text.

        Raises:
            InputError: a model that is missing, broken, gives NaN, or does not fit the options or its pair.
        """
        names = {"query": spec.query_model or spec.model, "document": spec.document_model or spec.model}
        self._spec = spec
        loaded: dict[str, SentenceTransformer] = {}
        self._sides: dict[str, _Side] = {}
        roles: tuple[Role, ...] = ("query", "document")
        for role in roles:
            name = str(names[role])
            if name not in loaded:
                loaded[name] = load_sentence_encoder(
                    name,
                    revision=spec.revision,
                    device=spec.device,
                    dtype=spec.dtype,
                    pooling=spec.pooling,
                    normalize=spec.normalize,
                    trust_remote_code=spec.trust_remote_code,
                )
            self._sides[role] = self._side(loaded[name], name, role)
        query = self._sides["query"]
        self.name = " + ".join(dict.fromkeys(_title(str(name)) for name in names.values()))
        widths = {role: self._try(role) for role in roles}
        if widths["query"] != widths["document"]:
            raise InputError(
                f"the towers differ in width: queries have {widths['query']} dimensions, "
                f"documents {widths['document']}",
                where=self.name,
                fix="give a query_model and a document_model that were trained together",
            )
        self.dimensions = widths["query"]
        self.metric: Metric = spec.metric or _declared_metric(query.encoder, self.name)
        modules = modules_for(query.encoder, "query")
        count, size = stored_numbers(modules)
        self.parameters: int | None = count
        self.bytes: int | None = size

    @property
    def tokenizer(self) -> Any | None:
        """The query side's `tokenizers.Tokenizer`, a fresh copy without truncation and padding; None if it has none."""
        return backend_tokenizer(self._sides["query"].encoder, "query")

    def encoder(self, role: Role) -> SentenceTransformer | None:
        """The sentence-transformers model that encodes this role."""
        return self._sides[role].encoder

    def max_length(self, role: Role) -> int | None:
        """Tokens after which texts of this role are cut; None where there is no limit."""
        return self._sides[role].max_length

    def prompt(self, role: Role) -> str:
        """The text put before every text of this role; "" for none."""
        return self._sides[role].prompt

    def fingerprint(self, role: Role) -> Fingerprint:
        """Identity of this role's vectors: weights, prompt, pooling, maximum length, normalisation and precision."""
        mine, other = self._print(role), self._print("document" if role == "query" else "query")
        if mine == other and not is_routed(self._sides[role].encoder):
            return mine
        return Fingerprint(**{**mine.__dict__, "role": role})

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors (n, d) float32 of the texts, in one forward pass."""
        import torch

        if not len(texts):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        encoder = self._sides[role].encoder
        # What SentenceTransformer.encode does, less its sorting, splitting and per-row bookkeeping.
        with torch.inference_mode():
            features = self.features(texts, role)
            vectors = encoder(features, task=role)["sentence_embedding"]
            if encoder.truncate_dim is not None:
                vectors = vectors[:, : encoder.truncate_dim]
            vectors = vectors.float()
            if self._spec.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            array: np.ndarray = vectors.cpu().numpy()
        return array

    def features(self, texts: Sequence[str], role: Role) -> dict[str, Any]:
        """What the model is called with for a batch of texts, on its device."""
        import torch

        side = self._sides[role]
        more: dict[str, Any] = {"task": role}
        if side.cut is not None:
            more["processing_kwargs"] = {"text": {"max_length": side.cut}}
        found = side.encoder.preprocess(list(texts), prompt=side.prompt or None, **more)
        device = side.encoder.device
        return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in found.items()}

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Tokens (n,) int64 of each text: prompt and special tokens counted, cut at the maximum length."""
        counts = self._token_counts(texts, role)
        limit = self._sides[role].max_length
        return counts if limit is None else np.minimum(counts, limit)

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """How many of the texts have more tokens than the maximum length."""
        limit = self._sides[role].max_length
        return 0 if limit is None else int((self._token_counts(texts, role) > limit).sum())

    def _token_counts(self, texts: Sequence[str], role: Role) -> np.ndarray:
        side = self._sides[role]
        whole = [side.prompt + text for text in texts]
        if side.tokenizer is not None:
            encoded = side.tokenizer.encode_batch_fast(whole, add_special_tokens=side.special_tokens)
            return np.fromiter((len(one) for one in encoded), dtype=np.int64, count=len(whole))
        slow = getattr(modules_for(side.encoder, role)[0], "tokenizer", None)
        if callable(slow):  # a transformers tokenizer in Python
            return np.array([len(ids) for ids in slow(whole, truncation=False)["input_ids"]], dtype=np.int64)
        tokenize = getattr(slow, "tokenize", str.split)  # the word tokenizers of bag-of-words models
        return np.array([len(tokenize(text)) for text in whole], dtype=np.int64)

    def _side(self, encoder: SentenceTransformer, model: str, role: Role) -> _Side:
        prompt = getattr(self._spec.prompts, role)
        if prompt is None:
            prompt, name = declared_prompt(encoder, role)
            if name not in ("", role):
                say(
                    f"{model}: documents get its prompt `{name}`, {prompt!r}; teacher.prompts.document: '' turns it off"
                )
        declared, limit = declared_length(encoder, role), longest_length(encoder, role)
        asked: int | None = getattr(self._spec.max_length, role)
        if asked is not None and limit is not None and asked > limit:
            what = f"has positions for {limit} tokens" if limit else "never cuts texts"
            raise InputError(
                f"teacher.max_length.{role} is {asked}, but the model {what}",
                where=model,
                fix=f"give at most {limit}, or leave it out" if limit else "leave it out",
            )
        name, weights = weights_identity(model, self._spec.revision)
        return _Side(
            encoder=encoder,
            model=name,
            revision=weights,
            prompt=prompt,
            max_length=asked or declared,
            cut=asked if asked != declared else None,
            tokenizer=backend_tokenizer(encoder, role),
            special_tokens=adds_special_tokens(encoder, role),
        )

    def _print(self, role: Role) -> Fingerprint:
        side = self._sides[role]
        extra: tuple[tuple[str, str], ...] = ()
        if side.encoder.truncate_dim is not None:
            extra = (("truncate_dim", str(side.encoder.truncate_dim)),)
        return Fingerprint(
            kind="sentence-transformers",
            model=side.model,
            revision=side.revision,
            role="any",
            prompt=side.prompt,
            pooling=pooling_name(side.encoder, role),
            max_length=side.max_length,
            normalize=bool(self._spec.normalize) or normalizes(side.encoder, role),
            dtype=self._spec.dtype,
            dimensions=self.dimensions,
            extra=extra,
        )

    def _try(self, role: Role) -> int:
        """Width of the vectors, from a few texts; here a model that cannot work shows it."""
        self.dimensions = 0
        side = self._sides[role]
        try:
            vectors = self.encode(_PROBES, role)
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
            said = first_line(error)
            raise InputError(
                f"the model loads, but cannot encode a {role}: {said}",
                where=side.model,
                fix="give a model that turns a text into one vector",
            ) from error
        if vectors.ndim != 2 or not np.isfinite(vectors).all() or not vectors.any():
            what = "NaN, infinite or all-zero numbers" if vectors.ndim == 2 else f"an array of shape {vectors.shape}"
            raise InputError(
                f"the model gives {what} for a {role}",
                where=side.model,
                fix="check its weights; with float16, try teacher.dtype: float32",
            )
        if np.allclose(vectors[:4], vectors[0], atol=1e-6, rtol=0):
            raise InputError(
                f"the model gives the same vector to {', '.join(map(repr, _PROBES[:4]))}",
                where=side.model,
                fix="check that its tokenizer files (tokenizer.json) are there and whole",
            )
        return int(vectors.shape[1])


def _title(model: str) -> str:
    """A name for people: the id, or the folder's name with its parent's where its own says nothing."""
    found, local = find_model(model)
    path = Path(found).resolve()
    if not local:
        return found
    return f"{path.parent.name}/{path.name}" if path.name in ("model", "encoder", "student") else path.name


def _declared_metric(encoder: SentenceTransformer, name: str) -> Metric:
    declared: Literal["cosine", "dot", "euclidean", "manhattan"] = encoder.similarity_fn_name
    if declared == "cosine" or declared == "dot":
        return declared
    raise InputError(
        f"the model compares by {declared} distance; Potstill compares by dot product or cosine",
        where=name,
        fix="set teacher.metric to dot or cosine if one of them serves this model",
    )
