"""The static student: one vector per vocabulary entry, averaged over the tokens of a text.

`vector(entry) = scale * weight[entry] * table[entry]`, a text is the mean over its tokens, then an optional bias-free
head `(d, r)`, then unit length if the teacher has it. `scale` is one constant that makes the table's numbers about 1
whatever the teacher's scale is, so that one learning rate serves all. On saving, all three are folded into one table,
and what is written is nothing but sentence-transformers' StaticEmbedding, Dense and Normalize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..recipe import Role
from .embedded import Embedded
from .tokens import Tokens, encode_texts
from .tower import TouchedRows, Tower

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS_PER_CALL = 4096


class StaticTower(Tower):
    """A table and an optional head.

    Args:
        tokenizer: its post-processor, padding and truncation are taken off; ids are rows of the table.
        vectors: float32 `(V, r)` initial vector of every entry, weight not applied.
        weights: float32 `(V,)` initial weight of every entry, about 1 on average over running text.
        head: float32 `(d, r)` initial head, or None when the table is as wide as the teacher.
        normalize: whether the teacher's vectors have unit length.
        unknown: the tokenizer's id for what it does not know; it adds nothing to a text and is not trained.
        max_length: tokens of a text, None for no limit.
        prompts: text put before the texts of a role.
    """

    kind = "static"
    padded = False
    table: Tensor
    weight: Tensor
    scale: Tensor

    def __init__(
        self,
        tokenizer: Tokenizer,
        vectors: np.ndarray,
        weights: np.ndarray,
        head: np.ndarray | None,
        *,
        normalize: bool,
        unknown: int | None,
        max_length: int | None = None,
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if len(vectors) != tokenizer.get_vocab_size() or weights.shape != (len(vectors),):
            raise ValueError("the table and the weights need one row per entry of the tokenizer")
        self.tokenizer = bare(tokenizer)
        self.normalize, self.unknown, self.max_length = normalize, unknown, max_length
        self.prompts = {role: text for role, text in (prompts or {}).items() if text}
        scale = float(np.sqrt(np.mean(np.square(vectors, dtype=np.float64)))) or 1.0
        table = np.array(vectors, dtype=np.float32) / np.float32(scale)
        if unknown is not None:
            table[unknown] = 0.0
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("weight", torch.from_numpy(np.array(weights, dtype=np.float32))[:, None].contiguous())
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.head: torch.nn.Linear | None = None
        if head is not None:
            self.head = torch.nn.Linear(head.shape[1], head.shape[0], bias=False)
            with torch.no_grad():
                self.head.weight.copy_(torch.from_numpy(np.array(head, dtype=np.float32)))
        self.dimensions = int(head.shape[0] if head is not None else table.shape[1])
        self._touched: list[TouchedRows] = []

    def tokens(self, texts: Sequence[str], role: Role = "query") -> Tokens:
        """Tokenise without special tokens; texts longer than `max_length` are cut and counted."""
        prompt = self.prompts.get(role, "")
        parts = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = [prompt + text for text in texts[start : start + _TEXTS_PER_CALL]]
            ids = [encoding.ids for encoding in encode_texts(self.tokenizer, chunk)]
            truncated = 0
            if self.max_length is not None:
                truncated = sum(len(row) > self.max_length for row in ids)
                ids = [row[: self.max_length] for row in ids]
            unknown = sum(all(i == self.unknown for i in row) for row in ids)
            parts.append(Tokens.of(ids, truncated, unknown))
        return Tokens.join(parts)

    def forward(self, tokens: Tokens) -> Tensor:
        """Vectors `(n, d)`. In train mode with gradients on, the rows used are noted for a row-wise optimiser."""
        device = self.table.device
        ids = torch.from_numpy(tokens.ids.astype(np.int64)).to(device)
        offsets = torch.from_numpy(np.ascontiguousarray(tokens.offsets[:-1])).to(device)
        table, factor, places = self._used(ids)
        if len(table) == 0:  # embedding_bag refuses an empty table; every text is empty
            pooled = torch.zeros(len(tokens), self.table.shape[1], device=device)
        else:
            # Weights go in per token, not per row: the scaled table is never written out.
            lengths = torch.from_numpy(np.repeat(tokens.lengths, tokens.lengths).astype(np.float32)).to(device)
            share = factor.index_select(0, places) / lengths
            pooled = F.embedding_bag(places, table, offsets, mode="sum", per_sample_weights=share)
        return self._finished(pooled)

    def vocabulary(self) -> dict[str, int]:
        """Token strings -> ids, phrases included."""
        return dict(self.tokenizer.get_vocab(with_added_tokens=True))

    def surroundings(self, role: Role = "query") -> tuple[list[int], list[int]]:
        """Ids of the role's prompt, and nothing after the text."""
        prompt = self.prompts.get(role, "")
        return (list(self.tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else []), []

    def embed(self, tokens: Tokens) -> Embedded:
        """`vector(entry)` of every token, padded `(n, t, r)`. The rows used are noted as `forward` notes them."""
        device = self.table.device
        table, factor, places = self._used(torch.from_numpy(tokens.ids.astype(np.int64)).to(device))
        mask = torch.from_numpy(tokens.padded(0)[1]).to(device)
        vectors = torch.zeros(*mask.shape, self.table.shape[1], device=device)
        vectors[mask > 0] = (factor[:, None] * table).index_select(0, places)  # ids lie in the mask's own order
        return Embedded(vectors, mask)

    def forward_embedded(self, inputs: Embedded) -> Tensor:
        """The mean over the tokens, then what `forward` does after it: linear up to the unit length."""
        mask = inputs.mask.to(inputs.vectors.dtype)
        total = (inputs.vectors * mask[:, :, None]).sum(dim=1)
        return self._finished(total / mask.sum(dim=1, keepdim=True).clamp(min=1))

    def entry_table(self) -> Tensor:
        """`vector(entry)` of every entry `(V, r)`."""
        return self.table * self._factor(self.weight, torch.arange(len(self.table), device=self.table.device))[:, None]

    def named_tables(self) -> dict[str, Tensor]:
        """`table (V, r)` and `weight (V, 1)`."""
        return {"table": self.table, "weight": self.weight}

    def touched(self) -> list[TouchedRows]:
        """Two entries a forward pass: of `table` and of `weight`."""
        return list(self._touched)

    def clear_touched(self) -> None:
        """Forget what forward passes have used."""
        self._touched.clear()

    def folded(self) -> Tensor:
        """The table as it is saved, float32 `(V, r)`: weights and scale multiplied in, the unknown entry zero."""
        return self.entry_table().cpu().contiguous()

    def _used(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows `(k, r)` that ids use, what each is multiplied by `(k,)`, and the place of each id among them."""
        rows, places = torch.unique(ids, return_inverse=True)
        table, weight = self.table.index_select(0, rows), self.weight.index_select(0, rows)
        if self.training and torch.is_grad_enabled():
            table.requires_grad_()
            weight.requires_grad_()
            self._touched.append(TouchedRows(self.table, rows, table))
            self._touched.append(TouchedRows(self.weight, rows, weight))
        return table, self._factor(weight, rows), places

    def _factor(self, weight: Tensor, rows: Tensor) -> Tensor:
        factor = (weight * self.scale).squeeze(1)
        return factor if self.unknown is None else factor * (rows != self.unknown)

    def _finished(self, pooled: Tensor) -> Tensor:
        out = pooled if self.head is None else self.head(pooled)
        return F.normalize(out, dim=1) if self.normalize else out

    def save(self, path: Path, note: Mapping[str, Any]) -> None:
        """Write StaticEmbedding (+ Dense) (+ Normalize) with `potstill.json` and a README; see `Tower.save`."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding
        from tokenizers import Tokenizer

        from .saving import save_model

        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        if self.max_length is not None:
            tokenizer.enable_truncation(self.max_length)
        modules: list[torch.nn.Module] = [StaticEmbedding(tokenizer, embedding_weights=self.folded())]
        if self.head is not None:
            head = self.head.weight.detach().cpu().clone()
            dense = Dense(head.shape[1], head.shape[0], bias=False, activation_function=torch.nn.Identity())
            dense.linear.weight = torch.nn.Parameter(head)
            modules.append(dense)
        if self.normalize:
            modules.append(Normalize())
        model = SentenceTransformer(modules=modules, device="cpu")
        save_model(model, path, note, kind=self.kind, prompts=self.prompts, normalize=self.normalize)


def bare(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that adds no special tokens, pads nothing and cuts nothing.

    Raises:
        InputError: the tokenizer cannot be used without its Python code.
    """
    import json

    from tokenizers import Tokenizer

    try:
        state = json.loads(tokenizer.to_str())
    except Exception as error:  # a pre-tokenizer or normaliser written in Python cannot be saved
        raise InputError(
            f"the tokenizer cannot be saved as tokenizer.json: {error}",
            fix="use a student with `vocabulary: corpus`, which trains a tokenizer of its own",
        ) from None
    state.update(post_processor=None, padding=None, truncation=None)
    return Tokenizer.from_str(json.dumps(state))
