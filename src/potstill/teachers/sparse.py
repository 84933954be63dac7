"""A scorer that compares sparse vectors over the vocabulary: SPLADE and its kin, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import Role, ScorerSpec
from ..signals import Fingerprint, split_pair
from .apart import ROLES, ApartScorer, Side, side
from .loading import held_length, load_scorer, weights_identity
from .probing import probe
from .sentence_encoder import (
    declared_length,
    longest_length,
    modules_for,
    stored_numbers,
)
from .sparse_vectors import Sparse, inner
from .vector_cache import VectorCache

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

_TOKENS = 2048  # a forward pass: its logits take 4 bytes a token and vocabulary entry, 250 MB for BERT's
_CACHE_BYTES = 256 * 2**20


class SparseScorer(ApartScorer[Sparse]):
    """Inner products of sparse vectors (of unit length, where the model compares by cosine).

    Each distinct text is encoded once in a process, as long as its vector stays in the cache (256 MiB, the least
    recently used go first). See `Scorer` and `PairSource` for what the members mean.
    """

    kind: str = "sparse"
    tokens_at_once = _TOKENS

    def __init__(self, spec: ScorerSpec) -> None:
        """Load the model and try it on a few pairs.

        Raises:
            InputError: a model that is missing, broken, no sparse encoder, gives NaN or one score to all, compares by a
                distance, or does not fit the options.
            MissingExtra: sentence-transformers is not installed.
        """
        self.name: str = spec.name or spec.model
        self._spec = spec
        self.model = _loaded(spec)
        self._cosine = _compares_by_cosine(spec, self.model)
        self.sides = {role: _side(spec, self.model, role) for role in ROLES}
        self._weights = weights_identity(spec.model, spec.revision, "sparse-encoder")
        self._cache = VectorCache(_CACHE_BYTES)
        count, size = stored_numbers(list(self.model.children()))
        self.parameters, self.bytes = count, size
        probe(self, spec.model, "give a model that turns a text into one sparse vector")

    def fingerprint(self, role: Literal["pair"] = "pair") -> Fingerprint:
        """Identity of the scores: weights, both sides' prompts and maximum lengths, comparison and precision."""
        model, revision = self._weights
        query, document = (self.sides[role] for role in ROLES)
        extra = [("signal", "scores"), ("query_max_length", str(query.max_length))]
        if document.prompt:
            extra.append(("document_prompt", document.prompt))
        if self.model.max_active_dims is not None:
            extra.append(("max_active_dims", str(self.model.max_active_dims)))
        return Fingerprint(
            kind=self.kind,
            model=model,
            revision=revision,
            role="pair",
            prompt=query.prompt,
            pooling=None,
            max_length=document.max_length,
            normalize=self._cosine,
            dtype=self._spec.dtype,
            dimensions=1,
            extra=tuple(extra),
        )

    def encode(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Scores (n, 1) float32 of the pairs; encodes the texts that the cache lacks."""
        pairs = [split_pair(text) for text in texts]
        queries = self.vectors([query for query, _ in pairs], "query")
        documents = self.vectors([document for _, document in pairs], "document")
        scores = np.empty((len(pairs), 1), dtype=np.float32)
        for at, (query, document) in enumerate(pairs):
            scores[at] = inner(queries[query], documents[document])
        return scores

    def _forward(self, texts: Sequence[str], role: Role) -> list[Sparse]:
        """One forward pass; of its dense (n, vocabulary) array only the non-zero numbers are kept."""
        import torch
        from sentence_transformers.util import select_max_active_dims

        model, side = self.model, self.sides[role]
        kept = model.max_active_dims
        more = {} if kept is None else {"max_active_dims": kept}
        # What SparseEncoder.encode does, less its sorting, splitting and per-row tensors.
        with torch.inference_mode():
            features = model.preprocess(list(texts), prompt=side.prompt or None, task=role, **side.cut)
            device = model.device
            features = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            dense = model(features, task=role, **more)["sentence_embedding"]
            dense = select_max_active_dims(dense, max_active_dims=kept).float()
            self.require_finite(dense.isfinite().all(dim=1).tolist(), texts, role)
            if self._cosine:
                dense = torch.nn.functional.normalize(dense, dim=1)
            rows, columns = dense.nonzero(as_tuple=True)
            values = dense[rows, columns].cpu().numpy()
            ends = np.cumsum(np.bincount(rows.cpu().numpy(), minlength=len(texts)))[:-1]
        indices = columns.cpu().numpy().astype(np.int32)
        # Copies: a slice would keep the whole batch in memory.
        return [
            (one.copy(), other.copy())
            for one, other in zip(np.split(indices, ends), np.split(values, ends), strict=True)
        ]


def _loaded(spec: ScorerSpec) -> SparseEncoder:
    try:
        from sentence_transformers import SparseEncoder
        from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
    except ImportError:
        raise MissingExtra("sentence-transformers", "train") from None
    model, missing = load_scorer(SparseEncoder, spec)
    # To a model that is not sparse, sentence-transformers adds an autoencoder of random numbers, to be trained.
    autoencoders = {name for name, module in model.named_children() if isinstance(module, SparseAutoEncoder)}
    missing += [f"the autoencoder (module {name})" for name in sorted(autoencoders - set(model.module_kwargs or {}))]
    if missing:
        raise InputError(
            f"this is no whole sparse encoder: {missing[0]} is in no file and would be random numbers",
            where=spec.model,
            fix="give a SparseEncoder (SPLADE and its kin); `kind: cross-encoder` is for cross-encoders, and `teacher` "
            "for models of vectors",
        )
    return model


def _compares_by_cosine(spec: ScorerSpec, model: SparseEncoder) -> bool:
    name = str(model.similarity_fn_name)
    if name not in ("dot", "cosine"):
        raise InputError(
            f"the model compares by {name} distance; a sparse scorer compares by inner product or cosine",
            where=spec.model,
            fix='set "similarity_fn_name" to "dot" in its config_sentence_transformers.json, if that serves this model',
        )
    return name == "cosine"


def _side(spec: ScorerSpec, model: SparseEncoder, role: Role) -> Side:
    from sentence_transformers.sentence_transformer.modules import Transformer

    transformer = isinstance(modules_for(model, role)[0], Transformer)
    declared = declared_length(model, role)
    asked = spec.max_length if transformer else None  # a table of weights by word reads texts as they are
    holds, cut = held_length(asked, declared, longest_length(model, role) or None, where=spec.model)
    return side(spec, model, role, holds=holds, cut=cut, special_tokens=transformer)
