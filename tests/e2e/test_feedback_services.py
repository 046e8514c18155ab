"""All flows in one process on a real Kafka: a move that the topology accepts restates the losses of both areas."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ops.services import Services
from schemas import contract
from sinks.rows import highest_revision
from tests.e2e.test_topology_services import METER, NETWORK, Stage
from tests.flows.topology.grid import INTERVAL, START
from tests.flows.topology.test_energies_alone import DAYS, MOVED, scene

MORE = ("grid.line-loss.v1", "grid.ied.v1", "grid.ied-anomaly.v1", "grid.ied.v1.dlq", "grid.ied.v1.late")
CLOSED = pl.lit(START + (DAYS * 96 - 100) * INTERVAL).cast(pl.Datetime("us", "UTC"))
"""Windows that end before are beyond the allowed lateness at the last reading."""

RESTATED = pl.lit(START + (DAYS * 96 - 70 * 4) * INTERVAL).cast(pl.Datetime("us", "UTC"))
"""As far as that a version of the network reaches back, however fast the readings come."""


def _losses(folder: Path) -> pl.DataFrame:
    """Of each area and window that is closed the loss that stands."""
    files = list((folder / "line_loss").glob("date=*/*.parquet"))
    every = [contract("grid.line-loss.v1").empty(), *(pl.read_parquet(file, hive_partitioning=False) for file in files)]
    rows = highest_revision(pl.concat(every, how="diagonal_relaxed"), ["element_id", "window_start"])
    closed = rows.filter(pl.col("element_id").str.starts_with("T"), pl.col("window_end").is_between(RESTATED, CLOSED))
    return closed.select("element_id", "window_start", "loss_kwh").sort("element_id", "window_start")


def _replay(folder: Path, *flows: str) -> pl.DataFrame:
    readings, record = scene()
    given, results = folder / "given", folder / "-".join(("replayed", *flows))
    given.mkdir(exist_ok=True)
    readings.sort("time").write_parquet(given / f"{METER}.parquet")
    record.write_parquet(given / f"{NETWORK}.parquet")
    command = [str(Path(sys.executable).with_name("gridflow")), "replay", *flows]
    subprocess.run([*command, "--input", str(given), "--output", str(results)], check=True, capture_output=True)
    return _losses(results)


def _means(losses: pl.DataFrame) -> dict[str, float]:
    """Of each area the mean loss of a window since the move, kWh."""
    moved = pl.lit(START + MOVED[2] * INTERVAL).cast(pl.Datetime("us", "UTC"))
    since = losses.filter(pl.col("window_start") > moved + timedelta(hours=2))
    return dict(since.group_by("element_id").agg(pl.col("loss_kwh").mean()).iter_rows())


def test_losses_become_those_of_a_replay_of_both_flows(services: Services, tmp_path: Path) -> None:
    """To what gaps are estimated to, which is final two days after a window only."""
    expected, alone = (_means(_replay(tmp_path, *flows)) for flows in (("line-loss", "topology"), ("line-loss",)))
    # T2 got a customer, T1 never had one that the record puts there: about what one draws in a quarter of an hour.
    assert expected["T1"] - alone["T1"] > 0.05
    assert alone["T2"] - expected["T2"] > 0.05
    readings, record = scene()
    stage = Stage(services, tmp_path, "all", *MORE)
    stage.send(NETWORK, record)
    stage.send(METER, readings.sort("time"))
    process = stage.start()
    try:
        end = time.monotonic() + 240
        while True:
            assert process.poll() is None, stage.log()
            found = _means(_losses(tmp_path / "results"))
            if found.keys() == expected.keys() and found == pytest.approx(expected, abs=0.01):
                break
            assert time.monotonic() < end, f"{found}, not {expected}\n{stage.log()}"
            time.sleep(2)
    finally:
        process.terminate()
        process.wait(60)
    versions = [row for row in stage.rows(NETWORK) if row["element_id"] == f"U{MOVED[0]:03d}"]
    assert [row["container_id"] for row in versions] == ["T0", "T2"]
