"""A late-interaction model in the training process: MaxSim at its end, and of every token after chosen blocks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..objectives.functional import maxsim
from ..recipe import Role
from ..teachers.blocks import Blocks, Tap
from ..teachers.late_interaction import LateInteractionScorer
from .passes import Parts, Pass, Values
from .rankers import Asked, Ranked, Ranker, ReadTexts

_AT_ONCE = 256  # texts that are tokenised together


@dataclass(frozen=True)
class MultiVectorTexts:
    """Texts as a multi-vector model reads them: arrays `(t,)` by name, the mask among them.

    Attributes:
        rows: one a text, without padding.
    """

    rows: list[dict[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: np.ndarray) -> MultiVectorTexts:
        """These texts."""
        return MultiVectorTexts([self.rows[row] for row in rows.tolist()])

    def padded(self, pad: int, device: torch.device) -> dict[str, Tensor]:
        """Tensors `(n, longest)`; what is padded is no token."""
        longest = max(len(row["input_ids"]) for row in self.rows)
        found = {}
        for name, first in self.rows[0].items():
            whole = np.full((len(self.rows), longest), pad if name == "input_ids" else 0, dtype=first.dtype)
            for line, row in zip(whole, self.rows, strict=True):
                line[: len(row[name])] = row[name]
            found[name] = torch.from_numpy(whole).to(device)
        return found


class LiveLateInteraction(Ranker):
    """MaxSim of every query with every document.

    As published: blocks' token vectors are compared as they are, at their full width, before any projection and not
    normalised, while those at the model's end are what the model makes of them (of unit length). What counts as a token
    is the model's own at every block.

    Args:
        scorer: an open late-interaction model; its weights are copied.
        trained: see `Ranker`.
    """

    kind = "late-interaction"

    def __init__(self, scorer: LateInteractionScorer, *, trained: bool) -> None:
        super().__init__(scorer.name, trained=trained)
        self._scorer = [scorer]  # in a list: it is asked to tokenise, and is no module of this one
        self.model: Any = copy.deepcopy(scorer.model).float()
        self.mean = scorer.mean
        self._blocks = Blocks(self.model[0].auto_model)

    @property
    def depth(self) -> int:
        """Blocks."""
        return self._blocks.depth

    def read(self, queries: Sequence[str], documents: Sequence[str], rows: np.ndarray) -> ReadTexts:
        """Tokenise, with what the model adds to queries and documents."""
        self.cut = 0
        return ReadTexts(self._read(queries, "query"), self._read(documents, "document"), rows)

    def _read(self, texts: Sequence[str], role: Role) -> MultiVectorTexts:
        scorer = self._scorer[0]
        limit = scorer.sides[role].max_length
        if limit is not None:
            self.cut += int((scorer.token_counts(texts, role) > limit).sum())
        found: list[dict[str, np.ndarray]] = []
        for start in range(0, len(texts), _AT_ONCE):
            features = scorer.features(texts[start : start + _AT_ONCE], role)
            arrays = {
                name: value.numpy()
                for name, value in features.items()
                if isinstance(value, Tensor) and value.ndim == 2 and value.shape == features["input_ids"].shape
            }
            counted = arrays["attention_mask"] > 0
            if "query_expansion_positions" in arrays:
                counted = counted | (arrays["query_expansion_positions"] > 0)
            found += [{name: value[row][kept] for name, value in arrays.items()} for row, kept in enumerate(counted)]
        return MultiVectorTexts(found)

    def passes(self, batch: Asked) -> list[Pass]:
        """Queries, and documents."""
        sides: tuple[tuple[Role, MultiVectorTexts], ...] = (("query", batch.queries), ("document", batch.documents))
        return [
            Pass(f"{self.name}.{role}", len(texts), partial(self._encode, texts, role, batch.taps))
            for role, texts in sides
        ]

    def _encode(self, texts: MultiVectorTexts, role: Role, taps: Sequence[Tap], start: int, stop: int) -> Parts:
        some = texts if (start, stop) == (0, len(texts)) else texts.select(np.arange(start, stop))
        with nullcontext() if self.trained else torch.no_grad():
            return self.tokens(some, role, taps)

    def tokens(self, texts: MultiVectorTexts, role: Role, taps: Sequence[Tap] = ()) -> Parts:
        """Token vectors `(n, t, d)` at the end, bool mask `(n, t)` of those that count, then those of each tap."""
        features: dict[str, Any] = texts.padded(self.model.tokenizer.pad_token_id or 0, self.device)
        with self._blocks.taken([tap.block for tap in taps], lambda hidden: hidden) as found:
            out = self.model(features, task=role)
        last, mask = out["token_embeddings"].float(), out["attention_mask"].bool()
        return last, mask, *(found[tap.block].float() for tap in taps)

    def ranked(self, values: Values, batch: Asked) -> Ranked:
        """MaxSim of both sides, at the end and at each tap."""
        ours, our_mask, *our_layers = values[f"{self.name}.query"]
        theirs, their_mask, *their_layers = values[f"{self.name}.document"]
        last = maxsim(ours, theirs, our_mask, their_mask)
        if self.mean:
            last = last / our_mask.sum(dim=1, keepdim=True).clamp(min=1)
        layers = [maxsim(a, b, our_mask, their_mask) for a, b in zip(our_layers, their_layers, strict=True)]
        return Ranked(last, torch.stack(layers) if layers else last.new_zeros(0))

    def save(self, folder: Path, note: Mapping[str, Any]) -> None:
        """A folder that sentence-transformers' MultiVectorEncoder loads."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(str(folder), create_model_card=False, safe_serialization=True)
