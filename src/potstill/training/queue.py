"""A first-in, first-out bank of teacher vectors: those of the last texts that came by."""

from __future__ import annotations

import torch
from torch import Tensor


class VectorQueue(torch.nn.Module):
    """The last `size` vectors, with the identity of each one's text.

    It starts empty: only rows that were filled are seen. A batch of any size wraps around; all of it is state, so that
    it is in every checkpoint. Where several processes train together each pushes the whole, gathered batch, and all
    hold the same queue.

    Args:
        size: rows K.
        dimensions: width d.
    """

    rows: Tensor
    ids: Tensor
    pushed: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue has at least 1 row, not {size}")
        self.size = size
        self.register_buffer("rows", torch.zeros(size, dimensions))
        self.register_buffer("ids", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    @property
    def pointer(self) -> int:
        """The row that the next vector is written to."""
        return int(self.pushed) % self.size

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor) -> None:
        """Write a batch over the oldest rows; of more than `size` vectors the last ones stay.

        Args:
            vectors: (n, d) of any float type.
            ids: (n,) integers, equal for equal texts.
        """
        if len(vectors) != len(ids):
            raise ValueError(f"{len(vectors)} vectors and {len(ids)} ids")
        skipped = max(len(vectors) - self.size, 0)
        places = (int(self.pushed) + torch.arange(skipped, len(vectors), device=self.rows.device)) % self.size
        self.rows[places] = vectors[skipped:].detach().to(self.rows)
        self.ids[places] = ids[skipped:].to(self.ids)
        self.pushed += len(vectors)

    def filled(self) -> tuple[Tensor, Tensor]:
        """The (m, d) rows that were written so far and their (m,) ids, m at most `size`."""
        count = min(int(self.pushed), self.size)
        return self.rows[:count], self.ids[:count]
