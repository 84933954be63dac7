"""A dual-pooled cross-encoder as a teacher: of scores, and of the two vectors of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from ..errors import InputError
from ..recipe import ScorerSpec
from ..signals import Fingerprint, split_pair
from .dual_pooled import DualPooledModel, found
from .loading import chosen_device, weights_identity
from .scorer import PairSignal
from .sentence_encoder import stored_numbers
from .token_counts import TokenCounter


class DualPooledScorer:
    """See `Scorer`; `source` fills tables of pairs.

    Raises:
        InputError: the folder holds no such model, or an option does not fit it.
    """

    kind = "dual-pooled"
    signals: frozenset[PairSignal] = frozenset({"scores", "pair_vectors"})

    def __init__(self, spec: ScorerSpec) -> None:
        for option in ("label", "revision"):
            if getattr(spec, option) is not None:
                raise InputError(
                    f"a dual-pooled teacher is a folder with one score and has no {option}",
                    where=f"scorer {spec.name}",
                    fix=f"leave out `{option}`",
                )
        self._spec, self._folder = spec, found(spec.model)
        self.name = spec.name or self._folder.name
        self.model = DualPooledModel.load(self._folder, max_length=spec.max_length, dtype=spec.dtype)
        self.counter = TokenCounter(self.model.pairs.backend)
        self._weights = weights_identity(self._folder, None)
        self.model.to(chosen_device(spec.device, where=f"scorer {self.name}", fix="leave out `device`"))
        self.dimensions: int | None = self.model.dimensions
        count, size = stored_numbers([self.model.encoder])
        self.parameters: int | None = count
        self.bytes: int | None = size

    def source(self, signal: PairSignal = "scores") -> DualPooledSource:
        """Width 1 for `scores`, 2d for `pair_vectors`: the query's side, then the document's."""
        return DualPooledSource(self, signal)

    def fingerprint(self, signal: PairSignal) -> Fingerprint:
        """Identity of what is said of a pair."""
        model, revision = self._weights
        prompts = {role: getattr(self._spec.prompts, role) or "" for role in ("query", "document")}
        return Fingerprint(
            kind=self.kind,
            model=model,
            revision=revision,
            role="pair",
            prompt="",
            pooling=self.model.pooling,
            max_length=self.model.pairs.max_length,
            normalize=self.model.normalize,
            dtype=self._spec.dtype,
            dimensions=1 if signal == "scores" else 2 * self.model.dimensions,
            extra=(
                ("signal", signal),
                ("damping", str(self.model.damping)),
                *((f"{role}_prompt", text) for role, text in prompts.items() if text),
            ),
        )

    def sides(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """The queries and the documents of pairs, prompts before them."""
        split = [split_pair(text) for text in texts]
        prompts = self._spec.prompts
        queries = [(prompts.query or "") + query for query, _ in split]
        return queries, [(prompts.document or "") + document for _, document in split]

    def tokens(self, texts: Sequence[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Token ids of the queries and of the documents of pairs, uncut."""
        queries, documents = self.sides(texts)
        return self.model.pairs.ids(queries), self.model.pairs.ids(documents)


class DualPooledSource:
    """Fills a table of pairs; see `VectorSource`."""

    recomputable = True

    def __init__(self, scorer: DualPooledScorer, signal: PairSignal) -> None:
        self._scorer, self._signal = scorer, signal

    def fingerprint(self, role: Literal["pair"]) -> Fingerprint:
        """Identity of the rows."""
        return self._scorer.fingerprint(self._signal)

    def encode(self, texts: Sequence[str], role: Literal["pair"]) -> np.ndarray:
        """(n, 1) scores or (n, 2d) vectors, float32, of pairs as `pair_text` spells them."""
        model = self._scorer.model
        if not len(texts):
            return np.zeros((0, self.fingerprint(role).dimensions), dtype=np.float32)
        with torch.inference_mode():
            query, document = model(model.pairs.join(*self._scorer.tokens(texts)))
            if self._signal == "scores":
                out = (query * document).sum(dim=1, keepdim=True)
            else:
                out = torch.cat([query, document], dim=1)
        array: np.ndarray = out.cpu().numpy()
        return array

    def lengths(self, texts: Sequence[str], role: Literal["pair"]) -> np.ndarray:
        """(n,) tokens of each pair, special tokens included, after cutting."""
        return self._scorer.model.pairs.lengths(*self._counts(texts))

    def truncated(self, texts: Sequence[str], role: Literal["pair"]) -> int:
        """How many pairs have their document cut, or their query."""
        queries, documents = self._counts(texts)
        kept_queries, kept_documents = self._scorer.model.pairs.fitted(queries, documents)
        return int(((kept_documents < documents) | (kept_queries < queries)).sum())

    def _counts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        counter = self._scorer.counter
        queries, documents = (counter.texts(side, special_tokens=False) for side in self._scorer.sides(texts))
        return queries, documents
