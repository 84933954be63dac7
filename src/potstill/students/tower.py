"""What every trainable tower can do, whatever is inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..recipe import Role
from ..teachers.blocks import Tap
from .embedded import Embedded
from .tokens import Tokens


class TouchedRows(NamedTuple):
    """The part of a table that one forward pass used: `sub (k, r)` is a leaf copied from `table[rows]`."""

    table: Tensor
    rows: Tensor
    sub: Tensor


class Tower(torch.nn.Module, ABC):
    """One side of a student: texts to tokens, tokens to vectors in the teacher's space.

    Attributes:
        kind: `static`, `layers`, `tiny` or `model`.
        dimensions: width of the vectors, the teacher's.
        normalize: whether vectors have unit length, as the teacher's have.
        prompts: text put before every text of a role; missing roles have none.
        padded: whether forward pads a batch to its longest text.
    """

    kind: str
    dimensions: int
    normalize: bool
    prompts: dict[str, str]
    padded: bool

    @abstractmethod
    def tokens(self, texts: Sequence[str], role: Role = "query") -> Tokens:
        """Tokenise texts, the role's prompt put before them; counts those that are cut or hold nothing known."""

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """Vectors of the texts, float32 `(n, dimensions)`."""

    @abstractmethod
    def save(self, path: Path, note: Mapping[str, Any]) -> None:
        """Write a folder that plain `SentenceTransformer(path)` loads, with `potstill.json` and a short README.

        Args:
            path: the folder; an older one is replaced as a whole.
            note: what the tower serves: `teacher`, `index`, `towers`, ...; what it is (kind, dimensions, parameters,
                bytes, version) is added.
        """

    @property
    def depth(self) -> int:
        """Number of blocks whose vectors `layered` can read; 0: there are none."""
        return 0

    def layered(self, tokens: Tokens, taps: Sequence[Tap]) -> tuple[Tensor, Tensor]:
        """Vectors `(n, dimensions)`, and those of blocks on the way `(n, k, w)`, float32, not normalised."""
        raise NotImplementedError(f"{type(self).__name__} has no blocks")

    def vocabulary(self) -> dict[str, int]:
        """Token strings -> ids."""
        raise NotImplementedError(f"{type(self).__name__} does not show its vocabulary")

    def surroundings(self, role: Role = "query") -> tuple[list[int], list[int]]:
        """Ids that `tokens` puts before (the role's prompt among them) and after every text."""
        raise NotImplementedError(f"{type(self).__name__} does not show what it puts around a text")

    def embed(self, tokens: Tokens) -> Embedded:
        """Look the tokens up and go no further: `forward_embedded(embed(tokens))` is `forward(tokens)`."""
        raise NotImplementedError(f"{type(self).__name__} does not show its token embeddings")

    def forward_embedded(self, inputs: Embedded) -> Tensor:
        """Vectors `(n, dimensions)` float32 of texts given as token embeddings, be they any token's or not."""
        raise NotImplementedError(f"{type(self).__name__} does not take token embeddings")

    def entry_table(self) -> Tensor:
        """The token embedding of every id, detached, `(V, w)`."""
        raise NotImplementedError(f"{type(self).__name__} does not show its token embeddings")

    def named_tables(self) -> dict[str, Tensor]:
        """Tables trained row by row, by name. They are buffers: no part of `parameters()`, but of `state_dict()`."""
        return {}

    def touched(self) -> list[TouchedRows]:
        """Rows of `named_tables()` used by forward passes in train mode since `clear_touched`; one entry a pass."""
        return []

    def clear_touched(self) -> None:
        """Forget what forward passes have used; call it after every optimiser step."""
