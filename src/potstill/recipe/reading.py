"""A recipe from its file, flags and settings; every mistake is told with its line and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import InputError
from .errors import explain
from .students import short_student
from .teachers import short_teacher
from .whole import Recipe

# What PyYAML raises: its own errors, and Python's for values such as `2001-99-99`, `!!int x` or endless nesting.
SpecT = TypeVar("SpecT", bound=BaseModel)

_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def load_recipe(
    path: str | Path | None, *, flags: Mapping[str, Any] | None = None, settings: Sequence[str] = ()
) -> Recipe:
    """Read a recipe file; see `load_spec`."""
    return load_spec(Recipe, path, flags=flags, settings=settings)


def load_spec(
    model: type[SpecT],
    path: str | Path | None,
    *,
    flags: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> SpecT:
    """Read a YAML file, lay flags and `path=value` settings over it, and check the whole.

    Args:
        model: what it should be: a recipe, or another group of keys.
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
    page = getattr(model, "PAGE", "recipes.md")
    for setting in settings:
        _apply_setting(data, setting, origin, page)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise explain(error, model, path, lines, origin) from None


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


def _apply_setting(data: dict[str, Any], setting: str, origin: dict[tuple[str, ...], str], page: str) -> None:
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
                inner = short_teacher(inner) if part == "teacher" else short_student(inner)
            except ValueError as error:
                raise InputError(str(error), where=origin.get((part,), part), fix="mend the short form") from None
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise InputError(f"`{part}` is not a group of settings", where=where, fix=f"see docs/{page} for the keys")
        target[part] = inner
        target = inner
    target[place[-1]] = value
    origin[place] = where
