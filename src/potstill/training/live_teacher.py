"""A teacher in the training process: asked about inputs that are no texts, so that nothing could have been stored.

Only a recipe that augments brings a teacher here. It is frozen: its weights get no gradient, though its inputs may.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..recipe import Role
from ..students.anatomy import open_up, surroundings
from ..students.embedded import Embedded, looked_up, takes_embeddings, through
from ..students.tokens import Tokens
from ..teachers import VectorTeacher

_INSTEAD = "use `queries.mixed`, which mixes texts instead of token embeddings, and leave `augment` out"


class LiveTeacher:
    """One role of a local transformer teacher, by way of its token embeddings.

    Args:
        teacher: the teacher; its model is used as it is, not copied.
        role: whose texts are read.

    Attributes:
        room: tokens of a text's own that the teacher reads; None where there is no limit.

    Raises:
        InputError: there is no transformer on this machine that takes token embeddings.
    """

    def __init__(self, teacher: VectorTeacher, role: Role) -> None:
        on_disk = teacher.query_vectors if role == "query" else teacher.index
        anatomy = open_up(teacher, role)
        transformer = anatomy.transformer
        problem = None
        if on_disk is not None:
            problem = f"{role} vectors of {teacher.name} come from disk"
        elif anatomy.encoder is None:
            problem = f"{teacher.name} does not run on this machine"
        elif transformer is None:
            problem = f"{teacher.name} is no transformer: its vectors do not come from token embeddings"
        elif not takes_embeddings(transformer):
            problem = f"{teacher.name} takes token ids alone, not token embeddings"
        if problem is not None:
            raise InputError(
                f"{problem}, so it cannot be asked about mixed or moved inputs", where="augment", fix=_INSTEAD
            )
        assert transformer is not None
        self.name, self.normalize, self.dimensions = teacher.name, anatomy.normalize, anatomy.dimensions
        self._modules, self._transformer = anatomy.modules, transformer
        self.before, self.after = surroundings(transformer.tokenizer, anatomy.prompt)
        self._prompt = len(self.before) if anatomy.prompt else 0
        limit = teacher.max_length(role)
        self.room = None if limit is None else max(0, limit - len(self.before) - len(self.after))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self._modules[0].parameters()).device

    def vocabulary(self) -> dict[str, int]:
        """Token strings -> ids."""
        return dict(self._transformer.tokenizer.get_vocab())

    def embed(self, tokens: Tokens) -> Embedded:
        """The teacher's word embeddings of its own token ids, detached."""
        tokenizer = self._transformer.tokenizer
        ids, mask = tokens.padded(tokenizer.pad_token_id or 0, left=tokenizer.padding_side == "left")
        with torch.no_grad():
            vectors = looked_up(self._transformer, torch.from_numpy(ids).to(self.device))
        return Embedded(vectors, torch.from_numpy(mask).to(self.device), self._prompt)

    def forward_embedded(self, inputs: Embedded) -> Tensor:
        """Vectors `(n, dimensions)` float32. A gradient reaches the inputs where they want one."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and inputs.vectors.requires_grad):
            with torch.autocast(self.device.type, enabled=False):
                vectors = through(self._modules, inputs)[:, : self.dimensions].float()
            return F.normalize(vectors, dim=1) if self.normalize else vectors

    def entry_table(self) -> Tensor:
        """The word embedding of every id `(V, w)`, detached."""
        table: Any = self._transformer.auto_model.get_input_embeddings()
        with torch.no_grad():
            return looked_up(self._transformer, torch.arange(table.num_embeddings, device=self.device))
