"""A broker that does not answer is one clear line on stderr, and librdkafka's own lines are kept from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.connectors.readings import readings

NOWHERE = {
    "GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "GRIDFLOW_KAFKA__CONFIG": '{"socket.timeout.ms" = 1000}',
    "GRIDFLOW_KAFKA__PRODUCER_CONFIG": '{"message.timeout.ms" = 1500}',
}


def gridflow(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: librdkafka writes past Python's stderr."""
    return subprocess.run(
        [sys.executable, "-c", "from ops.cli import main; main()", *arguments],
        env={**os.environ, **NOWHERE, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["topics list", "dlq list"])
def test_it_names_the_broker_and_the_cause(command: str) -> None:
    done = gridflow(*command.split())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "127.0.0.1:1" in line
    assert "Connection refused" in line


def test_produce_says_that_it_waits_before_it_gives_up(tmp_path: Path) -> None:
    readings(1, 2).write_parquet(tmp_path / "grid.meter.v1.parquet")
    done = gridflow("produce", "-i", str(tmp_path))
    assert done.returncode == 1
    assert "%3|" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "127.0.0.1:1" in line]
    assert ["retrying" in line for line in said] == [True, False]
    assert said[-1].startswith("error: grid.meter.v1: not delivered: ")
    assert "Connection refused" in said[-1]


def test_whoever_looks_for_it_finds_what_librdkafka_says() -> None:
    done = gridflow("topics", "list", GRIDFLOW_RUNTIME__LOG_LEVEL="debug")
    assert "FAIL" in done.stderr
    assert "%3|" not in done.stderr
