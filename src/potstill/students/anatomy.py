"""What students take from a teacher: its tokenizer, its width, and what it says about single vocabulary entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..progress import meter
from ..recipe import Role
from .tokens import Tokens

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ..teachers.teacher import VectorTeacher

_TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class Anatomy:
    """One role of a teacher, opened up.

    Attributes:
        teacher: the teacher itself.
        role: whose texts the student will encode.
        encoder: the model on this machine, or None (a service, vectors on disk).
        modules: what a text of the role passes through, in order; empty without `encoder`.
        dimensions: width of its vectors.
        normalize: whether its vectors have unit length.
        prompt: what it puts before a text of the role.
    """

    teacher: VectorTeacher
    role: Role
    encoder: SentenceTransformer | None
    modules: tuple[torch.nn.Module, ...]
    dimensions: int
    normalize: bool
    prompt: str

    @property
    def tokenizer(self) -> Any | None:
        """A copy of the role's `tokenizers.Tokenizer`, or None where there is no fast one."""
        from ..teachers.sentence_encoder import backend_tokenizer

        return None if self.encoder is None else backend_tokenizer(self.encoder, self.role)

    @property
    def transformer(self) -> Any | None:
        """The sentence-transformers `Transformer` module at the front, or None where there is none."""
        from sentence_transformers.sentence_transformer.modules import Transformer

        return self.modules[0] if self.modules and isinstance(self.modules[0], Transformer) else None


def open_up(teacher: VectorTeacher, role: Role) -> Anatomy:
    """Look into one role of a teacher. What a service does not say (unit length) is read off its metric."""
    from ..teachers.sentence_encoder import modules_for

    encoder = teacher.encoder(role)
    said = teacher.fingerprint(role)
    normalize = said.normalize if said.normalize is not None else teacher.metric == "cosine"
    modules = tuple(modules_for(encoder, role)) if encoder is not None else ()
    return Anatomy(teacher, role, encoder, modules, teacher.dimensions, bool(normalize), said.prompt or "")


def entry_vectors(anatomy: Anatomy, entries: Sequence[Sequence[int]]) -> np.ndarray:
    """The teacher's vector of each entry as if it were a whole text, float32 `(n, d)`.

    An entry is given as the teacher's own token ids, so that the middle of a word (`##ing`) is read as just that; the
    role's prompt and the special tokens are put around it. Computed in bfloat16 where the processor has the units for
    it: what training starts from need not be exact. Entries without ids get zeros.
    """
    if not anatomy.modules:
        raise ValueError("the teacher has no model on this machine")
    transformer = anatomy.transformer
    before: list[int] = []
    after: list[int] = []
    pad, left = 0, False
    if transformer is not None:
        before, after = surroundings(transformer.tokenizer, anatomy.prompt)
        pad, left = transformer.tokenizer.pad_token_id or 0, transformer.tokenizer.padding_side == "left"
    device = next(anatomy.modules[0].parameters()).device
    out = np.zeros((len(entries), anatomy.dimensions), dtype=np.float32)
    filled = [row for row in range(len(entries)) if len(entries[row])]
    filled.sort(key=lambda row: len(entries[row]))
    with meter("student: first vectors of vocabulary entries", len(filled), "entries") as progress:
        start = 0
        while start < len(filled):
            longest = len(before) + len(after) + len(entries[filled[start]])
            rows = filled[start : start + max(1, _TOKENS_PER_BATCH // longest)]
            tokens = Tokens.of([[*before, *entries[row], *after] for row in rows])
            features: dict[str, Any]
            if transformer is not None:
                ids, mask = tokens.padded(pad, left=left)
                features = {"input_ids": ids, "attention_mask": mask}
            else:
                features = {"input_ids": tokens.ids.astype(np.int64), "offsets": tokens.offsets[:-1]}
            features = {name: torch.from_numpy(np.ascontiguousarray(a)).to(device) for name, a in features.items()}
            if anatomy.prompt and before:
                features["prompt_length"] = torch.tensor([len(before)])
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device)):
                for module in anatomy.modules:
                    features = module(features)
            vectors = features["sentence_embedding"].float().cpu().numpy()
            out[rows] = vectors[:, : anatomy.dimensions]
            progress.advance(len(rows))
            start += len(rows)
    return out


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: an accelerator, or a processor with matrix tiles."""
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def surroundings(tokenizer: Any, prompt: str) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before (with the prompt's) and after a text."""
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    place = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    asked = tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []
    return [*whole[:place], *asked], list(whole[place + len(plain) :])
