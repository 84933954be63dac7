"""The one vector that a [CLS]-pooled cross-encoder has of a pair, offered as both sides' of it: an ablation.

EmbedDistill (arXiv 2301.12005, section 4.2) finds that matching it teaches nothing and may harm: it lies along the one
direction that tells relevant pairs from others. It is here so that dual pooling can be compared with it, and that only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from ..signals import Fingerprint


class PairReader(Protocol):
    """What is needed of a cross-encoder."""

    dimensions: int | None

    @property
    def model(self) -> Any:
        """The sentence-transformers model."""

    def features(self, texts: Sequence[str]) -> dict[str, Any]:
        """What it is called with."""

    def fingerprint(self, role: Literal["pair"] = "pair") -> Fingerprint:
        """Identity of its scores."""

    def lengths(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Tokens of each pair."""

    def truncated(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> int:
        """How many pairs are cut."""


class JointVectors:
    """Fills tables of `pair_vectors` from a cross-encoder's first token; see `PairSource`."""

    recomputable = True

    def __init__(self, scorer: PairReader) -> None:
        self._scorer = scorer

    def fingerprint(self, role: Literal["pair"] = "pair") -> Fingerprint:
        """Identity of the vectors: that of the scores, less the label."""
        said = self._scorer.fingerprint(role)
        extra = tuple(pair for pair in said.extra if pair[0] not in ("signal", "label"))
        width = 2 * int(self._scorer.dimensions or 0)
        return replace(said, dimensions=width, pooling="first token", extra=(*extra, ("signal", "pair_vectors")))

    def encode(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """(n, 2d) float32: the last layer at the first token, twice."""
        import torch

        if not len(texts):
            return np.zeros((0, self.fingerprint().dimensions), dtype=np.float32)
        body = encoder_of(self._scorer.model)
        assert body is not None
        with torch.inference_mode():
            features = self._scorer.features(texts)
            names = ("input_ids", "attention_mask", "token_type_ids")
            given = {name: features[name] for name in names if name in features}
            first = body(**given).last_hidden_state[:, 0].float()
            vectors: np.ndarray = torch.cat([first, first], dim=1).cpu().numpy()
        return vectors

    def lengths(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """See the scorer."""
        return self._scorer.lengths(texts, role)

    def truncated(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> int:
        """See the scorer."""
        return self._scorer.truncated(texts, role)


def encoder_of(model: Any) -> Any | None:
    """The encoder below a sequence classifier's head; None where the model is built another way."""
    classifier = getattr(model[0], "auto_model", None)
    body = getattr(classifier, "base_model", None)
    return body if body is not None and body is not classifier and hasattr(body.config, "hidden_size") else None
