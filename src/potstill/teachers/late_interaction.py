"""A scorer of late interaction: one vector a token, compared by MaxSim, as ColBERT does; by sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import Role, ScorerSpec
from ..signals import Fingerprint, split_pair
from .apart import ROLES, ApartScorer, Side, side
from .loading import find_model, held_length, load_scorer, weights_identity
from .probing import probe
from .sentence_encoder import declared_length, longest_length, stored_numbers
from .vector_cache import VectorCache

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

_TOKENS = 8192  # a forward pass
KINDS = ("MultiVectorEncoder", "ColBERT")  # as sentence-transformers and PyLate call what they save
_CACHE_BYTES = 512 * 2**20


class LateInteractionScorer(ApartScorer[tuple[np.ndarray]]):
    """Sums of the largest similarity of each query token with a document's, as the model was trained.

    What decides which tokens count is the model's own, as sentence-transformers keeps it: prompts or markers, query
    expansion, skipped words, and whether scores are divided by the query's tokens (`meanmaxsim`). Each distinct text is
    encoded once in a process as long as its vectors stay in the cache (512 MiB). See `Scorer` and `PairSource`.
    """

    kind: str = "late-interaction"
    tokens_at_once = _TOKENS

    def __init__(self, spec: ScorerSpec) -> None:
        """Load the model and try it on a few pairs.

        Raises:
            InputError: a model that is missing, broken, gives one vector a text, would be made of random numbers, gives
                NaN or one score to all, or does not fit the options.
            MissingExtra: sentence-transformers is not installed.
        """
        self.name: str = spec.name or spec.model
        self._spec = spec
        self.model = _loaded(spec)
        self.mean = str(self.model.similarity_fn_name) == "meanmaxsim"
        self.sides = {role: _side(spec, self.model, role) for role in ROLES}
        self._weights = weights_identity(spec.model, spec.revision, "late-interaction")
        self._cache = VectorCache(_CACHE_BYTES)
        self.parameters, self.bytes = stored_numbers(list(self.model.children()))
        probe(self, spec.model, "give a model that turns a text into one vector a token")

    def fingerprint(self, role: Literal["pair"] = "pair") -> Fingerprint:
        """Identity of the scores: weights, prompts, maximum lengths, expansion, what is skipped, precision."""
        model, revision = self._weights
        query, document = (self.sides[role] for role in ROLES)
        first = self.model[0]
        extra = [
            ("signal", "scores"),
            ("query_max_length", str(query.max_length)),
            ("query_expansion", repr(getattr(first, "query_expansion", None))),
            ("similarity", str(self.model.similarity_fn_name)),
        ]
        for module in self.model:
            skipped = getattr(module, "skiplist_words", None)
            if skipped is not None:
                extra.append(("skipped", repr((sorted(skipped), module.skiplist_tasks, module.keep_only_token_ids))))
        if document.prompt:
            extra.append(("document_prompt", document.prompt))
        return Fingerprint(
            kind=self.kind,
            model=model,
            revision=revision,
            role="pair",
            prompt=query.prompt,
            pooling=None,
            max_length=document.max_length,
            normalize=None,
            dtype=self._spec.dtype,
            dimensions=1,
            extra=tuple(extra),
        )

    def encode(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Scores (n, 1) float32 of the pairs; encodes the texts that the cache lacks."""
        import torch
        from sentence_transformers.util import maxsim_pairwise

        if not len(texts):
            return np.zeros((0, 1), dtype=np.float32)
        pairs = [split_pair(text) for text in texts]
        queries = self.vectors([query for query, _ in pairs], "query")
        documents = self.vectors([document for _, document in pairs], "document")
        scores: np.ndarray = maxsim_pairwise(
            [torch.from_numpy(queries[query][0]) for query, _ in pairs],
            [torch.from_numpy(documents[document][0]) for _, document in pairs],
            length_normalize=self.mean,
        ).numpy()
        return scores[:, None].astype(np.float32)

    def features(self, texts: Sequence[str], role: Role) -> dict[str, Any]:
        """What the model is called with for a batch of texts of a role, still on the CPU."""
        one = self.sides[role]
        found: dict[str, Any] = self.model.preprocess(list(texts), prompt=one.prompt or None, task=role, **one.cut)
        return found

    def _forward(self, texts: Sequence[str], role: Role) -> list[tuple[np.ndarray]]:
        """One forward pass; of each text the vectors of the tokens that count."""
        import torch

        with torch.inference_mode():
            device = self.model.device
            given = self.features(texts, role).items()
            features = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in given}
            out = self.model(features, task=role)
            vectors, mask = out["token_embeddings"].float(), out["attention_mask"].bool()
            self.require_finite((vectors.isfinite().all(dim=2) | ~mask).all(dim=1).tolist(), texts, role)
            return [(row[kept].cpu().numpy().copy(),) for row, kept in zip(vectors, mask, strict=True)]


def _loaded(spec: ScorerSpec) -> MultiVectorEncoder:
    try:
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Dense
    except ImportError:
        raise MissingExtra("sentence-transformers 6", "train") from None
    model, missing = load_scorer(MultiVectorEncoder, spec)
    # To any other model, one of single vectors too, sentence-transformers adds a projection of random numbers, to be
    # trained; names of modules do not tell, for the model that it converts has modules of those numbers itself.
    projected = any(isinstance(module, Dense) for module in model.children())
    if projected and _declared_kind(spec) not in KINDS and "HF_ColBERT" not in _architectures(model):
        missing.append("the projection of its token vectors")
    if missing:
        raise InputError(
            f"this is no whole late-interaction model: {missing[0]} is in no file and would be random numbers",
            where=spec.model,
            fix="give a multi-vector model (ColBERT and its kin; `potstill teach late-interaction` trains one from any "
            "encoder); `teacher` is for models of one vector a text",
        )
    return model


def _declared_kind(spec: ScorerSpec) -> str | None:
    """What a model was saved as, by sentence-transformers or PyLate; None: it does not say."""
    file = "config_sentence_transformers.json"
    name, local = find_model(spec.model)
    try:
        if local:
            path = Path(name) / file
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(name, file, revision=spec.revision))
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError):  # no such file, or one that sentence-transformers did not write
        return None
    return None if kind is None else str(kind)


def _architectures(model: MultiVectorEncoder) -> list[str]:
    return list(getattr(model[0].auto_model.config, "architectures", None) or ())


def _side(spec: ScorerSpec, model: MultiVectorEncoder, role: Role) -> Side:
    declared = declared_length(model, role)
    expansion = getattr(model[0], "query_expansion", None) if role == "query" else None
    if expansion is not None and expansion["strategy"] == "fixed":
        return side(spec, model, role, holds=int(expansion["length"]), cut={})
    asked = spec.max_length if role == "document" else None
    holds, cut = held_length(asked, declared, longest_length(model, role) or None, where=spec.model)
    return side(spec, model, role, holds=holds, cut=cut)
