"""Vectors that already exist: a matrix on disk and the ids of its rows. Checked whole when opened, then mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..progress import meter, warn
from .identity import file_digest
from .vector_files import read_vectors

_BLOCK = 8192
_SHOWN = 5
_UNIT = 5e-3  # float16 rounds the length of a unit vector by less


class PrecomputedIndex:
    """A matrix of vectors and the ids of its rows.

    Attributes:
        path: the file of vectors.
        ids: id of each row, in the file's order.
        dimensions: width.
        unit: whether every vector has length 1 (to float16's rounding).
        zeros: rows that are all zero.
    """

    def __init__(self, path: Path, ids_path: Path | None = None) -> None:
        """Open and check a file of vectors.

        Args:
            path: `.npy`, `.safetensors` or `.parquet`.
            ids_path: text (an id a line) or JSON (a list); None looks beside `path`. Parquet has ids of its own.

        Raises:
            InputError: a file that is missing or malformed, a repeated id, another number of ids than of rows,
                numbers that are not finite.
        """
        self.path = path = path.expanduser()
        self._rows, self.ids, ids_at = read_vectors(path, ids_path.expanduser() if ids_path else None)
        self.dimensions = int(self._rows.shape[1])
        if len(self.ids) != len(self._rows):
            raise InputError(
                f"{len(self.ids):,} ids for {len(self._rows):,} vectors",
                where=str(ids_at),
                fix=f"give one id for each row of {path.name}, in its order",
            )
        self._row_of = {id_: row for row, id_ in enumerate(self.ids)}
        if len(self._row_of) != len(self.ids):
            self._refuse_repeated(ids_at)
        self.unit, self.zeros = self._check_numbers()
        if self.zeros:
            warn(f"{path}: {self.zeros:,} of {len(self.ids):,} vectors are all zero")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Identity of vectors and ids together."""
        whole = hashlib.blake2b(file_digest(self.path).encode(), digest_size=16)
        for id_ in self.ids:
            whole.update(id_.encode("utf-8", "surrogatepass") + b"\0")
        return f"blake2b:{whole.hexdigest()}"

    def rows_for(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers (n,) int64 of the ids; -1 where an id has no vector."""
        return np.fromiter((self._row_of.get(id_, -1) for id_ in ids), dtype=np.int64, count=len(ids))

    def require(self, ids: Sequence[str], what: str = "documents") -> np.ndarray:
        """Like `rows_for`, but every id must have a vector.

        Raises:
            InputError: counts the ids without one and shows some.
        """
        rows = self.rows_for(ids)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            some = ", ".join(repr(ids[i]) for i in missing[:_SHOWN])
            more = ", ..." if len(missing) > _SHOWN else ""
            raise InputError(
                f"{len(missing):,} of {len(ids):,} {what} have no vector: {some}{more}",
                where=str(self.path),
                fix="check that vectors and collection belong together and spell ids alike, or encode what is missing",
            )
        return rows

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Vectors (n, d) float32 of the given rows, in the given order."""
        return np.asarray(self._rows[rows], dtype=np.float32)

    def chunks(self, size: int = _BLOCK) -> Iterator[np.ndarray]:
        """All vectors in order, (at most `size`, d) float32 at a time."""
        for start in range(0, len(self.ids), size):
            yield np.asarray(self._rows[start : start + size], dtype=np.float32)

    def _check_numbers(self) -> tuple[bool, int]:
        unit, zeros, start = True, 0, 0
        with meter(f"checking {self.path.name}", total=len(self.ids), unit="vectors") as progress:
            for chunk in self.chunks():
                squares = np.einsum("nd,nd->n", chunk, chunk, dtype=np.float64)
                bad = np.flatnonzero(~np.isfinite(squares))
                if len(bad):
                    row = start + int(bad[0])
                    raise InputError(
                        f"the vector in row {row} (id {self.ids[row]!r}) has numbers that are not finite",
                        where=str(self.path),
                        fix="encode that document again",
                    )
                zeros += int((squares == 0).sum())
                unit = unit and bool((np.abs(np.sqrt(squares) - 1) < _UNIT).all())
                start += len(chunk)
                progress.advance(len(chunk))
        return unit, zeros

    def _refuse_repeated(self, ids_at: Path) -> None:
        first: dict[str, int] = {}
        for row, id_ in enumerate(self.ids):
            if id_ in first:
                raise InputError(
                    f"id {id_!r} is given twice, in rows {first[id_]} and {row}",
                    where=str(ids_at),
                    fix="keep one vector for each id",
                )
            first[id_] = row
