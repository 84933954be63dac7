"""Any objective as a `loss=` of sentence-transformers' trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..objectives import Objective, parse_objective

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class PotstillLoss(torch.nn.Module):
    """An objective in the shape that `SentenceTransformerTrainer` calls: columns of texts, and a column `label`.

    What the data set holds depends on what the objective reads:

    | objective | columns of texts | `label` |
    |---|---|---|
    | vectors: `match:l2`, `relations:own`, ... | one | the teacher's vector of the text, d numbers |
    | vectors with a bank: `relations:bank` | one | the same; `bank` is given to the loss |
    | scores: `scores:kl`, `scores:margin-mse`, ... | query, document 1, ..., document c | the teacher's c scores |
    | `contrastive:one-hot` | query, positive, negative 1, ... | none; the other queries' documents are negatives too |

    Margins are taken to document 1. Scores are inner products of the model's vectors: end the model with a `Normalize`
    for cosines.

    Args:
        model: the model that is trained.
        objective: an objective, or its spelling, such as `"scores:kl(student_temperature=0.05)"`.
        bank: `(m, d)` teacher vectors that objectives with a bank relate to.

    Raises:
        InputError: the objective needs what this trainer has no place for, such as layers; or it needs a bank and there
            is none, or the other way round.
    """

    def __init__(self, model: SentenceTransformer, objective: Objective | str, bank: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.objective = self._read(objective)
        self._banked = self.objective.family == "relations" and self.objective.form == "bank"
        if self._banked != (bank is not None):
            fix = "give bank=, (m, d) teacher vectors" if self._banked else "leave bank= out"
            raise InputError(f"{self.objective} {'needs a' if self._banked else 'reads no'} bank", fix=fix)
        self.bank: Tensor | None
        self.register_buffer("bank", None if bank is None else bank.detach().float(), persistent=False)

    @staticmethod
    def _read(given: Objective | str) -> Objective:
        try:
            objective = parse_objective(given) if isinstance(given, str) else given
        except ValueError as error:
            raise InputError(f"this is no objective: {error}", where=str(given)) from None
        plain = objective.family in ("match", "scores", "contrastive", "relations", "geometry")
        if not plain or objective.inputs == "layers" or isinstance(objective, torch.nn.Module):
            raise InputError(
                "this objective needs more than columns of texts and a label can carry",
                where=str(objective),
                fix="train it with `potstill distill`, or call the functions of potstill.objectives.functional",
            )
        if getattr(objective, "self_policy", "include") == "exclude":
            raise InputError(
                "a row of a data set has no identity here, so a text's own place in the bank cannot be left out",
                where=str(objective),
                fix="say self_policy=include",
            )
        return objective

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The objective's value for a batch, a scalar.

        Args:
            sentence_features: one dictionary of model inputs a column.
            labels: `(n, d)` teacher vectors or `(n, c)` teacher scores; none for contrastive objectives.

        Raises:
            InputError: columns or labels are not what the objective reads.
        """
        vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
        rows = len(vectors[0])
        if not self.objective.signals:  # no teacher has a say
            if len(vectors) < 2:
                raise self._odd(f"{len(vectors)} column of texts", "a query and its positive")
            documents = torch.cat(vectors[1:])  # all positives first: query i's is document i
            return self.objective(vectors[0] @ documents.T, torch.arange(rows, device=documents.device))
        if labels is None or labels.ndim != 2:
            shown = "no label" if labels is None else f"labels of shape {tuple(labels.shape)}"
            raise self._odd(shown, "a list of numbers a row: the teacher's vector, or its scores of the documents")
        teacher = labels.to(vectors[0].device, torch.float32)
        if self.objective.inputs == "scores":
            if len(vectors) - 1 != teacher.shape[1] or len(vectors) < 3:
                raise self._odd(
                    f"{len(vectors)} columns of texts and {teacher.shape[1]} scores",
                    "a query, two documents or more, and as many scores",
                )
            return self.objective(torch.einsum("nd,cnd->nc", vectors[0], torch.stack(vectors[1:])), teacher)
        if len(vectors) != 1:
            raise self._odd(f"{len(vectors)} columns of texts", "one, and the teacher's vector of it")
        more: Mapping[str, Any] = {"bank": self.bank} if self._banked else {}
        try:
            return self.objective(vectors[0], teacher, **more)
        except ValueError as error:
            raise InputError(str(error), where=str(self.objective), fix="check the width of the labels") from None

    def _odd(self, found: str, wanted: str) -> InputError:
        return InputError(f"found {found}", where=str(self.objective), fix=f"give {wanted}")

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says of the loss."""
        return {"objective": str(self.objective), "bank": None if self.bank is None else len(self.bank)}
