"""What `potstill teach` does: a teacher that is trained on a collection's own judgments."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from .base import Strict
from .running import TrainingSpec


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _Taught(Strict):
    """What everything that is taught has in common."""

    PAGE: ClassVar[str] = "teaching.md"

    training: TrainingSpec = TrainingSpec()

    @field_validator("training")
    @classmethod
    def _validated(cls, training: TrainingSpec) -> TrainingSpec:
        if training.select == "last":
            raise ValueError("a teacher keeps the weights that validate best: select held_out, or dev")
        return training

    def to_yaml(self) -> str:
        """The resolved specification as YAML, all defaults written out."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False, allow_unicode=True)


def _whole_batches(training: TrainingSpec, kind: str) -> None:
    if training.encode_at_once is not None:
        raise ValueError(
            f"training.encode_at_once is for models that encode texts apart, and a {kind} is none: lower "
            "training.max_texts_per_batch instead"
        )


class TeachSpec(_Taught):
    """A teacher trained on judged pairs: one that reads a query and a document together, or encodes them apart.

    `miner`: what finds negatives and the lists that validate: models of vectors (ids or folders), `bm25`, both in
    turn, or `judged`: each query's own judgments, zeros for negatives, for collections whose judgments are the lists to
    rank; none: the base where it is a model of vectors, else `bm25`. A list is a positive and `negatives` of the best
    `depth` that are no known positives (the first `skip` left out), drawn anew each epoch; `within_depth` takes only
    positives that a miner finds among its best `depth` too, for the others look less like the query than the negatives
    do, and would teach to prefer that. `positives` is the most
    lists of one query in an epoch, `lists` the most of all together; None: all there are.

    Validation re-ranks the best `rerank` found for `held_out` queries. `pooling`, `normalize`, `scale` (what scores
    are multiplied by before the softmax of training; it is learned from there on) and `damping` (nats taken off
    attention between the two texts at the start, so that the teacher begins as the bi-encoder it is made from; null:
    the plain joint pass) belong to dual-pooled teachers.

    Dual encoders and late-interaction teachers are trained against all documents of the batch. `max_length` is that of
    a document there (and of a dual encoder's query), `query_length` what late interaction fills up every query to;
    `scale` is fixed, None: 20 for unit vectors, 1 for late interaction, as published; `layers` keeps some of the base's
    layers alone, and `width` projects late interaction's vectors (None: they stay as wide as the base's).
    """

    kind: Literal["cross-encoder", "dual-pooled", "dual-encoder", "late-interaction"]
    collection: str
    base: str
    revision: str | None = None
    split: str = "train"
    miner: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    negatives: int = Field(default=7, ge=1)
    depth: int = Field(default=100, ge=1)
    within_depth: bool = True
    skip: int = Field(default=0, ge=0)
    positives: int | None = Field(default=None, ge=1)
    lists: int | None = Field(default=None, ge=1)
    held_out: int = Field(default=64, ge=1)
    rerank: int = Field(default=30, ge=2)
    max_length: int = Field(default=128, ge=16)
    pooling: Literal["mean", "first"] = "mean"
    normalize: bool = True
    scale: float | None = Field(default=None, gt=0)
    damping: float | None = Field(default=3.0, ge=0)
    query_length: int = Field(default=32, ge=4)
    layers: tuple[int, ...] | None = None
    width: int | None = Field(default=None, ge=8)

    @model_validator(mode="after")
    def _parts_suit(self) -> TeachSpec:
        if not self.apart:
            _whole_batches(self.training, self.kind)
        return self

    @property
    def apart(self) -> bool:
        """Whether the two texts are encoded apart."""
        return self.kind in ("dual-encoder", "late-interaction")


class TeachGeneratorSpec(_Taught):
    """A model that writes a query for a document, trained on judged pairs.

    `base` is a sequence-to-sequence model, or an encoder: then its weights start both sides and what reads across
    (cross-attention, the output's transform) is new. `positives` is the most documents of one query in an epoch,
    `pairs` the most pairs of all together, drawn anew each epoch; None: all there are. `held_out` queries validate.
    """

    kind: Literal["generator"] = "generator"
    collection: str
    base: str
    revision: str | None = None
    split: str = "train"
    prefix: str = ""
    positives: int | None = Field(default=None, ge=1)
    pairs: int | None = Field(default=None, ge=1)
    held_out: int = Field(default=64, ge=1)
    max_input: int = Field(default=256, ge=8)
    max_output: int = Field(default=32, ge=2)

    @model_validator(mode="after")
    def _parts_suit(self) -> TeachGeneratorSpec:
        _whole_batches(self.training, self.kind)
        return self
