"""What relational distillation adds to a recipe: the bank that a text is related to, and how sharply."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .base import Strict


class BankSpec(Strict):
    """The teacher's vectors that a `relations` objective relates each text to.

    `rows: all` are all documents; `store` the batch's own documents, each text's `neighbours` nearest documents by the
    teacher's vectors, and `random` others; `queue` the last `size` texts of the same role that were trained on;
    `centroids` the `size` centres of a k-means over the documents. `auto`: a queue for objectives that contrast each
    text with its own teacher vector, else all documents where that is affordable, else `store`. `corrected` makes each
    random row stand for as many as were not drawn.

    `self_policy` says what becomes of rows that are the text itself, repeats included: they are left out (`exclude`),
    left in (`include`), or left out for one place of its own (`slot`).

    Where the objective names no temperatures, the teacher's is calibrated without labels, so that the median text has
    `perplexity` effective neighbours, and the student's is `ratio` times that. `preset` sets the published values
    instead: `paper-cli` (teacher 0.02, student 0.1, self included; a queue), `legacy-2024` (0.10, 0.04, excluded; a
    queue). The bank is looked at in pieces of `chunk` rows; null: at once, which holds batch x bank numbers.
    """

    rows: Literal["auto", "all", "store", "queue", "centroids"] = "auto"
    neighbours: int = Field(default=32, ge=0)
    random: int = Field(default=4_096, ge=0)
    corrected: bool = False
    size: int | None = Field(default=None, ge=2)
    self_policy: Literal["exclude", "include", "slot"] | None = None
    preset: Literal["paper-cli", "legacy-2024"] | None = None
    perplexity: float = Field(default=16.0, gt=1)
    ratio: float = Field(default=1.0, gt=0)
    chunk: int | None = Field(default=8_192, ge=1)

    @model_validator(mode="after")
    def _something_to_relate_to(self) -> BankSpec:
        if self.rows == "store" and not self.neighbours + self.random:
            raise ValueError("a bank of the store needs `neighbours` or `random` rows")
        if self.size is not None and self.rows in ("all", "store"):
            raise ValueError(f"`size` is that of a queue or of centroids; rows are `{self.rows}`")
        if self.corrected and self.rows not in ("auto", "store"):
            raise ValueError("`corrected` is for random rows: give `rows: store`")
        if self.preset is not None and self.self_policy is not None:
            raise ValueError("`preset` says what becomes of the text itself; leave `self_policy` out")
        if self.preset is not None and self.rows not in ("auto", "queue"):
            raise ValueError("`preset` is the published setting, whose bank is a queue; leave `rows` out")
        return self
