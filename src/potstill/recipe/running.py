"""How it is trained, measured and written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Strict


class TrainingSpec(Strict):
    """The loop. None means: the default of the student's kind (see `docs/recipes.md`).

    `select` says which weights are kept: those that agree best with the teacher on held-out queries, those with the
    best nDCG@10 on the dev split, or the last ones (nothing is then validated on the way, and nothing stops early).
    `encode_at_once` bounds the texts whose graphs are held at a time; a large batch's gradient stays exact (gradient
    caching), at the price of encoding twice.
    """

    learning_rate: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, ge=1)
    tokens_per_batch: int | None = Field(default=None, ge=16)
    max_texts_per_batch: int | None = Field(default=None, ge=1)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0)
    bf16: Literal["auto", True, False] = "auto"
    select: Literal["held_out", "dev", "last"] = "held_out"
    validate_every: int | None = Field(default=None, ge=1)
    patience: int = Field(default=3, ge=1)
    checkpoint_seconds: float = Field(default=30.0, gt=0, le=30.0)
    keep_checkpoints: int = Field(default=2, ge=1)
    encode_at_once: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)


class AugmentSpec(Strict):
    """More from few texts; it brings the teacher into the training process.

    Weights of two more terms, each like the first objective that matches (`match:l2` where there is none). `mix`: on
    token embeddings of two texts mixed with share lambda ~ Beta(`mix_alpha`, `mix_alpha`) in student and teacher alike.
    `disagree`: on token embeddings moved `disagree_steps` times by `disagree_size` (in mean lengths of a token
    embedding) to where student and teacher differ more. `share` of each batch takes part; at a weight of `share` a made
    text pulls as much as a real one at weight 1. The student's vocabulary must be the teacher's, whole or trimmed, and
    the teacher a transformer on this machine.
    """

    mix: float = Field(default=0.0, ge=0)
    mix_alpha: float = Field(default=0.4, gt=0)
    disagree: float = Field(default=0.0, ge=0)
    disagree_steps: int = Field(default=1, ge=1, le=10)
    disagree_size: float = Field(default=0.5, gt=0)
    share: float = Field(default=0.25, gt=0, le=1)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to make."""
        return self.mix > 0 or self.disagree > 0


class EvaluateSpec(Strict):
    """What is measured at the end. `split` None: test, or nothing where a collection has no judgments.

    `answered` leaves out queries without a relevant document, as is usual for answer sentences.

    `candidates: judged` ranks each query's judged documents alone, for re-ranking sets such as WikiQA. Where there are
    scorers, teacher, scorers and student also re-rank the teacher's first `rerank` documents of each query; 0: not.
    """

    split: str | None = None
    measures: tuple[str, ...] = ("nDCG@10", "RR@10", "R@100", "AP")
    exclude_self: Literal["auto", "always", "never"] = "auto"
    candidates: Literal["all", "judged"] = "all"
    answered: bool = False
    depth: int = Field(default=100, ge=10)
    cost: bool = True
    prefixes: tuple[int, ...] = ()
    rerank: int = Field(default=100, ge=0)


class OutputSpec(Strict):
    """Extra files of a run."""

    packed: bool = False
