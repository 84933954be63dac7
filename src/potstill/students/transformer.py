"""Students that are transformers: a sentence-transformers pipeline, trained as it will be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..recipe import Role
from ..teachers.blocks import Blocks, Tap, at_place
from .embedded import Embedded, looked_up, through
from .tokens import Tokens, encode_texts
from .tower import Tower

_TEXTS_PER_CALL = 1024


class TransformerTower(Tower):
    """Transformer, pooling, whatever else the model has, then a bias-free head if its width is not the teacher's.

    Args:
        modules: what a text passes through, the sentence-transformers `Transformer` first; Normalize modules at the end
            are taken off.
        kind: `layers`, `tiny` or `model`.
        dimensions: width of the teacher's vectors.
        normalize: whether they have unit length.
        prompts: text put before the texts of a role.
        max_length: tokens of a text, special ones included; None for the model's own limit.
        seed: of the head's first weights.

    Attributes:
        dropout: whether the model's dropout works in train mode. Off: matching wants the same vector every time.
    """

    padded = True

    def __init__(
        self,
        modules: Sequence[torch.nn.Module],
        *,
        kind: str,
        dimensions: int,
        normalize: bool,
        prompts: Mapping[str, str],
        max_length: int | None,
        seed: int,
    ) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize

        super().__init__()
        kept = list(modules)
        while isinstance(kept[-1], Normalize):
            kept.pop()
        kept += head_for(kept, dimensions, seed)
        if normalize:
            kept.append(Normalize())
        self.kind, self.dimensions, self.normalize = kind, dimensions, normalize
        self.prompts = {role: text for role, text in prompts.items() if text}
        self.dropout = False
        self.model: Any = SentenceTransformer(modules=kept, device="cpu").float()
        if max_length is not None:
            self.model[0].max_seq_length = max_length
        self._backend = _backend(self.model[0].tokenizer, self.model.max_seq_length)

    def train(self, mode: bool = True) -> TransformerTower:
        """Switch to train mode; dropout only if `dropout` says so."""
        super().train(mode)
        self.model.train(mode and self.dropout)
        return self

    def tokens(self, texts: Sequence[str], role: Role = "query") -> Tokens:
        """Tokenise with special tokens; texts longer than the maximum are cut and counted."""
        prompt = self.prompts.get(role, "")
        lower = bool(getattr(self.model[0], "do_lower_case", False))
        excluded = self._prompt_tokens(prompt)
        parts = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = [prompt + text for text in texts[start : start + _TEXTS_PER_CALL]]
            if lower:
                chunk = [text.lower() for text in chunk]
            encodings = encode_texts(self._backend, chunk, special=True)
            cut = sum(bool(encoding.overflowing) for encoding in encodings)
            parts.append(Tokens.of([encoding.ids for encoding in encodings], cut, prompt=excluded))
        return Tokens.join(parts)

    def forward(self, tokens: Tokens) -> Tensor:
        """Vectors `(n, d)`; the batch is padded to its longest text."""
        return self._read(*self._padded(tokens), tokens.prompt)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self._blocks.depth

    def layered(self, tokens: Tokens, taps: Sequence[Tap]) -> tuple[Tensor, Tensor]:
        """Vectors `(n, d)`, and those of chosen blocks `(n, k, w)`, float32 and as they are; one pass for both."""
        ids, mask = self._padded(tokens)
        places = sorted({tap.place for tap in taps})

        def keep(hidden: Tensor) -> Tensor:
            return torch.stack([at_place(hidden, mask, place) for place in places])

        with self._blocks.taken([tap.block for tap in taps], keep) as found:
            vectors = self._read(ids, mask, tokens.prompt)
        layers = [found[tap.block][places.index(tap.place)] for tap in taps]
        return vectors, torch.stack(layers, dim=1).float()

    def vocabulary(self) -> dict[str, int]:
        """Token strings -> ids."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def surroundings(self, role: Role = "query") -> tuple[list[int], list[int]]:
        """Ids before (special ones, the role's prompt) and after every text."""
        from .anatomy import surroundings

        return surroundings(self.model[0].tokenizer, self.prompts.get(role, ""))

    def embed(self, tokens: Tokens) -> Embedded:
        """Word embeddings of the tokens, as wide as the model's table."""
        ids, mask = self._padded(tokens)
        return Embedded(looked_up(self.model[0], ids), mask, tokens.prompt)

    def forward_embedded(self, inputs: Embedded) -> Tensor:
        """Vectors `(n, d)` float32 of texts given as word embeddings."""
        return through(self.model, inputs).float()

    def entry_table(self) -> Tensor:
        """The word embedding of every id `(V, w)`."""
        table = self.model[0].auto_model.get_input_embeddings()
        with torch.no_grad():
            return looked_up(self.model[0], torch.arange(table.num_embeddings, device=table.weight.device))

    def save(self, path: Path, note: Mapping[str, Any]) -> None:
        """Write the pipeline with `potstill.json` and a README; see `Tower.save`."""
        from .saving import save_model

        save_model(self.model, path, note, kind=self.kind, prompts=self.prompts, normalize=self.normalize)

    def _read(self, ids: Tensor, mask: Tensor, prompt: int) -> Tensor:
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if prompt:
            features["prompt_length"] = torch.tensor([prompt])
        for module in self.model:
            features = module(features)
        vectors: Tensor = features["sentence_embedding"]
        return vectors.float()

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks(self.model[0].auto_model)

    def _padded(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        tokenizer = self.model[0].tokenizer
        ids, mask = tokens.padded(tokenizer.pad_token_id or 0, left=tokenizer.padding_side == "left")
        device = next(self.model.parameters()).device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def _prompt_tokens(self, prompt: str) -> int:
        """Ids of the prompt, the leading special ones included, where the pooling leaves them out; else 0."""
        from sentence_transformers.sentence_transformer.modules import Pooling

        from .anatomy import surroundings

        excluding = any(isinstance(module, Pooling) and not module.include_prompt for module in self.model)
        return len(surroundings(self.model[0].tokenizer, prompt)[0]) if prompt and excluding else 0


def head_for(modules: Sequence[torch.nn.Module], dimensions: int, seed: int) -> list[Any]:
    """A bias-free linear map from the modules' width to the teacher's, or nothing where they are equal.

    It starts as an orthonormal map, so that it keeps angles (all of them when it widens).
    """
    from sentence_transformers.sentence_transformer.modules import Dense

    width = next(
        module.get_embedding_dimension()
        for module in reversed(list[Any](modules))
        if hasattr(module, "get_embedding_dimension")
    )
    if width == dimensions:
        return []
    head = Dense(width, dimensions, bias=False, activation_function=torch.nn.Identity())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.nn.init.orthogonal_(head.linear.weight)
    return [head]


def _backend(tokenizer: Any, max_length: int | None) -> Any:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "the student's tokenizer has no fast form",
            where="student",
            fix="give a model with a tokenizer.json, or another kind of student",
        )
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    if max_length is not None and max_length < 10**9:
        copy.enable_truncation(max_length)
    return copy
