"""What all tests share: the real services, in a folder of the session's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ops.services import Services

# Reads until the test process has gone, however it went, and stops what it has left.
_GUARD = """
import sys
from pathlib import Path
from ops.services import Services
sys.stdin.read()
Services(Path(sys.argv[1])).down()
"""


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Kafka, the schema registry and InfluxDB, running; whoever stops one starts it again.

    Without them there is nothing to be said about the project: that they cannot be had is a failure, not a skip.
    """
    folder = tmp_path_factory.mktemp("services")
    started = Services(folder, say=lambda line: print(line, file=sys.stderr))  # noqa: T201
    with subprocess.Popen(
        [sys.executable, "-c", _GUARD, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    ):  # its end closes the pipe, and waits for the guard
        with started:
            yield started
