"""What transformers says while it loads a model: kept from the screen, and the weights it had to make up are noted."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MISSING = re.compile(r"^\s*(\S.*?)\s*\|\s*MISSING\b", re.MULTILINE)
POOLER = re.compile(r"(.*\.)?pooler\.")  # BERT's layer between [CLS] and a head; embedders neither save nor use it


class _Notes(logging.Filter):
    """Takes the load report out of the log and keeps the names of missing weights."""

    def __init__(self, missing: list[str], unused: re.Pattern[str] | None) -> None:
        super().__init__()
        self.missing, self.unused = missing, unused

    def filter(self, record: logging.LogRecord) -> bool:
        """False for the report, which is not shown."""
        text = _COLOUR.sub("", record.getMessage())
        if "LOAD REPORT" not in text:
            return True
        self.missing += [name for name in _MISSING.findall(text) if not (self.unused and self.unused.match(name))]
        return False


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers' own progress bars off the terminal."""
    from transformers.utils import logging as shown

    bars = shown.is_progress_bar_enabled()
    shown.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            shown.enable_progress_bar()


@contextmanager
def watched_loading(unused: re.Pattern[str] | None = POOLER) -> Iterator[list[str]]:
    """Load models in here; the list fills with the names of weights that no file held: they are random numbers.

    Those whose names begin as `unused` says are left out.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    missing: list[str] = []
    notes = _Notes(missing, unused)
    logger.setLevel(logging.WARNING)
    logger.addFilter(notes)
    try:
        with without_bars():
            yield missing
    finally:
        logger.removeFilter(notes)
        logger.setLevel(level)
