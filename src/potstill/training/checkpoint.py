"""Checkpoints: folders of safetensors and JSON, there whole or not at all, checked by checksum when read.

checkpoints/step-00000120/
  state.json            counters, random states, what the run is (its identity), checksums of all that is here
  task.safetensors      all that is trained
  optimiser.safetensors moments and clocks
  best.safetensors      the weights with the best validation so far; a hard link while they do not change
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import progress
from ..atomic import replacing_folder

FORMAT = 1
_STATE, _TASK, _OPTIMISER, _BEST = "state.json", "task.safetensors", "optimiser.safetensors", "best.safetensors"


@dataclass
class Checkpoint:
    """What a run needs to go on as if nothing had happened."""

    state: dict[str, Any]
    task: dict[str, Tensor]
    optimiser: dict[str, Tensor]


class Damaged(Exception):
    """A checkpoint cannot be used; the message says which file and why."""


class Checkpoints:
    """The checkpoints of one run, newest last.

    Args:
        folder: `RUN/checkpoints`.
        keep: how many are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, rising."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*"))

    def clear(self) -> None:
        """Remove them all: a new run starts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        task: Mapping[str, Tensor],
        optimiser: Mapping[str, Tensor],
        *,
        best: str | None,
    ) -> None:
        """Write the checkpoint of a step, then remove those beyond `keep`.

        Args:
            step: number of updates done.
            state: what JSON can hold exactly.
            task: flat names -> tensors.
            optimiser: likewise.
            best: "this": the task's weights are the best so far; "before": those of the last checkpoint stay the best;
                None: nothing was validated yet.
        """
        earlier = [s for s in self.steps() if s < step]
        with replacing_folder(self._path(step)) as folder:
            _write(task, folder / _TASK)
            _write(optimiser, folder / _OPTIMISER)
            sums = {name: _checksum(folder / name) for name in (_TASK, _OPTIMISER)}
            if best == "this":
                os.link(folder / _TASK, folder / _BEST)
                sums[_BEST] = sums[_TASK]
            elif best == "before":
                source = self._path(earlier[-1]) / _BEST
                try:
                    os.link(source, folder / _BEST)
                except OSError:  # a file system without hard links
                    shutil.copyfile(source, folder / _BEST)
                sums[_BEST] = json.loads((source.parent / _STATE).read_text())["checksums"][_BEST]
            whole = {"format": FORMAT, "step": step, **state, "checksums": sums}
            whole["checksum"] = _json_sum(whole)
            (folder / _STATE).write_text(json.dumps(whole, indent=1), encoding="utf-8")
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self._path(old))

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, if any; damaged ones are told and removed, unfinished ones removed."""
        for left in self.folder.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        for step in reversed(self.steps()):
            try:
                return self._read(step)
            except Damaged as damage:
                progress.warn(f"{damage}; the checkpoint before it is used, or the beginning when there is none")
                shutil.rmtree(self._path(step))
        return None

    def best(self) -> dict[str, Tensor] | None:
        """The best weights as the newest checkpoint holds them; None where nothing was validated."""
        path = self._path(self.steps()[-1]) / _BEST
        return _tensors(path) if path.exists() else None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _read(self, step: int) -> Checkpoint:
        folder = self._path(step)
        try:
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            stated = state.pop("checksum")
            if state["format"] != FORMAT or stated != _json_sum(state):
                raise Damaged(f"{folder / _STATE} is damaged")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise Damaged(f"{folder / _STATE} cannot be read") from error
        for name, checksum in state["checksums"].items():
            if not (folder / name).exists():
                raise Damaged(f"{folder / name} is missing")
            if _checksum(folder / name) != checksum:
                raise Damaged(f"{folder / name} is damaged (its checksum differs)")
        return Checkpoint(state, _tensors(folder / _TASK), _tensors(folder / _OPTIMISER))


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        if whole.numel() and whole.data_ptr() in seen:  # tied weights: safetensors wants no shared memory
            whole = whole.clone()
        seen.add(whole.data_ptr())
        plain[name] = whole
    save_file(plain, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _json_sum(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
