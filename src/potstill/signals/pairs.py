"""A query and a document as one text, so that what is said of a pair is stored and looked up as any other signal is."""

from __future__ import annotations

_SHOWN = 80  # characters of a text in a message


def pair_text(query: str, document: str) -> str:
    """One text for a pair; two pairs share it only if they are the same pair. `split_pair` reads it back."""
    return f"{len(query)}:{query}{document}"


def split_pair(text: str) -> tuple[str, str]:
    """The query and the document of a `pair_text`."""
    length, _, rest = text.partition(":")
    return rest[: int(length)], rest[int(length) :]


def quoted(text: str) -> str:
    """A text as shown in a message: its first 80 characters, quoted."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def quoted_pair(text: str) -> str:
    """A `pair_text` as shown in a message: its query and its document; any other text is quoted as it is."""
    if not text.partition(":")[0].isdecimal():
        return quoted(text)
    query, document = split_pair(text)
    return f"the query {quoted(query)} with the document {quoted(document)}"
