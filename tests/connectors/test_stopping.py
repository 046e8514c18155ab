"""SIGTERM and SIGINT stop a dataflow cleanly, whatever its number of workers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "bytewax.run", "tests.connectors.endless_flow:flow"]


def make_store(folder: Path) -> list[str]:
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder), "1"], check=True)
    return ["-r", str(folder), "-s", "3600", "-b", "0"]


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == wanted:
            return lines
    raise AssertionError(f"ended before {wanted!r}: {process.communicate()[1]}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_snapshots_and_exits_with_0(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    store = make_store(tmp_path / "store")
    with started(["-w", str(workers), *store]) as process:
        lines = read_until(process, "a 5")
        process.send_signal(number)
        more, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    lines += more.split("\n")
    last = max(int(line.split()[1]) for line in lines if line.startswith("a "))
    # The snapshot interval is an hour: what is known at the restart was stored at the stop.
    with started(["-w", str(workers), *store]) as process:
        first = next(line for line in read_until(process, f"a {last + 1}") if line.startswith("a "))
    assert first == f"a {last + 1}"


def test_a_second_signal_exits_at_once() -> None:
    code = (
        "import signal, time\n"
        "from connectors.stopping import stop_on_sigterm, stop_requested\n"
        "stop_on_sigterm(); stop_on_sigterm()\n"
        "print('ready', flush=True)\n"
        "stop_requested.wait(); print('stopping', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        read_until(process, "ready")
        process.terminate()
        read_until(process, "stopping")
        process.terminate()
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
