"""Texts of both sides read apart: ids as the tokenizer gives them, and in the batch what a model puts around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..recipe import Role
from ..students.anatomy import surroundings
from ..teachers.pair_tokens import bare_backend, bare_ids


class ApartTokenizer:
    """Tokenises for a model that encodes queries and documents apart; stands where a `PairTokenizer` stands.

    Args:
        tokenizer: a transformers tokenizer of the fast kind.
        lengths: most tokens of a text, by role, special ones and prompt included.
        prompts: text put before every text of a role.
        expand: whether every query is filled up to its length with mask tokens, which are scored though nobody attends
            to them (ColBERT's query expansion, as sentence-transformers has it).

    Raises:
        InputError: a tokenizer without a fast form or, to expand, without a mask token; or a length without room.
    """

    def __init__(
        self, tokenizer: Any, lengths: Mapping[Role, int], prompts: Mapping[str, str], *, expand: bool = False
    ) -> None:
        self._backend = bare_backend(tokenizer)
        self.limits = dict(lengths)
        self.max_length = self.limits["document"]
        self.pad, self.mask, self.expand = int(tokenizer.pad_token_id or 0), tokenizer.mask_token_id, expand
        roles: tuple[Role, Role] = ("query", "document")
        self._around = {role: surroundings(tokenizer, prompts.get(role, "")) for role in roles}
        self.room = {role: limit - sum(map(len, self._around[role])) for role, limit in self.limits.items()}
        if min(self.room.values()) < 1:
            raise InputError(
                f"lengths of {self.limits['query']} and {self.limits['document']} tokens leave no room for a text",
                where="max_length",
                fix="raise query_length or max_length",
            )
        if expand and self.mask is None:
            raise InputError("the base has no mask token to expand queries with", where="base", fix="use another base")

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids (int32) of each text, without special tokens, uncut."""
        return bare_ids(self._backend, texts)

    def fitted(self, queries: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many tokens (n,) of queries and documents of these lengths (n,) are kept."""
        return np.minimum(queries, self.room["query"]), np.minimum(documents, self.room["document"])

    def lengths(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Tokens (n,) that a query and a document of these lengths (n,) cost together."""
        kept = self.fitted(queries, documents)
        around = sum(len(part) for both in self._around.values() for part in both)
        return np.asarray(kept[0] + kept[1] + around)

    def features(self, texts: Sequence[np.ndarray], role: Role, device: torch.device) -> dict[str, Tensor]:
        """What the model is called with for texts as `ids` gives them, padded on the right."""
        before, after = self._around[role]
        rows = [[*before, *ids[: self.room[role]].tolist(), *after] for ids in texts]
        fill = self.expand and role == "query"
        width = self.limits[role] if fill else max(map(len, rows), default=1)
        found = np.full((len(rows), width), self.mask if fill else self.pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for line, there, row in zip(found, mask, rows, strict=True):
            line[: len(row)], there[: len(row)] = row, 1
        features = {
            "input_ids": torch.from_numpy(found).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }
        if fill:
            features["query_expansion_positions"] = features["attention_mask"] == 0
        return features
