"""`metrics.jsonl`: one flushed line of JSON at a time, and after a resume as if there had been no interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..atomic import write_text


class MetricsLog:
    """Appends to a file of lines that each hold `step`.

    Args:
        path: the file; None: nothing is written (of processes that train as one, the first writes).
        step: the step at which the run goes on; lines beyond it, and a half-written last one, are cut. None: a new run,
            an older file is emptied.
    """

    def __init__(self, path: Path | None, step: int | None) -> None:
        self._file = None
        if path is None:
            return
        kept = [] if step is None or not path.exists() else _lines(path, step)
        write_text(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line and flush it."""
        if self._file is not None:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _lines(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] > step:
                continue
        except (ValueError, KeyError, TypeError):
            continue
        kept.append(line + "\n")
    return kept
