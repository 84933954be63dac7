"""Lines of UTF-8 text files, plain or gzip, with errors that name the line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Stream (line number from 1, line without its end): LF or CRLF, and no other; a UTF-8 byte order mark is skipped.

    Raises:
        InputError: the file cannot be opened, is not UTF-8 (names line and byte), or is a broken gzip file.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            for raw in handle:
                number += 1
                if number == 1:
                    if raw.startswith(_UTF16):
                        raise _encoding(path, 1, "the file is UTF-16", "UTF-16")
                    raw = raw.removeprefix(_BOM)
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    problem = f"not UTF-8: byte 0x{raw[error.start]:02X} at position {error.start + 1} of the line"
                    raise _encoding(path, number, problem, "WINDOWS-1252") from None
                yield number, line.removesuffix("\n").removesuffix("\r")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"broken gzip file: {error}",
            where=f"{path}:{number + 1}",
            fix=f"copy or download it again (`gzip -t {path.name}` checks it)",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a file that the system does not let us read."""
    return InputError(
        f"cannot be read: {error.strerror or error}", where=str(path), fix="check the path and its permissions"
    )


def _encoding(path: Path, line: int, problem: str, guess: str) -> InputError:
    return InputError(
        problem,
        where=f"{path}:{line}",
        fix=f"convert the file to UTF-8, for example `iconv -f {guess} -t UTF-8 {path.name}`",
    )
