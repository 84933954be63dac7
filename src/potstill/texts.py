"""Identity of texts. A leaf module: every room may use it."""

from __future__ import annotations

import hashlib
import unicodedata


def digest(text: str) -> bytes:
    """128-bit identity of a text: BLAKE2b of its UTF-8 bytes. Lone surrogates are kept apart, never an error."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def normalise(text: str) -> str:
    """A text as compared with others: NFKC, case-folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def whole(text: str) -> str:
    """The text with halves of surrogate pairs replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
