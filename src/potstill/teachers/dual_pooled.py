"""Dual pooling (EmbedDistill, arXiv 2301.12005, section 4.2): a cross-encoder that gives two vectors for a pair.

It reads "[CLS] query [SEP] document [SEP]" jointly and pools the last layer twice: over the query's tokens and over the
document's. The score of the pair is the inner product of the two, so a student's query vector can be matched to the
first and its document vector to the second.

Our own addition, the default: where the base is a bi-encoder, the teacher should begin as good as it. So each text
keeps the template and the positions that it has alone, "[CLS] query [SEP] [CLS] document [SEP]", and attention from one
text to the other starts damped: `damping` nats are taken off its logits in every layer, from where training may raise
it. An infinite damping would be the bi-encoder itself; None is the plain joint pass.
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

_NO_ATTENTION = 1e4  # nats
DAMPING = 3.0
"""A token of the other text then counts a twentieth of one of the own."""

SidePooling = Literal["mean", "first"]


class DualPooledModel(torch.nn.Module):
    """An encoder, read twice.

    Args:
        encoder: a transformers encoder.
        tokenizer: its tokenizer.
        pairs: joins pairs for it.
        pooling: of each side's tokens: their mean, or the first of them.
        normalize: whether vectors are brought to unit length.
        scale: what `logits` multiplies scores by; None: 20 for unit vectors, else 1.
        damping: nats taken off attention between the texts, which `pairs` must then keep apart; None: the plain pass.
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
        damping: float | None = None,
    ) -> None:
        super().__init__()
        if pairs.apart != (damping is not None):
            raise ValueError("texts are kept apart where attention between them is damped, and only there")
        self.damping = damping
        self.encoder, self.tokenizer, self.pairs = encoder, tokenizer, pairs
        self.pooling, self.normalize = pooling, normalize
        self._start = math.log(scale or (20.0 if normalize else 1.0))
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
        damping: float | None = DAMPING,
        revision: str | None = None,
    ) -> DualPooledModel:
        """Start from any encoder, warm: a bi-encoder's transformer has pooled tokens by their mean before.

        Raises:
            InputError: see `load_base`.
        """
        loaded = load_base(base, head="none", max_length=max_length, revision=revision, apart=damping is not None)
        if damping is not None:
            _require_apart(cls(*loaded, pooling="mean", damping=_NO_ATTENTION), base)
        return cls(*loaded, pooling=pooling, normalize=normalize, scale=scale, damping=damping)

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
            damping = None if note["damping"] is None else float(note["damping"])
            if pooling not in ("mean", "first") or not 0 < scale < math.inf or not 0 <= (damping or 0.0) < math.inf:
                raise ValueError(f"pooling {pooling}, scale {scale}, damping {damping}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read {NOTE}: {error}", where=str(path), fix="train the teacher anew") from None
        apart = damping is not None
        loaded = load_base(path, head="none", max_length=length, dtype=getattr(torch, dtype), apart=apart)
        return cls(*loaded, pooling=pooling, normalize=normalize, scale=scale, damping=damping).eval()

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
        given = inputs(pairs, self.pairs.takes_types, device)
        if self.damping is not None:
            given |= self._apart(pairs, device)
        hidden = self.encoder(**given).last_hidden_state.float()
        query, document = (
            _pooled(hidden, torch.from_numpy(side).to(device), self.pooling) for side in (pairs.query, pairs.document)
        )
        if self.normalize:
            query, document = (torch.nn.functional.normalize(side, dim=1) for side in (query, document))
        return query, document

    def _apart(self, pairs: PairIds, device: torch.device) -> dict[str, Tensor]:
        """Positions of each text from 0 `(n, L)`, and what is added to the attention's logits `(n, 1, L, L)`."""
        assert self.damping is not None
        query, document = (torch.from_numpy(side).to(device) for side in (pairs.query, pairs.document))
        places = torch.where(document, document.cumsum(dim=1), query.cumsum(dim=1)).sub(1).clamp(min=0)
        places = places + _first_position(self.encoder)
        across = query.unsqueeze(2) ^ query.unsqueeze(1)
        bias = across * -self.damping
        lowest = torch.finfo(self.encoder.dtype).min
        bias = bias.to(self.encoder.dtype).masked_fill(~(query | document).unsqueeze(1), lowest)
        return {"position_ids": places, "attention_mask": bias.unsqueeze(1)}

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
            "damping": self.damping,
        }
        with replacing_folder(Path(folder)) as path:
            self.encoder.save_pretrained(str(path))
            save_tokenizer(self.tokenizer, self.pairs.max_length, path)
            write_json(path / NOTE, note)
            (path / "README.md").write_text(_README, encoding="utf-8")


def _first_position(encoder: Any) -> int:
    """The position of a text's first token: RoBERTa and its kin number from padding_idx + 1 on."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


@torch.no_grad()
def _require_apart(model: DualPooledModel, base: str | Path) -> None:
    """See that without attention between them each text is read as if it were alone.

    Raises:
        InputError: the encoder attends or numbers positions in a way of its own.
    """
    config = model.encoder.config
    local = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None)
    texts = ("water", "a cask of malt and yeast")
    ids = model.pairs.ids(texts)
    try:
        sides = model(model.pairs.join(ids[:1], ids[1:]))
        alone = [
            model.encoder(**model.tokenizer(text, return_tensors="pt")).last_hidden_state.mean(dim=1) for text in texts
        ]
        alike = all(float(torch.cosine_similarity(a, b.float())) > 0.999 for a, b in zip(sides, alone, strict=True))
    except (RuntimeError, ValueError, TypeError, IndexError):
        alike = False
    if local or not alike:
        raise InputError(
            "attention between the two texts cannot be damped in this encoder, which attends in a way of its own",
            where=str(base),
            fix="teach it from the plain joint pass: --set damping=null",
        )


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
