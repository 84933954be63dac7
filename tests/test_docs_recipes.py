from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_tables_of_keys_are_those_of_the_types():
    spec = importlib.util.spec_from_file_location("make_recipes", DOCS / "make_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.PAGES) == {"recipes.md", "teaching.md", "govern.md"}
    assert [spec.PAGE for spec in module.PAGES["teaching.md"]] == ["teaching.md"] * 2
    for name in module.PAGES:
        assert (DOCS / name).read_text(encoding="utf-8") == module.page(name), "run python docs/make_recipes.py"
