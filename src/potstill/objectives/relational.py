"""Relations: how near each text is to others, as a distribution.

Relational Representation Distillation (arXiv 2407.12073).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ._softened import Softened
from ._tensors import require_shape
from .functional import Mask, relation_cross_entropy, relation_summary, score_kl
from .scores import inner_scores

SelfPolicy = Literal["include", "exclude", "slot"]
Preset = Literal["paper-cli", "legacy-2024", "matched"]


@dataclass(frozen=True)
class BankRelations(Softened):
    """Cross-entropy of the teacher's softmax over a bank of teacher vectors against the student's; `relations:bank`.

    Student and bank share the teacher's space, so a student at the minimum can query the teacher's index. The value is
    H(teacher) + KL: log `report`, whose KL gap can be compared across temperatures and banks.

    Attributes:
        student_temperature: T_s. Below the teacher's it wastes length on directions in which the bank hardly varies.
        teacher_temperature: T_t; no constant suits two teachers: see `calibrate_temperature`.
        self_policy: what becomes of bank rows that are the text itself, by identity. "exclude" leaves them out, repeats
            included; "include" takes the bank as it is, and with a sharp teacher is InfoNCE; "slot" leaves them out and
            gives each text one place of its own, filled with its teacher vector (this copies the bank).
        chunk: bank rows looked at together; None holds batch x bank products.
    """

    self_policy: SelfPolicy = "exclude"
    chunk: int | None = None

    family = "relations"
    form = "bank"
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = True
    minimum_candidates = 2
    alignment = "always"
    perfect = "teacher entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.self_policy not in get_args(SelfPolicy):
            raise ValueError(f"self_policy must be one of {', '.join(get_args(SelfPolicy))}, not {self.self_policy!r}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, not {self.chunk}")

    @classmethod
    def preset(cls, name: Preset, *, temperature: float = 0.05, chunk: int | None = None) -> BankRelations:
        """Make a named setting.

        "paper-cli": the released defaults (teacher 0.02, student 0.1, self included). "legacy-2024": those of the first
        public results (teacher 0.10, student 0.04, self excluded); the paper's wording, a sharper student, is nearer to
        these, and the two disagree. "matched": `temperature` on both sides, self excluded.
        """
        if name == "paper-cli":
            return cls(0.1, 0.02, "include", chunk)
        if name == "legacy-2024":
            return cls(0.04, 0.1, "exclude", chunk)
        if name == "matched":
            return cls(temperature, temperature, "exclude", chunk)
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(get_args(Preset))}")

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        bank: Tensor,
        ids: Tensor | None = None,
        bank_ids: Tensor | None = None,
        mask: Mask | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Compute the mean cross-entropy.

        Args:
            student: (n, d).
            teacher: (n, d).
            bank: (m, d) teacher vectors.
            ids: (n,) integers, equal for equal texts; needed unless self is included.
            bank_ids: (m,) the same for the bank.
            mask: (n, m) bool or function (see `relation_cross_entropy`): further rows to leave out.
            offsets: (m,) log of how many rows of a larger bank each row stands for.
        """
        bank, mask = self._candidates(teacher, bank, ids, bank_ids, mask)
        return relation_cross_entropy(
            student,
            teacher,
            bank,
            self.student_temperature,
            self.teacher_temperature,
            mask,
            self.chunk,
            offsets=_with_slots(offsets, bank),
        )

    @torch.no_grad()
    def report(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        bank: Tensor,
        ids: Tensor | None = None,
        bank_ids: Tensor | None = None,
        mask: Mask | None = None,
        offsets: Tensor | None = None,
    ) -> dict[str, float]:
        """Compute what to log; arguments as for the call.

        Returns:
            `kl_gap` and `teacher_entropy` (nats, means), `effective_neighbours` (median of exp entropy) and
            `top1_agreement` (share of texts whose first neighbour is the teacher's).
        """
        value = self(student, teacher, bank=bank, ids=ids, bank_ids=bank_ids, mask=mask, offsets=offsets).item()
        bank, mask = self._candidates(teacher, bank, ids, bank_ids, mask)
        more = _with_slots(offsets, bank)
        summary = relation_summary(student, teacher, bank, self.teacher_temperature, mask, offsets=more)
        if not summary.counted.any():
            raise ValueError("no text has a bank row that counts")
        entropy = summary.entropy[summary.counted]
        return {
            "kl_gap": value - entropy.mean().item(),
            "teacher_entropy": entropy.mean().item(),
            "effective_neighbours": entropy.exp().median().item(),
            "top1_agreement": summary.agrees[summary.counted].float().mean().item(),
        }

    def _candidates(
        self, teacher: Tensor, bank: Tensor, ids: Tensor | None, bank_ids: Tensor | None, mask: Mask | None
    ) -> tuple[Tensor, Mask | None]:
        """The bank and its mask under the self policy. Masks are made a chunk at a time."""
        if self.self_policy == "include":
            return bank, mask
        if ids is None or bank_ids is None:
            raise ValueError(
                f'self_policy "{self.self_policy}" needs ids and bank_ids; where the bank cannot hold the texts '
                'themselves (queries against documents), say self_policy="include"'
            )
        require_shape("ids", ids, teacher.shape[0])
        require_shape("bank_ids", bank_ids, bank.shape[0])
        own_places = len(ids) if self.self_policy == "slot" else 0

        def columns(start: int, stop: int) -> Tensor:
            first, last = max(start - own_places, 0), max(stop - own_places, 0)
            others = ids.unsqueeze(1) != bank_ids[first:last]
            if mask is not None:
                others &= mask(first, last) if callable(mask) else mask[:, first:last]
            if start >= own_places:
                return others
            places = torch.arange(start, min(stop, own_places), device=ids.device)
            own = torch.arange(len(ids), device=ids.device).unsqueeze(1) == places
            return torch.cat([own, others], dim=1)

        return (torch.cat([teacher.detach().to(bank), bank]) if own_places else bank), columns


def _with_slots(offsets: Tensor | None, bank: Tensor) -> Tensor | None:
    """Offsets of a bank before which each text got a place of its own: such a place stands for itself."""
    if offsets is None or len(offsets) == len(bank):
        return offsets
    return torch.cat([offsets.new_zeros(len(bank) - len(offsets)), offsets])


@dataclass(frozen=True)
class OwnRelations(Softened):
    """KL of the teacher's softmax over the other texts of the batch to the student's in its own space; `relations:own`.

    Student vectors are compared with student vectors, so widths may differ and the student is free to rotate. Use it
    when the student serves an index of its own.
    """

    family = "relations"
    form = "own"
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = False
    minimum_batch = 3
    alignment = "never"

    def __call__(self, student: Tensor, teacher: Tensor, *, ids: Tensor | None = None) -> Tensor:
        """Compute the mean KL over the batch, each text compared with all others.

        Args:
            student: (n, d_s).
            teacher: (n, d_t).
            ids: (n,) integers, equal for equal texts; repeats of a text are then left out as the text itself is.
        """
        require_shape("student", student, "n", "d")
        require_shape("teacher", teacher, student.shape[0], "d")
        if ids is None:
            ids = torch.arange(len(student), device=student.device)
        require_shape("ids", ids, student.shape[0])
        teacher = teacher.detach()
        return score_kl(
            inner_scores(student, student),
            inner_scores(teacher, teacher),
            self.student_temperature,
            self.teacher_temperature,
            ids.unsqueeze(1) != ids,
        )
