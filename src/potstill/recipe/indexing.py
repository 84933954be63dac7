"""A smaller index for a student that searches the teacher's documents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Strict


class IndexSpec(Strict):
    """Documents are stored as a linear head makes them of the teacher's vectors, at `width` numbers each (CosPress).

    The head is fitted on the documents' vectors first and then frozen; the student learns to meet it. `by: cospress`
    keeps neighbourhoods on the sphere at several `temperatures`, in `updates` updates of `batch` vectors, starting from
    `by: pca`, the directions in which the vectors vary most. A student that encodes documents itself learns vectors of
    that width, and its own index is smaller.
    """

    width: int = Field(ge=2)
    by: Literal["cospress", "pca"] = "cospress"
    temperatures: tuple[float, ...] = (0.01, 0.1, 1.0)
    updates: int = Field(default=1_000, ge=1)
    batch: int = Field(default=512, ge=8)
    learning_rate: float = Field(default=0.001, gt=0)
