"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from potstill.atomic import replacing, replacing_folder, write_json, write_text


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_replaced_and_readable(tmp_path: Path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "one")
    write_text(path, "zwei: ä\n")
    assert path.read_text(encoding="utf-8") == "zwei: ä\n"
    assert mode(path) == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_the_umask_is_heeded_and_left_alone(tmp_path: Path):
    os.umask(0o077)
    write_text(tmp_path / "secret", "x")
    assert mode(tmp_path / "secret") == 0o600
    assert os.umask(0o022) == 0o077


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old", "nothing is seen before the end"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_json_keeps_order_and_refuses_what_is_no_number(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": ["ä", None, 0.1]})
    assert path.read_text(encoding="utf-8").index('"b"') < path.read_text(encoding="utf-8").index('"a"')
    assert "ä" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": 1, "a": ["ä", None, 0.1]}


def test_a_folder_is_replaced_whole_and_readable(tmp_path: Path):
    path = tmp_path / "model"
    with replacing_folder(path) as folder:
        (folder / "old").write_text("1")
    with replacing_folder(path) as folder:
        (folder / "sub").mkdir()
        secret = folder / "sub" / "weights"
        secret.write_text("2")
        secret.chmod(0o600)  # as safetensors leaves them
        assert (path / "old").exists()
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*")) == ["sub", "sub/weights"]
    assert mode(path) == 0o755
    assert mode(path / "sub" / "weights") == 0o644
    assert os.listdir(tmp_path) == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "model"
    with replacing_folder(path) as folder:
        (folder / "old").write_text("1")

    def fail() -> None:
        with replacing_folder(path) as folder:
            (folder / "new").write_text("2")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(path) == ["old"]
