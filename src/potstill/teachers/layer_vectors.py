"""What a dual encoder's blocks make of texts, as a signal: one row a text, the vectors of all blocks end to end.

Layer signals are what LEAD (arXiv 2212.05225) aligns. All blocks are kept, because random layer maps want any of them:
a text costs depth x width numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..recipe import Role
from ..signals import Fingerprint
from .bi_encoder import BiEncoderTeacher
from .blocks import Blocks, Place, at_place
from .teacher import VectorTeacher


class LayerVectors:
    """Fills tables of layers from a teacher on this machine; see `VectorSource`.

    Args:
        teacher: a bi-encoder, or one with vectors on disk beside its model.
        place: where each block is read.

    Attributes:
        depth: blocks of a row.
        width: numbers of each.

    Raises:
        InputError: the teacher is a service, vectors on disk alone, no transformer, or has two models of unequal shape.
    """

    recomputable = True

    def __init__(self, teacher: VectorTeacher, place: Place) -> None:
        self._teacher, self.place = _model_of(teacher), place
        shapes = set()
        roles: tuple[Role, Role] = ("query", "document")
        for role in roles:
            transformer = self._transformer(role)
            shapes.add((Blocks(transformer).depth, int(transformer.config.hidden_size)))
        if len(shapes) > 1:
            raise _unfit(teacher, "its two models have blocks of unequal number or width")
        ((self.depth, self.width),) = shapes

    def fingerprint(self, role: Role) -> Fingerprint:
        """Identity of the layers: that of the model, and where its blocks are read."""
        said = self._teacher.fingerprint(role)
        extra = (*said.extra, ("signal", "layers"), ("place", self.place))
        return replace(said, normalize=False, dimensions=self.depth * self.width, extra=extra)

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """(n, depth * width) float32, not normalised, block by block."""
        import torch

        if not len(texts):
            return np.zeros((0, self.depth * self.width), dtype=np.float32)
        transformer = self._transformer(role)
        with torch.inference_mode():
            features = self._teacher.features(texts, role)
            mask = features["attention_mask"]
            keep = lambda hidden: at_place(hidden, mask, self.place).float()  # noqa: E731
            with Blocks(transformer).taken(range(self.depth), keep) as found:
                self._first(role)(features)
            rows: np.ndarray = torch.cat([found[block] for block in range(self.depth)], dim=1).cpu().numpy()
        return rows

    def lengths(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """See the teacher."""
        return self._teacher.lengths(texts, role)

    def truncated(self, texts: Sequence[str], role: Role) -> int:
        """See the teacher."""
        return self._teacher.truncated(texts, role)

    def _first(self, role: Role) -> Any:
        from .sentence_encoder import modules_for

        encoder = self._teacher.encoder(role)
        assert encoder is not None
        return modules_for(encoder, role)[0]

    def _transformer(self, role: Role) -> Any:
        model = getattr(self._first(role), "auto_model", None)
        if model is None:
            raise _unfit(self._teacher, "it is no transformer")
        return model


def _model_of(teacher: VectorTeacher) -> BiEncoderTeacher:
    model = getattr(teacher, "model", teacher)
    if not isinstance(model, BiEncoderTeacher):
        raise _unfit(teacher, "it does not run on this machine")
    return model


def _unfit(teacher: VectorTeacher, because: str) -> InputError:
    return InputError(
        f"{teacher.name} cannot show its layers: {because}",
        where="objectives",
        fix="leave the layers objective out, or give a transformer that runs on this machine",
    )
