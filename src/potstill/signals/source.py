"""What can fill a table of vectors. Teachers implement this; the store knows nothing else about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from ..recipe import SignalRole
from .fingerprint import Fingerprint

RoleT = TypeVar("RoleT", bound=SignalRole, contravariant=True)


class VectorSource(Protocol[RoleT]):
    """Anything that turns texts into vectors, and says exactly how it does so."""

    @property
    def recomputable(self) -> bool:
        """False where a lost vector cannot be made again (a file of vectors, say); then a broken shard is an error."""

    def fingerprint(self, role: RoleT) -> Fingerprint:
        """Identity of the vectors of this role."""

    def encode(self, texts: Sequence[str], role: RoleT) -> np.ndarray:
        """(n, d) float32 vectors; one call is one batch, its size is the caller's choice."""

    def lengths(self, texts: Sequence[str], role: RoleT) -> np.ndarray:
        """(n,) tokens of each text after truncation, for batches of equal length; an estimate will do."""
