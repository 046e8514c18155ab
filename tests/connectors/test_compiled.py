"""Compiled code is kept, but not beyond the sources that it was made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np
from flows.streaming.registers import _search
found = np.zeros(1, np.int64)
times = np.array([[10, 20, 30], [0, 0, 0]]).copy(order="F")
_search(times, np.array([3, 0]), np.array([0]), np.array([20]), False, found)
print(found[0])
"""


def run(folder: Path, cache: Path) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "XDG_CACHE_HOME": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_change_in_another_file_is_not_missed(tmp_path: Path) -> None:
    copy, cache = tmp_path / "copy", tmp_path / "cache"
    for package in ("schemas", "connectors", "flows"):
        shutil.copytree(PROJECT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(copy, cache) == "1"
    assert run(copy, cache) == "1"
    kept = list((cache / "gridflow").iterdir())
    assert len(kept) == 1
    assert list(kept[0].rglob("*.nbc"))
    source = copy / "flows/streaming/position.py"
    source.write_text(source.read_text().replace("    return low\n", "    return low + 100\n"))
    assert run(copy, cache) == "101"


def test_without_a_cache_it_works_too(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    assert run(PROJECT, nowhere) == "1"
