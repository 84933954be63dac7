"""Texts and kinds of students for the tests of exports."""

from __future__ import annotations

from typing import Any

TEXTS = [
    "barley mash and yeast make spirit from water and malt",
    "copper",
    "the blood and the heart of a patient in the vaccine trial",
    "zzz qqq 1234",
    "wind in the sail, anchor in the harbour; the storm has to wait! " * 9,
    "",
]
SPECS: dict[str, dict[str, Any]] = {
    "static": {"phrases": 5},
    "static-head": {"rank": 8},
    "layers": {"kind": "layers", "layers": (0,), "pooling": "cls"},
    "tiny": {"kind": "tiny", "depth": 2, "width": 64, "prompts": {"query": "the wind: "}},
}
