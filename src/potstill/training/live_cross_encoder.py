"""A cross-encoder in the training process: each block's output through the model's own head."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..students.tokens import Tokens
from ..teachers.base_encoder import inputs, save_tokenizer
from ..teachers.blocks import Blocks, Tap
from ..teachers.cross_encoder import CrossEncoderScorer
from ..teachers.joint_vectors import encoder_of
from ..teachers.pair_tokens import PairTokenizer
from .passes import Parts, Pass, Values
from .rankers import Asked, Ranked, Ranker, ReadTexts


class LiveCrossEncoder(Ranker):
    """Reads each query with its own candidates.

    Args:
        scorer: an open cross-encoder; its weights are copied.
        trained: see `Ranker`.

    Raises:
        InputError: it is no sequence classifier with a body and a head, or reads pairs by a chat template.
    """

    kind = "cross-encoder"
    reads_pairs = True

    def __init__(self, scorer: CrossEncoderScorer, *, trained: bool) -> None:
        super().__init__(scorer.name, trained=trained)
        if encoder_of(scorer.model) is None or "message" in scorer.model.modalities:
            raise InputError(
                f"{scorer.name} is no encoder with a head on top: its layers have no scores",
                where="objectives",
                fix="give a sequence classifier, or learn from its scores alone: scores:kl",
            )
        module: Any = scorer.model[0]
        self.model: Any = copy.deepcopy(module.auto_model).float()
        self.label, self.prompt, self.document_prompt = scorer.label, scorer.prompt, scorer.document_prompt
        self.tokenizer = module.tokenizer
        self.max_length = scorer.max_length or int(self.model.config.max_position_embeddings)
        self.pairs = PairTokenizer(self.tokenizer, self.max_length)
        self._blocks = Blocks(self.model.base_model)

    @property
    def depth(self) -> int:
        """Blocks."""
        return self._blocks.depth

    def read(self, queries: Sequence[str], documents: Sequence[str], rows: np.ndarray) -> ReadTexts:
        """Tokenise each text once; they are joined, and cut, in the batch."""
        first, second = (
            Tokens.of([ids.tolist() for ids in self.pairs.ids([prompt + text for text in texts])])
            for prompt, texts in ((self.prompt, queries), (self.document_prompt, documents))
        )
        return ReadTexts(first, second, rows)

    def passes(self, batch: Asked) -> list[Pass]:
        """All pairs."""
        query, column = np.nonzero(batch.columns >= 0)
        document = batch.columns[query, column]

        def run(start: int, stop: int) -> Parts:
            joined = self.pairs.join(
                [batch.queries[row] for row in query[start:stop].tolist()],
                [batch.documents[row] for row in document[start:stop].tolist()],
            )
            with nullcontext() if self.trained else torch.no_grad():
                return self.scores(inputs(joined, self.pairs.takes_types, self.device), batch.taps)

        return [Pass(self.name, len(query), run)]

    def scores(self, features: Mapping[str, Tensor], taps: Sequence[Tap]) -> Parts:
        """Logits `(n,)` of pairs, and with taps those of blocks `(n, k)`, float32."""
        blocks = [tap.block for tap in taps]
        with self._blocks.taken(blocks, lambda hidden: hidden) as found:
            last = self.model(**features).logits[:, self.label].float()
        if not taps:
            return (last,)
        layers = []
        for block in blocks:
            with _instead(self.model, found[block]):
                layers.append(self.model(**features).logits[:, self.label].float())
        return last, torch.stack(layers, dim=1)

    def ranked(self, values: Values, batch: Asked) -> Ranked:
        """Scores in the columns of the lists; 0 where a list has no candidate."""
        last, *layers = values[self.name]
        mask = torch.from_numpy(batch.columns >= 0).to(last.device)
        held = [last.new_zeros(mask.shape).masked_scatter(mask, one) for one in layers[0].unbind(1)] if layers else []
        whole = torch.stack(held) if held else last.new_zeros(0)
        return Ranked(last.new_zeros(mask.shape).masked_scatter(mask, last), whole)

    def save(self, folder: Path, note: Mapping[str, Any]) -> None:
        """A folder that sentence-transformers' CrossEncoder loads."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(str(folder))
        save_tokenizer(copy.deepcopy(self.tokenizer), self.max_length, folder)


class _Given(torch.nn.Module):
    """Stands where a classifier's body stands, and says that its last block gave this."""

    def __init__(self, body: Any, hidden: Tensor) -> None:
        super().__init__()
        self.hidden, self.config = hidden, body.config
        self._after = (getattr(body, "final_norm", None), getattr(body, "pooler", None))

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        norm, pooler = self._after
        hidden = self.hidden if norm is None else norm(self.hidden)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden, pooler_output=None if pooler is None else pooler(hidden)
        )


@contextmanager
def _instead(classifier: Any, hidden: Tensor) -> Iterator[None]:
    """Inside, the classifier's head reads `hidden (n, t, w)` whatever the input: the same head for every block."""
    prefix = classifier.base_model_prefix
    body = classifier._modules[prefix]
    classifier._modules[prefix] = _Given(body, hidden)
    try:
        yield
    finally:
        classifier._modules[prefix] = body
