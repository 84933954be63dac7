"""Links of the README and the documentation lead somewhere, and the site's navigation is whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted(DOCS.rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def _anchors(text: str) -> set[str]:
    found = set()
    for heading in re.findall(r"^#+ (.+)$", _prose(text), flags=re.M):
        words = re.sub(r"[^\w\s-]", "", heading.lower())
        found.add(re.sub(r"[\s-]+", "-", words).strip("-"))
    return found


def _broken(page: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.is_file():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in _anchors(target.read_text(encoding="utf-8")):
            broken.append(f"{link}: no such heading")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    assert _broken(page) == []


def test_broken_links_are_found(tmp_path):
    (tmp_path / "b.md").write_text("# One, two\n", encoding="utf-8")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md#one-two) [y](b.md#three) [z](c.md) [w](https://example.org)\n", encoding="utf-8")
    assert _broken(page) == ["b.md#three: no such heading", "c.md: no such file"]


def test_the_navigation_names_every_page_once():
    sections = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    named = [page for section in sections for pages in section.values() for page in pages]
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
