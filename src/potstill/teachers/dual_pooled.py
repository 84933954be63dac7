"""Dual pooling (EmbedDistill, arXiv 2301.12005, section 4.2): a cross-encoder that gives two vectors for a pair.

It reads "[CLS] query [SEP] document [SEP]" jointly and pools the last layer twice: over the query's tokens and over the
document's. The score of the pair is the inner product of the two, so a student's query vector can be matched to the
first and its document vector to the second.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..atomic import replacing_folder, write_json
from ..errors import InputError
from .base_encoder import inputs, load_base, save_tokenizer
from .pair_tokens import PairIds, PairTokenizer

NOTE = "dual_pooled.json"
_FORMAT = 1
_SPEED = 100.0  # the scale's logarithm moves so much faster than a weight, whose learning rates would hardly move it

SidePooling = Literal["mean", "first"]


class DualPooledModel(torch.nn.Module):
    """An encoder, read twice.

    Args:
        encoder: a transformers encoder.
        tokenizer: its tokenizer.
        pairs: joins pairs for it.
        pooling: of each side's tokens: their mean, or the first of them.
        normalize: whether vectors are brought to unit length.
        scale: what `logits` multiplies scores by; None: 10 for unit vectors, else 0.1. With these the
            scores of an untrained MiniLM spread by less than a logit within a list, and the loss starts low.
    """

    kind = "dual-pooled"

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        pairs: PairTokenizer,
        *,
        pooling: SidePooling = "mean",
        normalize: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.pairs = encoder, tokenizer, pairs
        self.pooling, self.normalize = pooling, normalize
        self._start = math.log(scale or (10.0 if normalize else 0.1))
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    @classmethod
    def from_base(
        cls,
        base: str | Path,
        *,
        max_length: int = 128,
        pooling: SidePooling = "mean",
        normalize: bool = True,
        scale: float | None = None,
        revision: str | None = None,
    ) -> DualPooledModel:
        """Start from any encoder, warm: a bi-encoder's transformer has pooled tokens by their mean before.

        Raises:
            InputError: see `load_base`.
        """
        loaded = load_base(base, head="none", max_length=max_length, revision=revision)
        return cls(*loaded, pooling=pooling, normalize=normalize, scale=scale)

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None, dtype: str = "float32") -> DualPooledModel:
        """Read what `save` wrote; in eval mode.

        Args:
            folder: the model's folder, or that of the run which made it.
            max_length: in place of the saved one.
            dtype: precision of weights and computation.

        Raises:
            InputError: there is no such model, or it is broken.
        """
        path = found(folder)
        try:
            note = json.loads((path / NOTE).read_text(encoding="utf-8"))
            if note["format"] != _FORMAT:
                raise InputError(f"its format is {note['format']}, not {_FORMAT}", where=str(path), fix="train it anew")
            pooling, normalize = note["pooling"], bool(note["normalize"])
            length, scale = int(max_length or note["max_length"]), float(note["scale"])
            if pooling not in ("mean", "first") or not 0 < scale < math.inf:
                raise ValueError(f"pooling {pooling}, scale {scale}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read {NOTE}: {error}", where=str(path), fix="train the teacher anew") from None
        loaded = load_base(path, head="none", max_length=length, dtype=getattr(torch, dtype))
        return cls(*loaded, pooling=pooling, normalize=normalize, scale=scale).eval()

    @property
    def dimensions(self) -> int:
        """Width d of each vector."""
        return int(self.encoder.config.hidden_size)

    @property
    def scale(self) -> Tensor:
        """What training multiplies scores by before the softmax, learned; its inverse is a temperature."""
        # The value moves `_SPEED` times as fast as the parameter while the gradient, which is clipped, stays its own.
        moved = self.log_scale + (_SPEED - 1.0) * self.log_scale.detach()
        scale: Tensor = (moved + self._start).exp()
        return scale

    def forward(self, pairs: PairIds) -> tuple[Tensor, Tensor]:
        """The two vectors of each pair, float32 `(n, d)`: query's side, document's; 0 for a side of no tokens."""
        device = self.encoder.device
        hidden = self.encoder(**inputs(pairs, self.pairs.takes_types, device)).last_hidden_state.float()
        query, document = (
            _pooled(hidden, torch.from_numpy(side).to(device), self.pooling) for side in (pairs.query, pairs.document)
        )
        if self.normalize:
            query, document = (torch.nn.functional.normalize(side, dim=1) for side in (query, document))
        return query, document

    def scores(self, pairs: PairIds) -> Tensor:
        """The inner product of each pair's two vectors, float32 `(n,)`."""
        query, document = self(pairs)
        products: Tensor = (query * document).sum(dim=1)
        return products

    def logits(self, pairs: PairIds) -> Tensor:
        """Scores times the scale, which is what the softmax of training sees, float32 `(n,)`."""
        return self.scores(pairs) * self.scale

    def save(self, folder: str | Path) -> None:
        """Write a folder, whole or not at all: what transformers saves of an encoder, and `dual_pooled.json`."""
        note = {
            "format": _FORMAT,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.pairs.max_length,
            "dimensions": self.dimensions,
            "scale": float(self.scale.detach()),
        }
        with replacing_folder(Path(folder)) as path:
            self.encoder.save_pretrained(str(path))
            save_tokenizer(self.tokenizer, self.pairs.max_length, path)
            write_json(path / NOTE, note)
            (path / "README.md").write_text(_README, encoding="utf-8")


def found(folder: str | Path) -> Path:
    """The model's folder, given it or the folder of the run which made it.

    Raises:
        InputError: neither.
    """
    for path in (Path(folder), Path(folder) / "model"):
        if (path / NOTE).is_file():
            return path
    raise InputError(
        f"this is no dual-pooled teacher (there is no {NOTE})",
        where=str(folder),
        fix="make one with `potstill teach dual-pooled`, or choose kind: cross-encoder",
    )


def _pooled(hidden: Tensor, mask: Tensor, pooling: SidePooling) -> Tensor:
    """`(n, L, d)` under a mask `(n, L)` to `(n, d)`."""
    if pooling == "first":
        mask = mask & (mask.cumsum(dim=1) == 1)
    weights = mask.float()
    # What is masked may hold anything, but 0 times NaN is NaN: selected, not multiplied.
    kept = hidden.masked_fill(~mask.unsqueeze(2), 0.0)
    return kept.sum(dim=1) / weights.sum(dim=1, keepdim=True).clamp(min=1.0)


_README = """# Dual-pooled cross-encoder trained with Potstill

Reads a query and a document together and gives a vector for each; their inner product is the score.

```python
from potstill.teachers.dual_pooled import DualPooledModel

model = DualPooledModel.load("PATH")
```
"""
