"""What is wrong with a recipe, in words: the key, the line or option that said it, and what was probably meant."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..errors import InputError

# Pydantic's words where they are Python's rather than YAML's.
_PLAIN = {
    "tuple_type": "this should be a list: [one, another]",
    "model_type": "this should be a group of keys, or a short form where there is one",
    "model_attributes_type": "this should be a group of keys, or a short form where there is one",
}


def explain(
    error: ValidationError,
    recipe: type[BaseModel],
    path: str | Path | None,
    lines: Mapping[tuple[str, ...], int],
    origin: Mapping[tuple[str, ...], str],
) -> InputError:
    """The error for people.

    Args:
        error: what pydantic found.
        recipe: the model that was validated, for the names of its keys.
        path: the recipe's file, if there is one.
        lines: line of each key in that file.
        origin: option that set a key, by the key.
    """
    said: list[str] = []
    first: str | None = None
    for problem in error.errors():
        place = tuple(str(part) for part in problem["loc"])
        where = _where(place, path, lines, origin)
        message = _message(problem, place, recipe)
        if first is None:
            first = where
        elif where != first:
            message = f"{message} [{where}]"
        said.append(message)
    page = getattr(recipe, "PAGE", "recipes.md")
    fix = f"mend the key or see docs/{page} for all keys and their defaults"
    absent = [problem["loc"][0] for problem in error.errors() if problem["type"] == "missing"]
    if path is None and len(absent) == len(said):
        fix = "name it: " + " ".join(f"--{key} ..." for key in absent)
    return InputError("; ".join(said), where=first, fix=fix)


def _where(
    place: tuple[str, ...],
    path: str | Path | None,
    lines: Mapping[tuple[str, ...], int],
    origin: Mapping[tuple[str, ...], str],
) -> str:
    """The option or the line that said what is wrong at a place: there, below it (a group), or around it."""
    for cut in range(len(place), 0, -1):
        if place[:cut] in origin:
            return origin[place[:cut]]
        if cut == len(place):
            below = [said for other, said in origin.items() if other[:cut] == place]
            if below:
                return below[0]
        if place[:cut] in lines:
            return f"{path}:{lines[place[:cut]]}"
    return str(path) if path else "recipe"


def _message(problem: Any, place: tuple[str, ...], recipe: type[BaseModel]) -> str:
    dotted = ".".join(place) or "the recipe"
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"`{dotted}` is not a key{_near(place, recipe)}"
    if kind == "missing":
        return f"`{dotted}` is missing"
    said = _PLAIN.get(kind) or problem["msg"].removeprefix("Value error, ")
    if isinstance(value, Mapping | BaseModel):
        return f"`{dotted}`: {said}"
    shown = "nothing" if value is None else reprlib.repr(value)
    return f"`{dotted}`: {said} (got {shown})"


def _near(place: tuple[str, ...], recipe: type[BaseModel]) -> str:
    """Suggest the key that was probably meant."""
    model: type[BaseModel] | None = recipe
    for part in place[:-1]:
        if part.isdigit():  # an entry of a list; the list's annotation has led to the model already
            continue
        field = model.model_fields.get(part) if model is not None else None
        model = _model_in(field.annotation) if field is not None else None
    if model is None:
        return ""
    names = list(model.model_fields)
    close = difflib.get_close_matches(place[-1], names, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; the keys here are {', '.join(names)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The group of keys in an annotation, however wrapped: `Spec`, `Spec | None`, `tuple[Annotated[Spec], ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
