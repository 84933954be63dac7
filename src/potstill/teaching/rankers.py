"""What is trained: a model that gives each pair one logit, and can write itself to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..atomic import replacing_folder
from ..errors import InputError
from ..teachers.base_encoder import inputs, load_base, save_tokenizer
from ..teachers.dual_pooled import DualPooledModel
from ..teachers.load_report import without_bars
from ..teachers.pair_tokens import PairIds, PairTokenizer

if TYPE_CHECKING:
    from ..recipe import TeachSpec


class CrossEncoderModel(torch.nn.Module):
    """One logit from the pooled first token, as every sequence classifier of transformers computes it.

    What it saves loads as `sentence_transformers.CrossEncoder(folder)` and gives the same logits there: no sigmoid, and
    pairs are cut alike.
    """

    kind = "cross-encoder"

    def __init__(self, model: Any, tokenizer: Any, pairs: PairTokenizer) -> None:
        super().__init__()
        self.model, self.tokenizer, self.pairs = model, tokenizer, pairs

    @classmethod
    def from_base(
        cls, base: str | Path, *, max_length: int = 128, seed: int = 0, revision: str | None = None
    ) -> CrossEncoderModel:
        """Start from any encoder; the head is random, from `seed`, unless the base is a one-logit classifier already.

        Raises:
            InputError: see `load_base`.
        """
        loaded = load_base(base, head="classifier", max_length=max_length, seed=seed, revision=revision)
        if loaded[0].config.num_labels != 1:
            raise InputError(
                f"the base is a classifier of {loaded[0].config.num_labels} labels",
                where=str(base),
                fix="give an encoder, or a classifier of one label",
            )
        return cls(*loaded)

    def logits(self, pairs: PairIds) -> Tensor:
        """Logit of each pair, float32 `(n,)`."""
        out: Tensor = self.model(**inputs(pairs, self.pairs.takes_types, self.model.device)).logits
        return out.float().squeeze(1)

    def save(self, folder: str | Path) -> None:
        """Write a folder, whole or not at all, as transformers saves a sequence classifier."""
        self.model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
        with replacing_folder(Path(folder)) as path:
            with without_bars():
                self.model.save_pretrained(str(path))
            save_tokenizer(self.tokenizer, self.pairs.max_length, path)
            (path / "README.md").write_text(_README, encoding="utf-8")


Ranker = CrossEncoderModel | DualPooledModel


def untrained(spec: TeachSpec) -> Ranker:
    """The model that a specification starts from.

    Raises:
        InputError: the base will not do.
    """
    if spec.kind == "dual-pooled":
        return DualPooledModel.from_base(
            spec.base,
            max_length=spec.max_length,
            pooling=spec.pooling,
            normalize=spec.normalize,
            scale=spec.scale,
            damping=spec.damping,
            revision=spec.revision,
        )
    return CrossEncoderModel.from_base(
        spec.base, max_length=spec.max_length, seed=spec.training.seed, revision=spec.revision
    )


_README = """# Cross-encoder trained with Potstill

Reads a query and a document together and gives a logit; higher is better.

```python
from sentence_transformers import CrossEncoder

logits = CrossEncoder("PATH").predict([("a query", "a document")])
```
"""
