"""Readers of vector files: `.npy`, safetensors and Parquet, with the ids of their rows. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtra

_SAFETENSORS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
_MAX_HEADER = 100_000_000


def read_vectors(path: Path, ids_path: Path | None) -> tuple[np.ndarray, list[str], Path]:
    """The matrix (n, d), memory-mapped where the format allows it, the ids of its rows, and the file they come from.

    Raises:
        InputError: a file that is missing, of another format, malformed, or without ids.
    """
    readers: dict[str, Callable[[Path], np.ndarray]] = {".npy": _read_npy, ".safetensors": _read_safetensors}
    if path.suffix not in (*readers, ".parquet"):
        raise InputError(
            f"no reader for files that end in {path.suffix!r}",
            where=str(path),
            fix="give vectors as .npy, .safetensors or .parquet",
        )
    if not path.is_file():
        raise InputError("no such file of vectors", where=str(path), fix="check the path")
    if path.suffix == ".parquet":
        if ids_path is not None:
            raise InputError(
                "Parquet holds its own ids", where=str(ids_path), fix="leave the ids file out; the column is `id`"
            )
        matrix, ids = _read_parquet(path)
        return matrix, ids, path
    matrix = readers[path.suffix](path)
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or 0 in matrix.shape:
        raise InputError(
            f"the array has shape {matrix.shape} and type {matrix.dtype}; vectors are (n, d) floats",
            where=str(path),
            fix="save a two-dimensional array of float16 or float32",
        )
    found = ids_path or ids_beside(path)
    return matrix, read_id_file(found), found


def _read_npy(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        if "pickle" in str(error) or "object" in str(error).lower():
            raise InputError(
                "the file holds pickled Python objects, which are never loaded",
                where=str(path),
                fix="save a plain float array: np.save(path, np.asarray(vectors, dtype=np.float32))",
            ) from None
        raise InputError(f"cannot read the .npy file: {error}", where=str(path), fix="save it again") from None
    return array


def _read_safetensors(path: Path) -> np.ndarray:
    """Map one tensor; the header (8 bytes of length, then JSON) says where it lies."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise ValueError("the header's length is wrong")
            header: dict[str, Any] = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        if "vectors" not in tensors and len(tensors) != 1:
            raise InputError(
                f"the file has {len(tensors)} tensors ({', '.join(list(tensors)[:5])}) and none is called `vectors`",
                where=str(path),
                fix="call the tensor `vectors`",
            )
        entry = tensors["vectors"] if "vectors" in tensors else next(iter(tensors.values()))
        if entry["dtype"] not in _SAFETENSORS:
            raise InputError(
                f"the tensor has type {entry['dtype']}", where=str(path), fix="save it as float16 or float32"
            )
        dtype = np.dtype(_SAFETENSORS[entry["dtype"]]).newbyteorder("<")
        shape = tuple(int(n) for n in entry["shape"])
        start, end = (8 + length + int(at) for at in entry["data_offsets"])
        if end > size or end - start != dtype.itemsize * math.prod(shape):
            raise ValueError("the file is cut short, or its header does not fit its data")
        if 0 in shape:
            return np.zeros(shape, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not a safetensors file: {error}", where=str(path), fix="save it again") from None


def _read_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read `id` and `vector` in batches into one float32 matrix; Parquet cannot be mapped."""
    try:
        import pyarrow as arrow
        import pyarrow.compute as compute
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if "id" not in names or "vector" not in names:
            raise InputError(
                f"the columns are {', '.join(names)}; `id` and `vector` are needed",
                where=str(path),
                fix="rename the columns",
            )
        kind = file.schema_arrow.field("vector").type
        listed = arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind)
        if not listed or not arrow.types.is_floating(kind.value_type):
            raise InputError(
                f"column `vector` is of type {kind}", where=str(path), fix="make it a list of float numbers"
            )
        ids: list[str] = []
        matrix = np.zeros((0, 0), dtype=np.float32)
        for batch in file.iter_batches(batch_size=8192, columns=["id", "vector"]):
            column, flat = batch.column("vector"), batch.column("vector").flatten()
            widths = compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
            if not ids:
                matrix = np.empty((file.metadata.num_rows, max(0, int(widths[0]))), dtype=np.float32)
            odd = np.flatnonzero(widths != matrix.shape[1])
            if len(odd) or flat.null_count or batch.column("id").null_count:
                what = f"row {len(ids) + int(odd[0])} has another width" if len(odd) else "a number or an id is null"
                raise InputError(
                    f"{what} (the vectors have {matrix.shape[1]} dimensions)",
                    where=str(path),
                    fix="give every row an id and a whole vector",
                )
            matrix[len(ids) : len(ids) + len(column)] = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
            ids += [str(value) for value in batch.column("id").to_pylist()]
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"cannot read the Parquet file: {error}", where=str(path), fix="write it again") from None
    if not ids or matrix.shape[1] == 0:
        raise InputError("the file holds no vectors", where=str(path), fix="write it again")
    return matrix, ids


def ids_beside(path: Path) -> Path:
    """The file of ids that lies beside a file of vectors.

    Raises:
        InputError: there is none; names those that were looked for.
    """
    tried = [
        candidate
        for end in ("txt", "json")
        for candidate in (
            path.with_name(f"{path.name}.ids.{end}"),
            path.with_name(f"{path.stem}.ids.{end}"),
            path.with_name(f"ids.{end}"),
        )
    ]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise InputError(
        "the vectors have no ids: none of " + ", ".join(candidate.name for candidate in tried) + " is beside them",
        where=str(path),
        fix=f"write one id a line to {tried[0].name}, or name the file with teacher.index_ids",
    )


def read_id_file(path: Path) -> list[str]:
    """Ids: one a line, or a JSON list.

    Raises:
        InputError: there is no such file, or it is no list of ids; names the line.
    """
    if not path.is_file():
        raise InputError("no such file of ids", where=str(path), fix="check the path")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the ids are not UTF-8: {error}", where=str(path), fix="save them as UTF-8") from None
    if path.suffix == ".json":
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError(f"the ids are not JSON: {error}", where=str(path), fix="write a list of ids") from None
        if not isinstance(values, list) or not all(isinstance(v, str) or type(v) is int for v in values):
            raise InputError("the ids are not a list of strings", where=str(path), fix="write a list of ids")
        return [str(value) for value in values]
    lines = text.removesuffix("\n").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError("an empty id", where=f"{path}:{number}", fix="give one id a line, none empty")
    return lines
