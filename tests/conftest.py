"""What all tests share: the real services, in a folder of the session's own."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from ops.services import Services

# Reads until the test process has gone, however it went, and stops what it has left.
_GUARD = """
import sys
from pathlib import Path
from ops.services import Services
sys.stdin.read()
Services(Path(sys.argv[1])).down()
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--units", action="store_true", help="only the tests that need no services")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--units"):
        return
    kept = [item for item in items if "services" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a command sets up writes to that test's stderr, which is closed after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Kafka, the schema registry and InfluxDB, running; whoever stops one starts it again.

    That they cannot be had is a failure, not a skip: without them nothing is known of the project.
    """
    folder = tmp_path_factory.mktemp("services")
    started = Services(folder, say=lambda line: print(line, file=sys.stderr))  # noqa: T201
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not for it
    )
    with guard, started:  # the guard's end closes the pipe and waits
        yield started
