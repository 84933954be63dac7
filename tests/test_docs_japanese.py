"""README.ja.md is kept in step with README.md: headings, code, tables, links, inline code and figures."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```.*?^```$", flags=re.M | re.S)


def _parts(text: str) -> dict[str, list[str]]:
    """All that a translation keeps, by kind; figures are decimals and numbers of two digits or more."""
    text = re.sub(r"\A<!--.*?-->\n", "", text, flags=re.S)
    prose = _BLOCK.sub("", text)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    bare = re.sub(r"\]\([^)\s]+\)|`[^`]*`", " ", prose)
    return {
        "headings": re.findall(r"^#+(?= )", prose, flags=re.M),
        "code blocks": _BLOCK.findall(text),
        "table rows": [str(row.count("|")) for row in prose.splitlines() if row.startswith("|")],
        "links": links,
        "inline code": re.findall(r"`([^`]+)`", prose),
        "figures": re.findall(r"\d+(?:[.,]\d+)+|\d{2,}", bare),
    }


def _differences(english: str, japanese: str) -> list[str]:
    """What one has and the other lacks; of headings, code blocks and tables the order counts too."""
    ours, theirs = _parts(english), _parts(japanese)
    said = []
    for kind in ours:
        a, b = Counter(ours[kind]), Counter(theirs[kind])
        said += [f"{kind}: only in README.md: {part}" for part in (a - b).elements()]
        said += [f"{kind}: only in README.ja.md: {part}" for part in (b - a).elements()]
        if a == b and kind in ("headings", "code blocks", "table rows") and ours[kind] != theirs[kind]:
            said.append(f"{kind}: the same, in another order")
    return said


def test_the_japanese_readme_is_in_step():
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    japanese = (ROOT / "README.ja.md").read_text(encoding="utf-8")
    assert _differences(english, japanese) == [], "change README.ja.md as README.md was changed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("## More\n", "headings: only in README.md: ##"),
        ("```bash\nls\n```\n", "code blocks: only in README.md: ```bash\nls\n```"),
        ("| a | b |\n", "table rows: only in README.md: 3"),
        ("[x](docs/x.md)\n", "links: only in README.md: docs/x.md"),
        ("`key`\n", "inline code: only in README.md: key"),
        ("It keeps 0.987.\n", "figures: only in README.md: 0.987"),
    ],
)
def test_a_change_is_named(change, said):
    text = "# Title\n\nText.\n\n"
    assert _differences(text + change, text) == [said]
