"""The wheel with its serving extra alone serves a static student where torch is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.heavy
def test_a_clean_environment_serves_a_static_student(static_folder, tmp_path):
    def done(*command):
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=600)

    python = tmp_path / "venv" / "bin" / "python"
    done(sys.executable, "-m", "venv", tmp_path / "venv")
    done(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    done(python, "-m", "pip", "install", f"{next(tmp_path.glob('potstill-*.whl'))}[serve]")
    assert subprocess.run([str(python), "-c", "import torch"], capture_output=True).returncode != 0
    command = [str(python.with_name("potstill")), "serve", str(static_folder), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    )
    try:
        told = ""
        while "serving on" not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        url = told.split("serving on ")[1].split()[0]
        assert len(httpx.post(f"{url}/v1/embeddings", json={"input": "copper"}).json()["data"][0]["embedding"]) == 8
    finally:
        running.terminate()
        assert running.wait(30) == 0
