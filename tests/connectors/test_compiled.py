"""Compiled code is kept, but not beyond the sources that it was made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
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


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "XDG_CACHE_HOME": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return out.strip()


def run(folder: Path, cache: Path) -> str:
    return result(start(folder, cache))


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


def test_what_has_not_been_used_for_a_month_goes(tmp_path: Path) -> None:
    base = tmp_path / "gridflow"
    days = {"0" * 16: 31, "1" * 16: 29, "2" * 16: 400, "of-somebody-else": 400}
    folders = {name: base / f"compiled-{name}" for name in days}
    for name, folder in folders.items():
        (folder / "connectors").mkdir(parents=True)
        (folder / "connectors" / "x.nbc").write_bytes(b"x")
        moment = time.time() - days[name] * 86_400
        os.utime(folder, (moment, moment))
    # All at once, as the processes of a cluster start: each may find gone what it was about to remove.
    processes = [start(PROJECT, tmp_path) for _ in range(3)]
    assert [result(process) for process in processes] == ["1"] * 3
    assert [name for name, folder in folders.items() if folder.exists()] == ["1" * 16, "of-somebody-else"]
    (own,) = set(base.iterdir()) - set(folders.values())
    old = time.time() - 40 * 86_400
    os.utime(own, (old, old))
    assert run(PROJECT, tmp_path) == "1"
    assert own.stat().st_mtime > time.time() - 600, "what is used is kept"
    assert list(own.rglob("*.nbc"))


def test_a_folder_that_goes_while_it_is_used_is_made_again(tmp_path: Path) -> None:
    program = PROGRAM.replace("found = np.zeros", "shutil.rmtree(compiled._FOLDER); found = np.zeros")
    program = "import shutil; from connectors import compiled" + program
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_the_simulation_compiles_nothing_and_nothing_compiled_rests_on_it() -> None:
    """Its sources do not count for what is kept."""
    root = PROJECT
    simulation = root / "connectors" / "simulation"
    assert len(list(simulation.rglob("*.py"))) > 30
    for source in (*(root / "connectors").rglob("*.py"), *(root / "flows").rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        if simulation in source.parents:
            assert "connectors.compiled" not in text, source
        elif "connectors.compiled" in text:
            assert "connectors.simulation" not in text, source
