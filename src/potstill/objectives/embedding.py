"""Embedding matching: the student's vector is pulled to the teacher's (EmbedDistill, arXiv 2301.12005, Eq. 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from .base import Objective
from .functional import covariance_match, embedding_match

MatchForm = Literal["l2", "squared", "cosine", "covariance"]


@dataclass(frozen=True)
class EmbeddingMatch(Objective):
    """Distance from the teacher: `match:l2` (not squared, the paper's), `match:squared`, `match:cosine`.

    `match:covariance` is L2 weighted by the documents' second moments: an error costs what it does to their scores, and
    what no document can see is free. A student at its minimum can still query the teacher's index.
    """

    form: MatchForm = "l2"

    family = "match"
    forms = get_args(MatchForm)
    signals = frozenset({"vectors"})
    inputs = "vectors"
    equal_widths = True
    perfect_value = 0.0
    alignment = "always"

    def __post_init__(self) -> None:
        if self.form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {self.form!r}")

    def __call__(self, student: Tensor, teacher: Tensor, *, root: Tensor | None = None) -> Tensor:
        """Compute the mean distance.

        Args:
            student: (n, d) vectors.
            teacher: (n, d) vectors.
            root: (d, d) of the documents, from `functional.document_root`; for "covariance", and for it alone.
        """
        if self.form == "covariance":
            if root is None:
                raise ValueError("match:covariance needs `root`: make it from the documents by document_root")
            return covariance_match(student, teacher.detach(), root.detach())
        if root is not None:
            raise ValueError(f"match:{self.form} has no use for `root`; match:covariance has")
        return embedding_match(student, teacher.detach(), self.form)
