"""``python -m bytewax.run`` on a topic: stopped by SIGTERM or killed, and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.services import Services
from tests.connectors.kafka import TestTopic
from tests.connectors.readings import readings
from tests.connectors.test_stopping import make_store

RUN = [sys.executable, "-m", "bytewax.run", "tests.connectors.kafka_flow:flow"]


@pytest.fixture
def topic(services: Services) -> TestTopic:
    topic = TestTopic(services.kafka_bootstrap, partitions=2)
    for number in (0, 1):
        topic.put(readings(5, 100), number)
    return topic


@contextmanager
def running(topic: TestTopic, output: Path, arguments: list[str], **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ, **more, "TEST_BOOTSTRAP": topic.config["bootstrap.servers"], "TEST_TOPIC": topic.name,
        "TEST_OUTPUT": str(output),
    }  # fmt: skip
    process = subprocess.Popen([*RUN, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def written(output: Path) -> list[str]:
    return output.read_text().splitlines() if output.exists() else []


def wait_for(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(written(output)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, len(written(output))
        time.sleep(0.05)


def all_offsets(count: int) -> list[str]:
    return sorted(f"{partition} {offset}" for partition in (0, 1) for offset in range(count))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_loses_and_doubles_nothing(tmp_path: Path, topic: TestTopic, workers: str) -> None:
    store, output = make_store(tmp_path / "store"), tmp_path / "out"
    arguments = ["-w", workers, *store]
    arguments[arguments.index("3600")] = "1"
    with running(topic, output, arguments) as process:
        wait_for(output, 1, process)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    lines = written(output)
    # The last offsets are committed once the sinks have written theirs.
    for number in (0, 1):
        assert topic.committed(number) == sum(line.startswith(f"{number} ") for line in lines) > 0
        topic.put(readings(5, 10, first=100), number)
    with running(topic, output, arguments) as process:
        wait_for(output, 1100, process)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert sorted(written(output)) == all_offsets(550)


def test_sigkill_loses_nothing(tmp_path: Path, topic: TestTopic) -> None:
    store, output = make_store(tmp_path / "store"), tmp_path / "out"
    store[store.index("3600")] = "1"
    with running(topic, output, store) as process:
        wait_for(output, 500, process)
        for number in (0, 1):
            topic.put(readings(5, 100, first=100), number)
    with running(topic, output, store) as process:
        wait_for(output, 2000, process)
    assert set(written(output)) == set(all_offsets(1000))


def test_without_a_store_the_group_is_enough(tmp_path: Path, topic: TestTopic) -> None:
    output = tmp_path / "out"
    with running(topic, output, ["-s", "1"]) as process:
        wait_for(output, 1000, process)
        process.terminate()
        assert process.wait(timeout=60) == 0
    for number in (0, 1):
        topic.put(readings(5, 1, first=100), number)
    with running(topic, output, ["-s", "1"], TEST_START="committed") as process:
        wait_for(output, 1010, process)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert sorted(written(output)) == all_offsets(505)


def test_nothing_is_committed_that_a_sink_could_not_write(tmp_path: Path, topic: TestTopic) -> None:
    output = tmp_path / "out"
    with running(topic, output, ["-s", "3600"], TEST_FAIL="0") as process:
        deadline = time.monotonic() + 60
        while not output.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the last rows cannot be written" in errors
    assert topic.committed(0) < 0
    assert topic.committed(1) < 0
