"""The graph of a transformer student, traced by torch: transformer, pooling, head, unit length, all of it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, MissingExtra

INPUTS = ("input_ids", "attention_mask")


class EncoderGraph(torch.nn.Module):
    """What a sentence-transformers model makes of token ids, padded on the right.

    Args:
        modules: what a text passes through; the first is the transformer.
        types: whether the transformer reads segments (they are zeros).
        prompt: ids at the start of a text that the pooling leaves out.
        dimensions: the vector is cut there; None: it is not.
        normalize: whether a cut vector gets unit length again.
    """

    def __init__(
        self, modules: Sequence[torch.nn.Module], *, types: bool, prompt: int, dimensions: int | None, normalize: bool
    ) -> None:
        super().__init__()
        self.steps = torch.nn.ModuleList(modules)
        self.types, self.prompt, self.dimensions, self.normalize = types, prompt, dimensions, normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors float32 `(n, d)` of ids and mask, int64 `(n, t)`."""
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.types:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        for number, module in enumerate(self.steps):
            features = module(features)
            if number == 0 and self.prompt:
                own = torch.arange(input_ids.shape[1], device=input_ids.device) >= self.prompt
                features["attention_mask"] = attention_mask * own[None, :]
        vectors: Tensor = features["sentence_embedding"].float()
        if self.dimensions is not None:
            vectors = vectors[:, : self.dimensions]
            if self.normalize:
                vectors = F.normalize(vectors, dim=1)
        return vectors


class RankerGraph(torch.nn.Module):
    """What a sequence classifier of one label makes of the token ids of pairs.

    Args:
        model: gives `logits (n, 1)`.
        types: whether it reads segments.
        separator: the id after which the second segment begins; None: there is one segment only.
    """

    def __init__(self, model: torch.nn.Module, *, types: bool, separator: int | None) -> None:
        super().__init__()
        self.model, self.types, self.separator = model, types, separator

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores float32 `(n,)` of ids and mask, int64 `(n, t)`."""
        more = {}
        if self.types:
            more["token_type_ids"] = torch.zeros_like(input_ids)
            if self.separator is not None:
                ends = (input_ids == self.separator).to(torch.int64)
                passed = torch.cumsum(ends, dim=1) - ends
                more["token_type_ids"] = passed.clamp(max=1) * attention_mask
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        return logits[:, 0].float()


def traced(graph: torch.nn.Module, output: str) -> Any:
    """An ONNX model of the graph for any number of texts and any length.

    Raises:
        InputError: torch cannot trace the model.
        MissingExtra: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401  torch's exporter is built on it
    except ImportError:
        raise MissingExtra("onnxscript", "onnx") from None

    ids = torch.ones(3, 7, dtype=torch.int64)
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[1, 4:] = 0
    free = {name: {0: "n", 1: "t"} for name in INPUTS}
    graph.eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (ids, mask),
                input_names=list(INPUTS),
                output_names=[output],
                dynamic_shapes=free,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        return program.model_proto
    except MissingExtra:
        raise
    except Exception as error:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise InputError(
            f"torch cannot trace this model: {told}",
            fix="export a static, layers or tiny student, or a model of transformer, pooling, dense and normalise",
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's running commentary; what goes wrong is raised."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
