"""A query and a document as one text, so that what is said of a pair is stored and looked up as any other signal is."""

from __future__ import annotations


def pair_text(query: str, document: str) -> str:
    """One text for a pair; two pairs share it only if they are the same pair. `split_pair` reads it back."""
    return f"{len(query)}:{query}{document}"


def split_pair(text: str) -> tuple[str, str]:
    """The query and the document of a `pair_text`."""
    length, _, rest = text.partition(":")
    return rest[: int(length)], rest[int(length) :]
