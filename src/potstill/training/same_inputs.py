"""One input for two readers: what a student reads, in the teacher's tokens and in the teacher's embedding space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..recipe import Role
from ..students.embedded import Embedded
from ..students.tokens import Tokens
from ..students.tower import Tower
from .live_teacher import LiveTeacher

_SHOWN = 3


class Both(NamedTuple):
    """Texts as token ids of the student and of the teacher.

    `starts (n,)` and `lengths (n,)`: of the texts' own tokens among the student's, which are all but its surroundings.
    The teacher's stand after its own `before`, equally many.
    """

    student: Tokens
    teacher: Tokens
    starts: np.ndarray
    lengths: np.ndarray


class SameInputs:
    """A tower and a live teacher that read the same tokens.

    Every entry of the tower's vocabulary must be one of the teacher's: its own vocabulary, whole or trimmed. What the
    tower puts around a text (prompt, special tokens) is exchanged for what the teacher puts there; a text longer than
    the teacher reads is cut for both.

    Args:
        tower: the student's side.
        teacher: the teacher's.
        role: whose texts they read.
        moves: whether `carried` will be asked for; its map between the two embedding tables is fitted here, once.

    Raises:
        InputError: the tower has entries that the teacher has not.
    """

    def __init__(self, tower: Tower, teacher: LiveTeacher, role: Role, *, moves: bool) -> None:
        self.tower, self.teacher, self.role = tower, teacher, role
        self.entries = common_entries(tower.vocabulary(), teacher.vocabulary())
        before, after = tower.surroundings(role)
        self._before = np.asarray(before, dtype=np.int32)
        self._after = np.asarray(after, dtype=np.int32)
        self.unit, self.map = 1.0, None
        if moves:
            used = torch.tensor(sorted(tower.vocabulary().values()))
            ours = tower.entry_table().float().cpu()[used]
            theirs = teacher.entry_table().float().cpu()[torch.from_numpy(self.entries)[used]]
            self.unit = float(ours.norm(dim=1).mean())
            self.map = table_map(ours, theirs)

    def read(self, tokens: Tokens) -> Both:
        """The same texts for both, from the tower's tokens of them."""
        student, teacher, starts, lengths = [], [], [], []
        for row in range(len(tokens)):
            ids = tokens[row]
            start = _common(ids, self._before)
            stop = len(ids) - _common(ids[start:][::-1], self._after[::-1])
            own = ids[start:stop][: self.teacher.room]
            student.append([*ids[:start], *own, *ids[stop:]])
            teacher.append([*self.teacher.before, *self.entries[own], *self.teacher.after])
            starts.append(start)
            lengths.append(len(own))
        return Both(
            Tokens.of(student, prompt=tokens.prompt), Tokens.of(teacher), np.asarray(starts), np.asarray(lengths)
        )

    def own(self, both: Both, mask: Tensor, *, teacher: bool) -> Tensor:
        """Which tokens are the texts' own, bool `(n, t)`, given a side's mask."""
        starts = np.full(len(both.starts), len(self.teacher.before)) if teacher else both.starts
        first = torch.from_numpy(starts).to(mask.device)[:, None]
        last = first + torch.from_numpy(both.lengths).to(mask.device)[:, None]
        place = mask.cumsum(dim=1) - 1
        return (mask > 0) & (place >= first) & (place < last)

    def carried(self, by: Tensor, ours: Tensor, theirs: Embedded, own: Tensor) -> Embedded:
        """The teacher's inputs after the student's have been moved.

        Args:
            by: `(n, t, w)` how far each token of the student is moved.
            ours: bool `(n, t)` which of these tokens are the texts' own; only they move.
            theirs: the teacher's inputs before the move.
            own: bool `(n, t')` which of its tokens are the texts' own.
        """
        step = by[ours]
        if self.map is not None:
            step = step @ self.map.to(step.device)
        vectors = theirs.vectors
        move = torch.zeros_like(vectors).masked_scatter(own[:, :, None].to(vectors.device), step.to(vectors))
        return theirs.moved(move)


def common_entries(student: dict[str, int], teacher: dict[str, int]) -> np.ndarray:
    """The teacher's id of each of the student's `(V,)` int64.

    Raises:
        InputError: an entry is not the teacher's.
    """
    foreign = [token for token in student if token not in teacher]
    if foreign:
        shown = ", ".join(map(repr, sorted(foreign)[:_SHOWN]))
        raise InputError(
            f"{len(foreign):,} of the student's {len(student):,} entries are not the teacher's ({shown}, ...): the two "
            "cannot read the same mixed or moved tokens",
            where="augment",
            fix="use a student with the teacher's vocabulary (`vocabulary: teacher` or `trimmed`, no `phrases`), "
            "or `queries.mixed`, which mixes texts, and leave `augment` out",
        )
    entries = np.zeros(max(student.values(), default=-1) + 1, dtype=np.int64)
    for token, number in student.items():
        entries[number] = teacher[token]
    return entries


def table_map(ours: Tensor, theirs: Tensor) -> Tensor | None:
    """The `(w, w')` matrix that takes rows of `ours (V, w)` closest to `theirs (V, w')`, float32; None: they are equal.

    Least squares, minimum norm where it is not unique. That a move in the student's embedding space is carried to the
    teacher's by this map is our reading of backward pass distillation, not confirmed by its authors' text.
    """
    if torch.equal(ours, theirs):
        return None
    solution: Tensor = torch.linalg.lstsq(ours.float(), theirs.float(), driver="gelsd").solution
    return solution


def _common(ids: np.ndarray, expected: Sequence[int] | np.ndarray) -> int:
    """How many ids are as expected, from the start on; fewer than all where a prompt's end melts into the text."""
    count = min(len(ids), len(expected))
    differs = np.flatnonzero(ids[:count] != expected[:count])
    return int(differs[0]) if len(differs) else count
