"""Score distillation: the student ranks each query's candidates as the teacher does.

KL (EmbedDistill, Eq. 11) sees differences of scores over a temperature; regression wants both sides on one scale;
correlation sees neither offset nor scale and so suits cross-encoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ._softened import Softened
from ._tensors import full_precision, require_positive, require_shape
from .base import Objective
from .functional import margin_mse, score_cmkd, score_correlation, score_kl, score_mse

RegressionForm = Literal["mse", "margin-mse"]
CorrelationForm = Literal["pearson", "spearman", "cmkd"]


@dataclass(frozen=True)
class ScoreKL(Softened):
    """KL of the teacher's softmax over the candidates to the student's, in nats; `scores:kl`.

    Both temperatures divide scores, and unless asked for no factor T squared is put back: the gradient scales with
    1 / `student_temperature`. The defaults suit cosines and inner products of unit vectors. Over a fixed matrix of
    teacher vectors in place of each query's candidates, this is distillation through the teacher's classifier.

    Attributes:
        student_temperature: T_s, of the student's softmax.
        teacher_temperature: T_t, of the teacher's.
        scale_by_temperature: multiply the value by T_s T_t, which is Hinton's T squared where both are T. At high T
            the gradient shrinks with 1 / T squared, and with the factor its size does not; at the defaults, which are
            low, the factor makes the term 400 times lighter.
    """

    scale_by_temperature: bool = False

    family = "scores"
    form = "kl"
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 2
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.scale_by_temperature, bool):
            raise ValueError(f"scale_by_temperature must be true or false, not {self.scale_by_temperature!r}")

    def __call__(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the mean KL of (n, c) student scores; `mask` (n, c) is True where a candidate counts."""
        value = score_kl(student, teacher.detach(), self.student_temperature, self.teacher_temperature, mask)
        return value * (self.student_temperature * self.teacher_temperature) if self.scale_by_temperature else value


@dataclass(frozen=True)
class ScoreRegression(Objective):
    """Squared error of raw scores, `scores:mse`, or of margins to each query's positive, `scores:margin-mse`.

    Scores are used as they are: MSE wants one scale and one offset on both sides, MarginMSE one scale. Against the
    teacher's own documents either fixes the student's query in the span of the documents (MarginMSE: of their
    differences), so that it can query the teacher's index.
    """

    form: RegressionForm = "mse"

    family = "scores"
    forms = get_args(RegressionForm)
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    perfect_value = 0.0
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")

    @property
    def needs_positives(self) -> bool:
        """True of margins, which are taken from the positive."""
        return self.form == "margin-mse"

    @property
    def minimum_candidates(self) -> int:
        """A margin takes two."""
        return 2 if self.form == "margin-mse" else 1

    def __call__(
        self, student: Tensor, teacher: Tensor, *, positives: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Compute the mean squared error.

        Args:
            student: (n, c) scores.
            teacher: (n, c) scores of the same candidates.
            positives: (n,) column of each query's positive, -1 where none is known, for margins; None: column 0.
            mask: (n, c) bool, True where a candidate counts.
        """
        if self.form == "margin-mse":
            return margin_mse(student, teacher.detach(), mask, positives=positives)
        return score_mse(student, teacher.detach(), mask)


@dataclass(frozen=True)
class ScoreCorrelation(Objective):
    """1 - correlation with the teacher's scores over each query's candidates, whatever offset and scale they have.

    `scores:pearson` of the scores, `scores:spearman` of their ranks, and `scores:cmkd`, which leans to the first where
    the teacher is sure and to the second where it is not (weights of our own: see `functional.score_cmkd`).

    A student at the minimum has scores that are some a > 0 times the teacher's plus some b, both of them each query's
    own. Against the teacher's own documents that fixes the direction of its query, up to a shift of all scores alike,
    and it ranks the teacher's index as the teacher does; the length of the vector is free, so where length matters add
    a term that sees it. A rotated student does not get there: "frozen_documents", as for KL.

    Attributes:
        form: "pearson", "spearman" or "cmkd".
        rank_temperature: of the student's soft ranks, in standard deviations of a row; not used by "pearson".
        teacher_temperature: of the softmax by which "cmkd" judges difficulty; not used by the others.
    """

    form: CorrelationForm = "pearson"
    rank_temperature: float = 0.1
    teacher_temperature: float = 0.05

    family = "scores"
    forms = get_args(CorrelationForm)
    signals = frozenset({"scores"})
    inputs = "scores"
    equal_widths = False
    minimum_candidates = 3
    alignment = "frozen_documents"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")
        require_positive(rank_temperature=self.rank_temperature, teacher_temperature=self.teacher_temperature)

    @property
    def perfect_value(self) -> float | Literal["teacher entropy"] | None:
        """0 for Pearson; soft ranks of a copy are not quite the exact ranks, so the others' minimum lies elsewhere."""
        return 0.0 if self.form == "pearson" else None

    def __call__(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the mean over queries for which the teacher's scores differ.

        Args:
            student: (n, c) scores.
            teacher: (n, c) scores of the same candidates.
            mask: (n, c) bool, True where a candidate counts.
        """
        teacher = teacher.detach()
        if self.form == "cmkd":
            return score_cmkd(student, teacher, self.teacher_temperature, self.rank_temperature, mask)
        return score_correlation(student, teacher, self.form, self.rank_temperature, mask)


@full_precision
def inner_scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Inner products in float32 of (n, d) queries with documents: (c, d) shared by all, or (n, c, d) of their own.

    Returns:
        (n, c) scores.
    """
    require_shape("queries", queries, "n", "d")
    if documents.dim() == 2:
        require_shape("documents", documents, "c", queries.shape[1])
        return queries.float() @ documents.float().T
    require_shape("documents", documents, queries.shape[0], "c", queries.shape[1])
    return torch.einsum("nd,ncd->nc", queries.float(), documents.float())
