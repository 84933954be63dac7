"""Terms that relate texts to other texts by the teacher's vectors: within the batch, to a bank, to a partner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from ..objectives import BankContrast, BankRelations, BatchGeometry, CrossMetric, NoiseContrast, Objective, OwnRelations
from ..objectives.prefixes import AtPrefixes
from ..recipe import BankSpec, ObjectiveSpec, Role

Rows = Literal["batch", "partner", "all", "store", "queue", "centroids"]

QUEUE, CENTROIDS = 16_384, 1_024
"""Rows of a bank where a recipe names no size."""

_TEMPERATURE = 0.05


@dataclass(frozen=True)
class RelationTerm:
    """One relation for texts of one role, or of both; roles are never mixed in one comparison.

    `rows`: what each text is related to. `batch`: the others of the batch; `partner`: the text that fits; the rest are
    banks, see `BankSpec`.
    """

    name: str
    weight: float
    role: Literal["query", "document", "both"]
    objective: Objective
    rows: Rows
    bank: BankSpec
    teacher: str | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles whose texts are related."""
        return ("query", "document") if self.role == "both" else (self.role,)

    @property
    def inner(self) -> Objective:
        """The objective without prefixes."""
        return self.objective.objective if isinstance(self.objective, AtPrefixes) else self.objective

    @property
    def banked(self) -> bool:
        """Whether there is a bank."""
        return self.rows not in ("batch", "partner")


@dataclass(frozen=True)
class Relating:
    """What relation terms read of the data, by row.

    Attributes:
        groups: role -> `(n,)` int64, equal for equal texts.
        neighbours: role -> `(n, m)` the documents nearest to each text by the teacher's vectors, -1 padded.
        centroids: number of centres -> `(k, d)` float32.
    """

    groups: Mapping[Role, np.ndarray] = field(default_factory=dict)
    neighbours: Mapping[Role, np.ndarray] = field(default_factory=dict)
    centroids: Mapping[int, np.ndarray] = field(default_factory=dict)

    def ids(self, role: Role, rows: np.ndarray) -> np.ndarray:
        """`(n,)` identity of texts; a text stands for itself where nothing is known about its repeats."""
        known = self.groups.get(role)
        return rows if known is None else known[rows]


@dataclass
class Bank:
    """Rows that texts are related to: `(m, d)` vectors, `(m,)` identities, `(m,)` log of what each stands for."""

    rows: Tensor
    ids: Tensor
    offsets: Tensor | None = None


@dataclass
class Related:
    """Texts of one role in one batch, for one term.

    Attributes:
        places: `(n,)` where they are among what the student encoded for this role.
        targets: `(n, d)` the teacher's vectors of them, or of their partners.
        ids: `(n,)` identities.
        bank: what they are related to; None: each other, a partner, or a queue that is looked at when the loss is.
    """

    places: Tensor
    targets: Tensor
    ids: Tensor
    bank: Bank | None = None


Drawn = dict[tuple[str, Role], Related]


def relation_objective(spec: ObjectiveSpec) -> Objective:
    """The objective of a recipe's `relations` term; temperatures that are still open get the default."""
    student, teacher, bank = spec.student_temperature, spec.teacher_temperature, spec.bank
    if spec.form == "bank":
        if bank.preset is not None:
            return BankRelations.preset(bank.preset, chunk=bank.chunk)
        warm = teacher or _TEMPERATURE
        return BankRelations(student or bank.ratio * warm, warm, bank.self_policy or "exclude", bank.chunk)
    if spec.form == "own":
        warm = teacher or _TEMPERATURE
        return OwnRelations(student or bank.ratio * warm, warm)
    if spec.form == "disco":
        return BankContrast(student)
    if spec.form == "crd":
        return NoiseContrast(student) if student else NoiseContrast()
    if spec.form == "cross-metric":
        return CrossMetric()
    return BatchGeometry(spec.form)  # type: ignore[arg-type]


def bank_rows(spec: ObjectiveSpec) -> Rows:
    """What the term is taken against; `auto` was settled before, but for the published presets and contrasts."""
    if spec.form == "cross-metric":
        return "partner"
    if spec.form not in ("bank", "disco", "crd"):
        return "batch"
    if spec.bank.rows == "auto":
        if spec.form == "bank" and spec.bank.preset is None:
            raise ValueError("`bank.rows: auto` is decided by the pipeline, which knows how many documents there are")
        return "queue"
    return spec.bank.rows


def drawn_documents(
    spec: BankSpec, known: np.ndarray, documents: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Sorted rows of a bank of the store, and what corrects for those that were not drawn.

    Args:
        spec: how many at random, and whether they stand for others.
        known: documents that are in the bank anyway: the batch's own and the neighbours; -1 is none.
        documents: N of the collection.
        random: of the draw.

    Returns:
        `(m,)` rows, and with `corrected` the `(m,)` float32 log of how many rows each stands for.
    """
    sure = np.unique(known[known >= 0])
    drawn = random.choice(documents, min(spec.random, documents), replace=False, shuffle=False)
    rows = np.union1d(sure, drawn)
    if not spec.corrected:
        return rows, None
    by_chance = ~np.isin(rows, sure)
    stands_for = (documents - len(sure)) / max(int(by_chance.sum()), 1)
    return rows, np.where(by_chance, np.log(max(stands_for, 1.0)), 0.0).astype(np.float32)


def relation_terms_of(terms: tuple[object, ...]) -> Iterator[RelationTerm]:
    """Those among a task's terms."""
    return (term for term in terms if isinstance(term, RelationTerm))
