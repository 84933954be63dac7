"""Potstill distils large retrieval models into small, fast ones, and proves how much was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from potstill.api import Run, Taught, distill, ensemble, teach
    from potstill.students.loading import Student, load

__all__ = ["Run", "Student", "Taught", "__version__", "distill", "ensemble", "load", "teach"]

# Imported at first use: `import potstill` stays light.
_HOMES = {
    "Run": "potstill.api",
    "Student": "potstill.students.loading",
    "Taught": "potstill.api",
    "distill": "potstill.api",
    "ensemble": "potstill.api",
    "load": "potstill.students.loading",
    "teach": "potstill.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
