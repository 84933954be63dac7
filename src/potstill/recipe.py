"""Recipes: one typed YAML file is one whole run; every mistake is told with its line and the remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import InputError
from .recipe_errors import explain

Role = Literal["query", "document"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class Prompts(_Strict):
    """Text put before every query or document; None: what the model itself declares."""

    query: str | None = None
    document: str | None = None


class Lengths(_Strict):
    """Maximum tokens of a query or document; None: what the model itself declares."""

    query: int | None = Field(default=None, ge=4)
    document: int | None = Field(default=None, ge=4)


class TeacherSpec(_Strict):
    """A teacher: a model (`model`, or `query_model` and `document_model`), an HTTP service (`url`), or vectors on disk.

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

    @model_validator(mode="after")
    def _some_source(self) -> TeacherSpec:
        if (self.query_model is None) != (self.document_model is None):
            raise ValueError("query_model and document_model go together: give both, or one `model` for both roles")
        if self.model and self.query_model:
            raise ValueError("give either `model` or the pair `query_model` and `document_model`")
        if self.url and self.query_model:
            raise ValueError("`url` names a service; with it give `model` (the name the service expects), not a pair")
        if not (self.model or self.query_model or self.url or self.index or self.query_vectors):
            raise ValueError("a teacher needs `model`, a pair of models, `url`, or vectors on disk (`index`)")
        return self


def _teacher(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise ValueError(f"one teacher, not {len(value)}: objectives that fuse several are not part of recipes yet")
        value = value[0]
    return {"model": str(value)} if isinstance(value, str | Path) else value


class StudentSpec(_Strict):
    """A student. Short forms: `static`, `static:128` (rank), `layers:0,5`, `tiny:2x128`, or any model id or folder."""

    kind: Literal["static", "layers", "tiny", "model"] = "static"
    layers: tuple[int, ...] | None = None
    depth: int = Field(default=2, ge=1)
    width: int | None = Field(default=None, ge=8)
    embedding_rank: int | None = Field(default=None, ge=4)
    rank: int | None = Field(default=None, ge=4)
    vocabulary: Literal["teacher", "trimmed", "corpus"] | None = None
    vocabulary_size: int | None = Field(default=None, ge=32)
    phrases: int = Field(default=0, ge=0)
    parameters: int | None = Field(default=None, ge=1_000)
    model: str | None = None
    pooling: Literal["mean", "cls"] | None = None
    max_length: int | None = Field(default=None, ge=4)
    prompts: Prompts = Prompts()

    @model_validator(mode="after")
    def _whole(self) -> StudentSpec:
        if self.kind == "model" and not self.model:
            raise ValueError("a student of kind `model` needs `model`: an id or a folder")
        return self


def _student(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name, _, rest = value.partition(":")
    try:
        if name == "static":
            return {"kind": "static", "rank": int(rest)} if rest else {"kind": "static"}
        if name == "layers":
            return {"kind": "layers", "layers": [int(n) for n in rest.split(",")] if rest else None}
        if name == "tiny":
            depth, _, width = rest.partition("x")
            return {"kind": "tiny", "depth": int(depth), "width": int(width)} if rest else {"kind": "tiny"}
    except ValueError:
        raise ValueError(
            f"cannot read student {value!r}: write static, static:128, layers:0,5, tiny:2x128 or a model id"
        ) from None
    meant = difflib.get_close_matches(name, ("static", "layers", "tiny"), n=1, cutoff=0.75)
    if meant and "/" not in value and not Path(value).exists():
        raise ValueError(f"there is no student {value!r}; did you mean `{meant[0]}`? (a model's folder: ./{value})")
    return {"kind": "model", "model": value}


class QueriesSpec(_Strict):
    """Where training queries come from. Shares are relative; what a source lacks goes to the others."""

    cap: int = Field(default=40_000, ge=20)
    files: tuple[Path, ...] = ()
    other_splits: bool = True
    titles: float = Field(default=1.0, ge=0)
    sentences: float = Field(default=4.0, ge=0)
    spans: float = Field(default=1.0, ge=0)
    phrases: float = Field(default=1.0, ge=0)
    keywords: float = Field(default=1.0, ge=0)
    documents: float = Field(default=1.0, ge=0)
    held_out: int = Field(default=500, ge=10)


class ObjectiveSpec(_Strict):
    """One weighted term. Short forms: `match:l2`, `match:cosine`, `scores:kl`.

    `documents` says what scores are compared on: those the batch's queries were cut from, `count` drawn at random, each
    query's `count` nearest by the teacher (`mined`), or all; `auto`: all where that is affordable, else a sample, and
    the batch's own where the student has to encode them.
    """

    family: Literal["match", "scores"]
    form: Literal["l2", "squared", "cosine", "kl"] | None = None
    weight: float = Field(default=1.0, gt=0)
    role: Role | Literal["both"] = "query"
    prefixes: tuple[int, ...] = ()
    student_temperature: float = Field(default=0.05, gt=0)
    teacher_temperature: float = Field(default=0.05, gt=0)
    documents: Literal["auto", "batch", "sample", "mined", "all"] = "auto"
    count: int = Field(default=4_096, ge=1)

    @model_validator(mode="after")
    def _form_fits(self) -> ObjectiveSpec:
        forms = ("l2", "squared", "cosine") if self.family == "match" else ("kl",)
        if self.form is None:
            self.__dict__["form"] = forms[0]
        elif self.form not in forms:
            raise ValueError(f"family {self.family} has forms {', '.join(forms)}, not {self.form}")
        return self


def _objective(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    family, _, form = value.partition(":")
    return {"family": family, "form": form or None}


class TrainingSpec(_Strict):
    """The loop. None means: the default of the student's kind (see `docs/recipes.md`)."""

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
    select: Literal["held_out", "dev"] = "held_out"
    validate_every: int | None = Field(default=None, ge=1)
    patience: int = Field(default=3, ge=1)
    checkpoint_seconds: float = Field(default=30.0, gt=0, le=30.0)
    keep_checkpoints: int = Field(default=2, ge=1)
    threads: int | None = Field(default=None, ge=1)


class EvaluateSpec(_Strict):
    """What is measured at the end. `split` None: test, or nothing where a collection has no judgments.

    `candidates: judged` ranks each query's judged documents alone, for re-ranking sets such as WikiQA.
    """

    split: str | None = None
    measures: tuple[str, ...] = ("nDCG@10", "RR@10", "R@100", "AP")
    exclude_self: Literal["auto", "always", "never"] = "auto"
    candidates: Literal["all", "judged"] = "all"
    depth: int = Field(default=100, ge=10)
    cost: bool = True
    prefixes: tuple[int, ...] = ()


class OutputSpec(_Strict):
    """Extra files of a run."""

    packed: bool = False


class Recipe(_Strict):
    """One whole run."""

    collection: str
    teacher: Annotated[TeacherSpec, BeforeValidator(_teacher)]
    student: Annotated[StudentSpec, BeforeValidator(_student)] = StudentSpec()
    towers: Literal["asymmetric", "shared", "separate"] = "asymmetric"
    queries: QueriesSpec = QueriesSpec()
    objectives: tuple[Annotated[ObjectiveSpec, BeforeValidator(_objective)], ...] = Field(
        default=(), validate_default=True
    )
    training: TrainingSpec = TrainingSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    output: OutputSpec = OutputSpec()

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, all defaults written out."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False, allow_unicode=True)


# What PyYAML raises: its own errors, and Python's for values such as `2001-99-99`, `!!int x` or endless nesting.
_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def load_recipe(
    path: str | Path | None, *, flags: Mapping[str, Any] | None = None, settings: Sequence[str] = ()
) -> Recipe:
    """Read a recipe file, lay flags and `path=value` settings over it, and check the whole.

    Args:
        path: YAML file, or None for an empty one.
        flags: top-level keys given on the command line; None values are left out.
        settings: `training.epochs=2` and the like, values in YAML's spelling.

    Raises:
        InputError: names the file and line, the option, and what is allowed.
    """
    data: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    if path is not None:
        data, lines = _read_yaml(Path(path))
    origin: dict[tuple[str, ...], str] = {}
    for key, value in (flags or {}).items():
        if value is not None:
            data[key] = value
            origin[(key,)] = f"--{key}"
    for setting in settings:
        _apply_setting(data, setting, origin)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise explain(error, Recipe, path, lines, origin) from None


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("no such recipe file", where=str(path), fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the recipe: {error}", where=str(path), fix="give a UTF-8 YAML file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        if mark and not text[mark.index :].strip():  # the end of the file says nothing: where was it opened?
            mark = getattr(error, "context_mark", None) or mark
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or f"not valid YAML ({error})"
        raise InputError(f"cannot read the YAML: {problem}", where=f"{path}{line}", fix="mend the line") from None
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise InputError("a recipe is a mapping of keys", where=f"{path}:1", fix="start with `collection: DIR`")
    lines: dict[tuple[str, ...], int] = {}
    _note_lines(node, (), lines, path, set())
    return data, lines


def _note_lines(
    node: Any, place: tuple[str, ...], lines: dict[tuple[str, ...], int], path: Path, seen_nodes: set[int]
) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if id(node) in seen_nodes:  # an alias: it may stand in many places, and within itself
        return
    seen_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise InputError(
                    f"key `{key.value}` is given twice",
                    where=f"{path}:{key.start_mark.line + 1}",
                    fix="keep one of the two",
                )
            seen.add(key.value)
            lines[(*place, key.value)] = key.start_mark.line + 1
            _note_lines(value, (*place, key.value), lines, path, seen_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _note_lines(value, (*place, str(i)), lines, path, seen_nodes)


def _apply_setting(data: dict[str, Any], setting: str, origin: dict[tuple[str, ...], str]) -> None:
    key, equals, raw = setting.partition("=")
    where = f"--set {setting}"
    if not equals or not key.strip():
        raise InputError("a setting is path=value", where=where, fix="for example --set training.epochs=2")
    try:
        value = yaml.safe_load(raw)
    except _NOT_YAML:
        raise InputError("the value is not valid YAML", where=where, fix="quote it") from None
    place = tuple(key.strip().split("."))
    target = data
    for part in place[:-1]:
        inner = target.get(part)
        if isinstance(inner, str) and target is data and part in ("teacher", "student"):
            try:
                inner = _teacher(inner) if part == "teacher" else _student(inner)
            except ValueError as error:
                raise InputError(str(error), where=origin.get((part,), part), fix="mend the short form") from None
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise InputError(
                f"`{part}` is not a group of settings", where=where, fix="see docs/recipes.md for the keys"
            )
        target[part] = inner
        target = inner
    target[place[-1]] = value
    origin[place] = where
