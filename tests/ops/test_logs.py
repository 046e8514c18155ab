"""What is logged, whoever logs it, has one form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from ops.cli import app
from tests.ops.simulated import simulate

# A sink whose server is away, a module's plain log, a library's warning, and an exception.
PROGRAM = """
import logging, sys, warnings
from ops.logs import set_up_logging
from ops.settings import RuntimeSettings
from sinks.influx_api import InfluxApi
from sinks.errors import SinkStoppedError, close_with

set_up_logging(RuntimeSettings(log_format=sys.argv[1], log_level=sys.argv[2]))
api = InfluxApi("http://127.0.0.1:1", "o", "b", None, should_stop=lambda: True, stop_grace_seconds=0)
try:
    api.write("line_loss", b"x f=1 1")
except SinkStoppedError as error:
    stopped = error
def again():
    raise stopped
close_with(again, failed=False)
logging.getLogger("connectors.x").info("%s, partition %d", "grid.meter.v1", 3)
warnings.warn("two\\nlines")
try:
    secret = "pass" + "word"
    1 / 0
except ZeroDivisionError:
    logging.getLogger("library").exception("failed")
"""


def logged(form: str, level: str = "info") -> list[str]:
    command = [sys.executable, "-c", PROGRAM, form, level]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def parsed(lines: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for one in found:
        assert {"level", "event", "timestamp", "logger"} <= one.keys()
        assert datetime.fromisoformat(one["timestamp"]).tzinfo is not None
    return found


def test_json_is_a_line_for_each_event_whoever_logs_it() -> None:
    found = parsed(logged("json"))
    assert [(one["logger"], one["level"]) for one in found] == [
        ("sinks.influx_api", "warning"),
        ("sinks.errors", "error"),
        ("connectors.x", "info"),
        ("py.warnings", "warning"),
        ("library", "error"),
    ]
    assert found[0]["event"] == "influxdb: away, waiting"
    assert found[0]["measurement"] == "line_loss"
    assert found[2]["event"] == "grid.meter.v1, partition 3"
    assert "two\nlines" in found[3]["event"]
    assert "ZeroDivisionError" in found[4]["exception"]


def test_text_says_the_same_and_shows_no_local_variables() -> None:
    text = "\n".join(logged("text"))
    for words in (
        "influxdb: away, waiting",
        "measurement=line_loss",
        "partition 3",
        "UserWarning",
        "ZeroDivisionError",
    ):
        assert words in text
    assert "password" not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_below_the_level_nothing_is_logged(form: str) -> None:
    text = "\n".join(logged(form, "error"))
    assert "away" not in text
    assert "not written at the end" in text


def test_a_replay_logs_json_alone_and_so_does_its_error(tmp_path: Path) -> None:
    simulate(tmp_path / "input", seed=1)
    command = ["replay", "line-loss", "-i", str(tmp_path / "input"), "-o", str(tmp_path / "out")]
    environment = {"GRIDFLOW_RUNTIME__LOG_FORMAT": "json"}
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 0, result.output
    parsed(result.stderr.splitlines())
    pl.DataFrame({"meter_id": ["A"]}).write_parquet(tmp_path / "input" / "grid.meter.v1.parquet")
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 2
    (line,) = parsed(result.stderr.splitlines())
    assert line["level"] == "error"
    assert "grid.meter.v1.parquet" in line["event"]
