"""What scorers have in common that encode a query and a document apart and compare them then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal

import numpy as np

from ..errors import InputError
from ..recipe import Role, ScorerSpec
from ..signals import batches_by_length, split_pair
from .scorer import PairSignal, PairSource, Scorer, no_such_signal
from .sentence_encoder import backend_tokenizer, declared_prompt, modules_for
from .token_counts import TokenCounter
from .vector_cache import Arrays, VectorCache

ROLES: tuple[Role, Role] = ("query", "document")


@dataclass(frozen=True)
class Side:
    """How texts of one role are read.

    Attributes:
        prompt: put before each.
        max_length: tokens after which they are cut; None: never.
        cut: what the model's preprocessing has to be told for that.
        counter: counts their tokens; None where the tokenizer has no fast form.
        special_tokens: whether the model puts some around them.
    """

    prompt: str
    max_length: int | None
    cut: dict[str, Any]
    counter: TokenCounter | None
    special_tokens: bool


def side(
    spec: ScorerSpec, model: Any, role: Role, *, holds: int | None, cut: dict[str, Any], special_tokens: bool = True
) -> Side:
    """One side of a sentence-transformers model whose texts are cut at `holds` tokens."""
    given: str | None = getattr(spec.prompts, role)
    tokenizer = backend_tokenizer(model, role)
    return Side(
        prompt=declared_prompt(model, role)[0] if given is None else given,
        max_length=holds,
        cut=cut,
        counter=None if tokenizer is None else TokenCounter(tokenizer),
        special_tokens=special_tokens,
    )


class ApartScorer(ABC, Generic[Arrays]):
    """Lengths of pairs, what is cut of them where each text has a limit of its own, and texts encoded once.

    Attributes:
        model: a sentence-transformers model.
        sides: by role.
        tokens_at_once: of a forward pass.
    """

    recomputable: bool = True
    name: str
    kind: str
    signals: frozenset[PairSignal] = frozenset({"scores"})
    dimensions: int | None = None
    parameters: int | None = None
    bytes: int | None = None
    model: Any
    sides: dict[Role, Side]
    tokens_at_once: int
    _spec: ScorerSpec
    _cache: VectorCache[Arrays]

    def source(self: Any, signal: PairSignal = "scores") -> PairSource:
        """Itself: it fills tables of `scores`.

        Raises:
            InputError: any other signal.
        """
        if signal not in self.signals:
            scorer: Scorer = self
            raise no_such_signal(scorer, signal)
        itself: PairSource = self
        return itself

    def lengths(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> np.ndarray:
        """Tokens (n,) int64 of each pair, both texts together: prompts counted, each cut at its maximum length."""
        counts = np.zeros(len(texts), dtype=np.int64)
        for one, limit in self._counts(texts):
            counts += one if limit is None else np.minimum(one, limit)
        return counts

    def truncated(self, texts: Sequence[str], role: Literal["pair"] = "pair") -> int:
        """How many of the pairs have a text with more tokens than its maximum length."""
        over = np.zeros(len(texts), dtype=bool)
        for counts, limit in self._counts(texts):
            over |= counts > (np.iinfo(np.int64).max if limit is None else limit)
        return int(over.sum())

    def _counts(self, texts: Sequence[str]) -> list[tuple[np.ndarray, int | None]]:
        """For each side, tokens (n,) int64 of its texts, uncut, and where they are cut."""
        sides = zip(*map(split_pair, texts), strict=True) if len(texts) else ((), ())
        return [
            (self.token_counts(side_texts, role), self.sides[role].max_length)
            for role, side_texts in zip(ROLES, sides, strict=True)
        ]

    def vectors(self, texts: Sequence[str], role: Role) -> dict[str, Arrays]:
        """What each distinct text is encoded to; those that the cache lacks are, in batches of like length."""
        found = {text: self._cache.get(role, text) for text in texts}
        missing = [text for text, arrays in found.items() if arrays is None]
        if missing:
            limit = self.sides[role].max_length
            counts = self.token_counts(missing, role)
            capped = counts if limit is None else np.minimum(counts, limit)
            for batch in batches_by_length(capped, self.tokens_at_once):
                chosen = [missing[i] for i in batch]
                for text, arrays in zip(chosen, self._forward(chosen, role), strict=True):
                    found[text] = arrays
                    self._cache.put(role, text, arrays)
        return {text: arrays for text, arrays in found.items() if arrays is not None}

    def forget(self) -> None:
        """Forget the texts that were encoded before: the next call costs what it costs."""
        self._cache.clear()

    @abstractmethod
    def _forward(self, texts: Sequence[str], role: Role) -> list[Arrays]:
        """One forward pass, without anything that would keep the whole batch in memory."""

    def require_finite(self, finite: Sequence[bool], texts: Sequence[str], role: Role) -> None:
        """Refuse numbers that are none.

        Raises:
            InputError: those of a text are not all finite.
        """
        if not all(finite):
            raise InputError(
                f"the model gives NaN or infinite numbers for the {role} {texts[list(finite).index(False)][:80]!r}",
                where=self._spec.model,
                fix="check its weights; with float16, try the scorer's `dtype: float32`",
            )

    def token_counts(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Tokens (n,) int64 of texts of a role, prompt counted, uncut."""
        one = self.sides[role]
        whole = [one.prompt + text for text in texts]
        if one.counter is not None:
            return one.counter.texts(whole, special_tokens=one.special_tokens)
        if not whole:
            return np.zeros(0, dtype=np.int64)
        slow: Any = modules_for(self.model, role)[0].tokenizer  # one in Python
        encoded = slow(whole, truncation=False, add_special_tokens=one.special_tokens)["input_ids"]
        return np.array([len(ids) for ids in encoded], dtype=np.int64)
