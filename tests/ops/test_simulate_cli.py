"""``gridflow simulate`` as a user calls it, into files and into a real Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from connectors.decode import Decoder
from connectors.simulation.options import Faults, Options
from ops.cli import app
from ops.services import Services
from schemas import contract
from tests.connectors.kafka import read_topic
from tests.ops.kafka_env import kafka_environment, prefix_of

SMALL = ["--meters", "60", "--days", "0.25"]
STREAMS = ("grid.meter.v1", "grid.ftu.v1", "grid.ied.v1", "grid.network.v1")


def test_help_lists_every_option_of_the_models() -> None:
    result = CliRunner().invoke(app, ["simulate", "--help"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for name in (*Options.model_fields, *Faults.model_fields):
        assert name == "faults" or f"--{name.replace('_', '-')}" in result.stdout


def test_a_folder_with_streams_and_truth(tmp_path: Path) -> None:
    command = ["simulate", "-o", str(tmp_path / "city"), *SMALL, "--preset", "field", "--theft-bypass-rate", "0.05"]
    result = CliRunner().invoke(app, [*command, "--start", "2026-07-01T06:00"])
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "city" / "truth" / "summary.json").read_text())
    assert summary["options"]["faults"]["late_rate"] == 0.03
    assert summary["options"]["faults"]["theft_bypass_rate"] == 0.05
    assert summary["events"]["THEFT_BYPASS"] == 3
    for topic in STREAMS:
        assert pl.read_parquet(tmp_path / "city" / f"{topic}.parquet").height == summary["rows"][topic] > 0
    readings = pl.read_parquet(tmp_path / "city" / "grid.meter.v1.parquet")
    assert str(readings["time"].min()) == "2026-07-01 06:00:00+00:00"
    # Another one takes its place.
    again = CliRunner().invoke(app, ["simulate", "-o", str(tmp_path / "city"), "--meters", "20", "--days", "0.125"])
    assert again.exit_code == 0, again.output
    assert pl.read_parquet(tmp_path / "city" / "grid.meter.v1.parquet").height < readings.height


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["--output"]),
        (["-o", "x", "--meters", "0"], ["--meters", "0"]),
        (["-o", "x", "--days", "0.3"], ["days 0.3", "15 min"]),
        (["-o", "x", "--interval-minutes", "7"], ["interval_minutes 7"]),
        (["-o", "x", "--late-rate", "1.5"], ["--late-rate", "1.5"]),
        (["-o", "x", "--preset", "awful"], ["--preset", "awful", "trouble"]),
        (["-o", "x", "--start", "soon"], ["--start", "soon"]),
        (["-o", "x", "--start", "2026-03-01T00:01"], ["start", "00:01"]),
        (["-o", "/proc/none"], ["--output", "/proc/none"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    for word in named:
        assert word in line
    assert not list(tmp_path.glob("x/*.parquet"))


def test_other_readings_are_neither_replaced_nor_mixed_with(tmp_path: Path) -> None:
    for name in ("grid.meter.v1.parquet", "grid.meter.v1.ndjson"):
        folder = tmp_path / name.rsplit(".", maxsplit=1)[-1]
        folder.mkdir()
        (folder / name).write_bytes(b"precious")
        result = CliRunner().invoke(app, ["simulate", "-o", str(folder), *SMALL])
        assert result.exit_code == 2
        assert name in result.stderr
        assert (folder / name).read_bytes() == b"precious"


def test_into_kafka(tmp_path: Path, services: Services) -> None:
    environment = kafka_environment(services)
    assert CliRunner().invoke(app, ["topics", "create"], env=environment).exit_code == 0
    files, truth = tmp_path / "files", tmp_path / "truth"
    command = ["simulate", *SMALL, "--preset", "trouble"]
    assert CliRunner().invoke(app, [*command, "-o", str(files)]).exit_code == 0
    live = [*command, "--to", "kafka", "--speed", "7200", "-o", str(truth)]
    result = CliRunner().invoke(app, live, env=environment)
    assert result.exit_code == 0, result.output
    for topic in STREAMS:
        sent, known = pl.read_parquet(files / f"{topic}.parquet"), contract(topic)
        messages = read_topic(services.kafka_bootstrap, f"{prefix_of(environment)}{topic}", sent.height)
        decoded = Decoder(known).decode([m.key() for m in messages], [m.value() for m in messages])
        assert not decoded.dead
        order = sorted(name for name, kind in known.polars.items() if not isinstance(kind, pl.List))
        assert decoded.frame.drop("_row").sort(order, nulls_last=True).equals(sent.sort(order, nulls_last=True))
    for table in (files / "truth").glob("*.parquet"):
        assert pl.read_parquet(truth / "truth" / table.name).equals(pl.read_parquet(table))
