"""The laws of the house, read from the sources: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "potstill"
LINES = 400

# From the top down, as in docs/architecture.md; a room imports only rooms below it, and leaves.
ROOMS = (
    {"cli"},
    {"cli_teach", "cli_export", "cli_index", "cli_serve", "cli_compare"},
    {"api"},
    {"pipeline"},
    {"report", "export", "serving", "index", "interop"},
    {"teaching"},
    {"training"},
    {"evaluation"},
    {"students", "queries", "candidates"},
    {"teachers"},
    {"signals"},
    {"collection"},
)
LEAVES = {"errors", "progress", "atomic", "texts", "version"}
RECIPE = {"recipe"}  # a leaf of several files


def named(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("potstill", *parts)).removesuffix(".__init__")


MODULES = {named(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(module: str, source: str, package: bool) -> Iterator[str]:
    """Everything a module imports, wherever in it: at its top, inside functions, for type checkers alone."""
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


IMPORTS = {
    module: set(imported(module, path.read_text(encoding="utf-8"), path.name == "__init__.py"))
    for module, path in MODULES.items()
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names of one circle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_are_read_wherever_they_stand():
    source = """
import torch
from . import folder
from .hub import saved_source
from ..errors import InputError
def later():
    from ..recipe import Recipe
"""
    found = set(imported("potstill.collection.collection", source, package=False))
    inside = {"collection.folder", "collection.hub", "errors", "recipe"}
    assert found == {"torch"} | {f"potstill.{name}" for name in inside}
    assert "potstill.collection.ids" in set(imported("potstill.collection", "from .ids import Ids", package=True))


def test_no_module_imports_itself_by_way_of_others():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert circle({module: IMPORTS[module] & MODULES.keys() for module in MODULES}) == []


def test_rooms_import_rooms_below_them():
    height = {name: number for number, names in enumerate(ROOMS) for name in names}
    free = LEAVES | RECIPE | {"objectives"}
    assert {room(module) for module in MODULES} == {"", *height, *free}
    upward = [
        f"{module} imports {other}"
        for module in MODULES
        if room(module) in height
        for other in IMPORTS[module] & MODULES.keys()
        if room(other) not in free and room(other) != room(module)
        if room(other) not in height or height[room(other)] <= height[room(module)]
    ]
    assert upward == []


def test_leaves_import_no_room():
    for name in LEAVES | RECIPE:
        allowed = LEAVES | (RECIPE if name in RECIPE else set())
        assert {room(other) for other in IMPORTS[f"potstill.{name}"] & MODULES.keys()} <= allowed, name


def test_objectives_import_torch_and_the_standard_library_alone():
    for module in MODULES:
        if room(module) == "objectives":
            for other in IMPORTS[module]:
                top = other.split(".")[0]
                own = other.startswith("potstill.objectives")
                kernel = module.endswith("_kernel") and top == "triton"  # comes with torch, where there is CUDA
                assert own or kernel or top == "torch" or top in sys.stdlib_module_names, f"{module} imports {other}"


def test_importing_potstill_loads_the_standard_library_alone():
    code = "import sys; before = set(sys.modules); import potstill; print(*(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "potstill" in told
    loaded = {name.split(".")[0] for name in told}
    assert loaded - sys.stdlib_module_names == {"potstill"}


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_long(module):
    count = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert count <= LINES, f"{count} lines; one idea a file"
