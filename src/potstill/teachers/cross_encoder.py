"""A scorer that reads query and document together: a sentence-transformers CrossEncoder or a sequence classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError, MissingExtra
from ..recipe import ScorerSpec
from ..signals import Fingerprint, split_pair
from .joint_vectors import JointVectors, encoder_of
from .loading import held_length, load_scorer, weights_identity
from .probing import probe
from .scorer import PairSignal, PairSource, no_such_signal
from .sentence_encoder import backend_tokenizer, declared_length, longest_length, stored_numbers
from .token_counts import TokenCounter

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_AT_ONCE = 256  # pairs rendered at a time where lengths have to be found by the model's own preprocessing


class CrossEncoderScorer:
    """Raw logits of pairs, never a sigmoid of them: a sigmoid saturates, and differences at its ends are lost.

    It is its own source of `scores`, which is what it is for; see `Scorer` and `PairSource` for what the members mean.

    Attributes:
        label: which logit is the score.
        max_length: tokens of a pair after which the longer side is cut; None where there is no limit.
        prompt: text put before every query (a chat model's instruction), "" for none.
        document_prompt: text put before every document, "" for none.
    """

    kind: str = "cross-encoder"
    recomputable: bool = True

    def __init__(self, spec: ScorerSpec) -> None:
        """Load the model and try it on a few pairs.

        Raises:
            InputError: a model that is missing, broken, no cross-encoder, gives NaN or one score to all, or does not
                fit the options.
            MissingExtra: sentence-transformers is not installed.
        """
        self.name: str = spec.name or spec.model
        self._spec = spec
        self._model = _loaded(spec)
        body = encoder_of(self._model)
        self.signals: frozenset[PairSignal] = frozenset({"scores"} if body is None else {"scores", "pair_vectors"})
        self.dimensions: int | None = None if body is None else int(body.config.hidden_size)
        self.label = _label(spec, self._model)
        self.max_length, self._cut = _lengths(spec, self._model)
        declared = self._model.prompts.get(self._model.default_prompt_name) or ""
        self.prompt: str = declared if spec.prompts.query is None else spec.prompts.query
        self.document_prompt = spec.prompts.document or ""
        tokenizer = None if "message" in self._model.modalities else backend_tokenizer(self._model, "query")
        self._counter = None if tokenizer is None else TokenCounter(tokenizer)
        self._weights = weights_identity(spec.model, spec.revision, "cross-encoder")
        count, size = stored_numbers(list(self._model.children()))
        self.parameters: int | None = count
        self.bytes: int | None = size
        probe(self, spec.model, "give a model that turns a query and a document into one logit")

    @property
    def model(self) -> CrossEncoder:
        """The model itself."""
        return self._model

    def source(self, signal: PairSignal = "scores") -> PairSource:
        """Itself, which fills tables of `scores`; for `pair_vectors` the first token's vector (see `JointVectors`).

        Raises:
            InputError: a signal that it does not give.
        """
        if signal not in self.signals:
            raise no_such_signal(self, signal)
        return self if signal == "scores" else JointVectors(self)

    def fingerprint(self, role: Literal["pair"] = "pair") -> Fingerprint:
        """Identity of the scores: weights, prompts, label, maximum length and precision."""
        model, revision = self._weights
        extra = [("signal", "scores")]
        if int(self._model.num_labels) > 1:
            extra.append(("label", str(self.label)))
        if self.document_prompt:
            extra.append(("document_prompt", self.document_prompt))
        return Fingerprint(
            kind=self.kind,
            model=model,
            revision=revision,
            role="pair",
            prompt=self.prompt,
            pooling=None,
            max_length=self.max_length,
            normalize=None,
            dtype=self._spec.dtype,
            dimensions=1,
            extra=tuple(extra),
        )

    def encode(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Scores (n, 1) float32 of the pairs, in one forward pass."""
        import torch

        if not len(texts):
            return np.zeros((0, 1), dtype=np.float32)
        model = self._model
        # What CrossEncoder.predict does, less its activation, sorting and splitting.
        with torch.inference_mode():
            logits = model(self.features(texts))["scores"].float()
            scores: np.ndarray = logits.reshape(len(texts), -1)[:, self.label : self.label + 1].cpu().numpy()
        return scores

    def features(self, texts: Sequence[str]) -> dict[str, Any]:
        """What the model is called with for a batch of pairs, on its device."""
        import torch

        found = self._model.preprocess(self._pairs(texts), prompt=self.prompt or None, **self._cut)
        device = self._model.device
        return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in found.items()}

    def lengths(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Tokens (n,) int64 of each pair: prompts and special tokens counted, cut at the maximum length."""
        counts = self._token_counts(texts)
        return counts if self.max_length is None else np.minimum(counts, self.max_length)

    def truncated(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> int:
        """How many of the pairs have more tokens than the maximum length."""
        return 0 if self.max_length is None else int((self._token_counts(texts) > self.max_length).sum())

    def _pairs(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        pairs = map(split_pair, texts)
        return [(query, self.document_prompt + document) for query, document in pairs]

    def _token_counts(self, texts: Sequence[str]) -> np.ndarray:
        pairs = self._pairs(texts)
        if self._counter is not None:
            queries, documents = [self.prompt + query for query, _ in pairs], [document for _, document in pairs]
            return self._counter.pairs(queries, documents)
        counts = [np.zeros(0, dtype=np.int64)]
        whole = {"processing_kwargs": {"text": {"truncation": False}}}
        for start in range(0, len(pairs), _AT_ONCE):  # a chat template, or a tokenizer in Python
            features = self._model.preprocess(pairs[start : start + _AT_ONCE], prompt=self.prompt or None, **whole)
            counts.append(features["attention_mask"].sum(dim=1).numpy().astype(np.int64))
        return np.concatenate(counts)


def _loaded(spec: ScorerSpec) -> CrossEncoder:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        raise MissingExtra("sentence-transformers", "train") from None
    model, missing = load_scorer(CrossEncoder, spec)
    if missing:
        kinds = getattr(model.config, "architectures", None) or ["model"]
        raise InputError(
            f"this {kinds[0]} is no whole cross-encoder: {missing[0]} and others are in no file and would be random "
            "numbers",
            where=spec.model,
            fix="give a sequence classifier with its trained head (`potstill teach cross-encoder` trains one from any "
            "encoder); kind: sparse is for SparseEncoders, and `teacher` for models of vectors",
        )
    return model


def _label(spec: ScorerSpec, model: CrossEncoder) -> int:
    count = int(model.num_labels)
    if spec.label is not None and spec.label >= count:
        raise InputError(
            f"label {spec.label} is not a label of this model, which has {count}",
            where=spec.model,
            fix=f"give one from 0 to {count - 1}" if count > 1 else "leave `label` out",
        )
    if spec.label is not None or count == 1:
        return spec.label or 0
    named = getattr(model.config, "id2label", None) or {}
    names = [str(named.get(number, f"LABEL_{number}")) for number in range(count)]
    fix = "set the scorer's `label` to the one that a fitting document has"
    entailed = [number for number, name in enumerate(names) if name.lower().startswith("entail")]
    if entailed or count == 2:
        likely = entailed[0] if entailed else 1
        fix += f": most likely `label: {likely}` ({names[likely]})"
    raise InputError(
        f"the model has {count} labels ({', '.join(f'{n}: {name}' for n, name in enumerate(names))}), and a score is "
        "one number",
        where=spec.model,
        fix=fix,
    )


def _lengths(spec: ScorerSpec, model: CrossEncoder) -> tuple[int | None, dict[str, Any]]:
    """The maximum length that holds, and what to tell `preprocess` where the model itself would say otherwise."""
    said = getattr(model[0], "processing_kwargs", {}).get("text", {}).get("max_length")
    declared: int | None = said or declared_length(model, "query")
    return held_length(spec.max_length, declared, longest_length(model, "query") or None, where=spec.model)
