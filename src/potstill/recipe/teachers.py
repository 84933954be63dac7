"""Who teaches: one teacher of vectors, and teachers of scores beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from .base import Lengths, Prompts, Strict


class TeacherSpec(Strict):
    """A teacher: a model (`model`, or `query_model` and `document_model`), an HTTP service (`url`), or vectors on disk.

    `concatenated` puts the unit vectors of several teachers end to end, so that a cosine is the mean of theirs by
    `weights` (none: alike); their index and students are as wide as all together.

    `name` is what reports call it; None: the model's id, the folder's or the file's name.
    `index` names a file of existing document vectors (`.npy` or safetensors with an ids file beside it, or Parquet with
    `id` and `vector` columns); documents are then never encoded. `query_vectors` does the same for queries.
    """

    name: str | None = None
    model: str | None = None
    query_model: str | None = None
    document_model: str | None = None
    revision: str | None = None
    prompts: Prompts = Prompts()
    max_length: Lengths = Lengths()
    pooling: Literal["mean", "cls", "max", "lasttoken"] | None = None
    normalize: bool | None = None
    metric: Literal["dot", "cosine"] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str | None = None
    trust_remote_code: bool = False
    index: Path | None = None
    index_ids: Path | None = None
    query_vectors: Path | None = None
    query_vector_ids: Path | None = None
    url: str | None = None
    api: Literal["openai", "tei"] = "openai"
    api_key_env: str | None = None
    batch_size: int = Field(default=64, ge=1)
    retries: int = Field(default=5, ge=0)
    timeout: float = Field(default=60.0, gt=0)
    concatenated: tuple[TeacherSpec, ...] = ()
    weights: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _some_source(self) -> TeacherSpec:
        if (self.query_model is None) != (self.document_model is None):
            raise ValueError("query_model and document_model go together: give both, or one `model` for both roles")
        if self.model and self.query_model:
            raise ValueError("give either `model` or the pair `query_model` and `document_model`")
        if self.url and self.query_model:
            raise ValueError("`url` names a service; with it give `model` (the name the service expects), not a pair")
        if self.concatenated:
            given = self.model_fields_set - {"name", "concatenated", "weights"}
            if given:
                raise ValueError(f"`concatenated` names whole teachers: `{min(given)}` belongs to one of them")
            if min(self.weights, default=1.0) <= 0:
                raise ValueError("`weights` are positive")
            return self
        if self.weights:
            raise ValueError("`weights` are of `concatenated` teachers")
        if not (self.model or self.query_model or self.url or self.index or self.query_vectors):
            raise ValueError("a teacher needs `model`, a pair of models, `url`, or vectors on disk (`index`)")
        return self


SCORERS = ("cross-encoder", "dual-pooled", "late-interaction", "sparse", "bm25", "file")
LISTED = ("bm25", "file")
"""Kinds that know a collection's documents, and read no model."""


class ScorerSpec(Strict):
    """A teacher of scores: it reads a query and a document and says how well they fit.

    `cross-encoder`: any sentence-transformers CrossEncoder or Hugging Face sequence classifier. `dual-pooled`: one that
    `potstill teach dual-pooled` made; it gives two vectors for each pair besides. `late-interaction`: ColBERT and its
    kin, a sentence-transformers MultiVectorEncoder; its `max_length` is that of documents. `sparse`: a SparseEncoder.
    `bm25`: of the collection's documents, by words of its `language` (found out; `none`: as they stand; `bigrams`:
    pairs of characters).
    `file`: scores at `path`, a TREC run, lines of query id, document id and score parted by tabs, or a folder of saved
    candidates; pairs that it lacks have no score.
    `name` is what objectives and reports call it; None: the folder's name, or the id's last part.
    `label` chooses the logit of a classifier with several. `temperature` None: calibrated without labels, so that the
    median list has `perplexity` effective candidates.
    """

    kind: Literal["cross-encoder", "dual-pooled", "late-interaction", "sparse", "bm25", "file"]
    model: str = ""
    path: Path | None = None
    k1: float = Field(default=0.9, ge=0)
    b: float = Field(default=0.4, ge=0, le=1)
    language: str = "auto"
    name: str | None = None
    revision: str | None = None
    max_length: int | None = Field(default=None, ge=8)
    prompts: Prompts = Prompts()
    label: int | None = Field(default=None, ge=0)
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str | None = None
    trust_remote_code: bool = False
    temperature: float | None = Field(default=None, gt=0)
    perplexity: float = Field(default=4.0, gt=1)

    @model_validator(mode="after")
    def _whole(self) -> ScorerSpec:
        if (self.path is not None) != (self.kind == "file"):
            raise ValueError("a scorer of kind `file` needs the `path` of its scores, and no other has one")
        if bool(self.model) == (self.kind in LISTED):
            raise ValueError(
                f"a scorer of kind `{self.kind}` reads no `model`" if self.model else "a scorer needs its `model`"
            )
        if self.name is None:
            self.__dict__["name"] = self.path.stem if self.path is not None else Path(self.model or self.kind).name
        return self


def short_teacher(value: Any) -> Any:
    """`teacher: ID` is a teacher of vectors."""
    return {"model": str(value)} if isinstance(value, str | Path) else value


def split_teachers(data: Any) -> Any:
    """A list of teachers as `teacher`, the one of vectors, and `scorers`, those whose kind gives scores."""
    if not isinstance(data, dict) or not isinstance(data.get("teacher"), list | tuple):
        return data
    given = list(data["teacher"])
    scorers = [entry for entry in given if isinstance(entry, dict) and entry.get("kind") in SCORERS]
    vectors = [entry for entry in given if not any(entry is scorer for scorer in scorers)]
    if len(vectors) != 1:
        raise ValueError(
            f"`teacher` lists {len(vectors)} teachers of vectors, and one is needed: it gives the index and the "
            f"candidates; those that give scores say so with `kind`: {', '.join(SCORERS)}"
        )
    return {**data, "teacher": vectors[0], "scorers": [*scorers, *data.get("scorers", ())]}
