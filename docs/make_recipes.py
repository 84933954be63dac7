"""Write the tables of keys in docs/recipes.md and docs/teaching.md from the types: `python docs/make_recipes.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from potstill.recipe import Recipe, TeachGeneratorSpec, TeachSpec
from potstill.recipe.comparing import EnsembleSpec, MemberSpec

# The tables of each page, in the order of its marks; a table goes from its mark to the first line that is none of it.
PAGES: dict[str, tuple[type[BaseModel], ...]] = {
    "recipes.md": (Recipe,),
    "teaching.md": (TeachSpec, TeachGeneratorSpec),
    "govern.md": (EnsembleSpec,),
}
MARK = "<!-- keys -->"


def rows(model: type[BaseModel], prefix: str = "") -> list[str]:
    """One table row for each key below a model."""
    found = []
    for name, field in model.model_fields.items():
        inner = next(models_in(field.annotation), None)
        if inner is MemberSpec:
            many = "[]" if is_list(field.annotation) else ""
            found.append(f"| `{prefix}{name}{many}` | [NAME=][KIND:]WHAT | |")
            continue
        if inner is model:
            found.append(f"| `{prefix}{name}[]` | the same keys again | {default(field.default)} |")
            continue
        if inner is not None:
            many = "[]" if is_list(field.annotation) else ""
            found.extend(rows(inner, f"{prefix}{name}{many}."))
            continue
        found.append(f"| `{prefix}{name}` | {kind(field.annotation)} | {default(field.default)} |")
    return found


def is_list(annotation: Any) -> bool:
    """Whether a type is a list of groups, or None."""
    return any(get_origin(part) is tuple for part in (annotation, *get_args(annotation)))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The groups of keys that a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def kind(annotation: Any) -> str:
    """A type as people write it."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"typing\.Literal\[([^]]*)\]", r"\1", text)
    text = re.sub(r"Optional\[(.*)\]", r"\1 | None", text)
    text = re.sub(r"Union\[(.*)\]", r"\1", text)
    text = re.sub(r"pathlib\.|typing\.|potstill\.recipe\.(?:\w+\.)?|_local\.", "", text)
    return text.replace("|", "\\|").replace("'", "")


def default(value: Any) -> str:
    """A default as people write it."""
    if value is PydanticUndefined:
        return "required"
    return "" if value is None else f"`{list(value) if isinstance(value, tuple) else value}`"


def page(name: str = "recipes.md") -> str:
    """The whole page with its tables made anew."""
    made, *parts = Path(__file__).with_name(name).read_text(encoding="utf-8").split(MARK)
    for model, old in zip(PAGES[name], parts, strict=True):
        table = "\n".join(["| key | values | default |", "|---|---|---|", *rows(model)])
        after = "\n".join(dropwhile(lambda line: not line or line.startswith("|"), old.splitlines())).strip()
        made += f"{MARK}\n\n{table}\n\n" + (f"{after}\n\n" if after else "")
    return made.rstrip() + "\n"


if __name__ == "__main__":
    for name in PAGES:
        Path(__file__).with_name(name).write_text(page(name), encoding="utf-8")
