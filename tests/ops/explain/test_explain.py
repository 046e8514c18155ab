"""``gridflow explain``: the evidence adds up to the figure, and says what changed it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import Simulation
from connectors.simulation.write import write_simulation
from ops.cli import app
from ops.explain.causes import causes
from ops.explain.evidence import ESTIMATED, MEASURED, PARTLY, SILENT, gather, readings_around
from ops.explain.tables import explained
from ops.run_cli import replay_folder
from ops.settings import load_settings
from tests.sinks.frames import loss

NETWORK = "grid.network.v1.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a day of 150 meters, some of whose readings are late, missing or refused, with all revisions."""
    folder = tmp_path_factory.mktemp("explained")
    rates = {"late_rate": 0.1, "missing_rate": 0.05, "theft_bypass_rate": 0.02}
    write_simulation(Simulation(Options(meters=150, days=0.5, faults=preset("clean", **rates))), folder / "input")
    path = folder / "input" / "grid.meter.v1.parquet"
    readings = pl.read_parquet(path)
    bad = readings.filter(pl.col("meter_id") == readings["meter_id"][500]).head(1).with_columns(import_kwh=-1.0)
    pl.concat([readings, bad]).write_parquet(path)
    parquet = {"output": folder / "results", "keep_revisions": ("line_loss",)}
    runtime = {"replay_batch_rows": 1_000}
    settings = load_settings(environ={}, overrides={"parquet": parquet, "runtime": runtime})
    replay_folder(settings, folder / "input", 1)
    return folder


def test_the_energies_add_up_to_every_loss(folder: Path) -> None:
    rows = pl.read_parquet(folder / "results" / "line_loss").drop("date")
    final = rows.sort("revision").unique(["element_id", "window_start"], keep="last").sort("element_id", "window_start")
    some = final.gather_every(17)
    assert set(some["element_kind"]) >= {"PowerTransformer", "Feeder", "Substation", "BusbarSection"}
    for row in some.iter_rows(named=True):
        evidence = gather(folder / "results", row["element_id"], row["window_start"], folder / "input" / NETWORK, None)
        assert evidence.row == row
        # What is estimated before a meter's first reading is in the balance only.
        assert max(map(abs, evidence.put_right_kwh)) < 1e-5 or SILENT in set(evidence.meters["how"])
        assert evidence.meters.height == row["expected_meters"]
        assert evidence.meters.filter(pl.col("how") == MEASURED).height == row["reporting_meters"]
        assert evidence.revisions["revision"].is_sorted()
        assert evidence.revisions["revision"].is_unique().all()


def test_readings_next_to_the_window_say_why_a_meter_is_not_measured(folder: Path) -> None:
    rows = pl.read_parquet(folder / "results" / "line_loss").filter(pl.col("element_id").str.starts_with("T"))
    late = pl.col("window_start") > pl.col("window_start").min() + timedelta(hours=3)
    lacking = rows.filter((pl.col("status") == "INCOMPLETE") & late).row(0, named=True)
    evidence = gather(
        folder / "results", lacking["element_id"], lacking["window_start"], folder / "input" / NETWORK, folder / "input"
    )
    doubtful = evidence.meters.filter(pl.col("how") != MEASURED)
    assert doubtful.height == lacking["expected_meters"] - lacking["reporting_meters"] > 0
    assert set(doubtful["how"]) <= {PARTLY, ESTIMATED}
    assert evidence.readings is not None
    assert set(evidence.readings["meter_id"]) == set(doubtful["meter_id"])


def test_refused_messages_are_named(folder: Path) -> None:
    letters = pl.read_parquet(folder / "results" / "dead_letter")
    assert letters.height == 1
    meter = letters["key"][0].decode()
    truth = pl.read_parquet(folder / "input" / "truth" / "meters.parquet")
    area = truth.filter(pl.col("meter_id") == meter)["transformer_id"]
    element = area[0] if len(area) else meter.removeprefix("H-")
    result = CliRunner().invoke(
        app,
        [
            "explain",
            "line-loss",
            element,
            "2026-03-16T03:00",
            "-o",
            str(folder / "results"),
            "-i",
            str(folder / "input"),
        ],
        env={"COLUMNS": "160"},
    )
    assert result.exit_code == 0, result.output
    for words in ("The balance", "Revisions", "Refused messages", meter, "import_kwh", "first stated"):
        assert words in result.stdout


def test_what_a_revision_brought_is_said() -> None:
    rows = [
        loss(revision=1, status="PROVISIONAL", reporting_meters=18, completeness=0.9),
        loss(revision=2, status="PROVISIONAL", reporting_meters=19, completeness=0.95, energy_out_kwh=95.0),
        loss(revision=3, status="PROVISIONAL", reporting_meters=19, completeness=0.96, energy_out_kwh=95.0),
        loss(revision=4, status="PROVISIONAL", reporting_meters=19, completeness=0.96, energy_out_kwh=95.0),
        loss(revision=5, status="INCOMPLETE", reporting_meters=19, completeness=0.96, energy_out_kwh=95.0),
        loss(revision=6, status="COMPLETE", reporting_meters=21, expected_meters=21, energy_out_kwh=95.0),
    ]
    said = causes(pl.concat(rows))
    assert said[0] == "first stated"
    assert said[1] == "1 more meter measured in full; energy out -0.500 kWh"
    assert said[2] == "measured 95.00 → 96.00 %"
    assert said[3] == "confirmed by readings that change nothing"
    assert said[4] == "closed: the allowed lateness is over"
    assert said[5] == "2 more meters measured in full; the network has 21 meters for it, not 20; now COMPLETE"


def test_the_readings_next_to_a_window() -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    minutes = [-30, -15, 0, 5, 10, 15, 30]
    times = [start + timedelta(minutes=m) for m in minutes]
    readings = pl.DataFrame({"meter_id": ["A"] * 7 + ["B"], "time": [*times, times[0]], "import_kwh": [1.0] * 8})
    found = readings_around(pl.concat([readings, readings]), start, start + timedelta(minutes=15))
    assert [
        (row["meter_id"], (row["time"] - start) / timedelta(minutes=1), row["place"]) for row in found.to_dicts()
    ] == [
        ("A", 0, "before"),
        ("A", 5, "within"),
        ("A", 10, "within"),
        ("A", 15, "after"),
        ("B", -30, "before"),
    ]


@pytest.mark.parametrize(
    ("element", "window", "more", "named"),
    [
        ("T9999", "2026-03-16T03:00", ["-i"], ["T9999", "S01"]),
        ("T0001", "2027-03-16T03:00", ["-i"], ["2027-03-16", "T0001"]),
        ("T0001", "yesterday", ["-i"], ["yesterday", "ISO 8601"]),
        ("T0001", "2026-03-16T03:00", [], ["--network"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, element: str, window: str, more: list[str], named: list[str]
) -> None:
    given = [*more, str(folder / "input")] if more else []
    result = CliRunner().invoke(app, ["explain", "line-loss", element, window, "-o", str(folder / "results"), *given])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    for word in named:
        assert word in line


def test_what_was_learned_is_told_apart_from_what_meters_counted(tmp_path: Path) -> None:
    """Two days with gain errors, a wrong clock and a theft: put right, shifted, expected, suspected."""
    rates = {"class_error_percent": 0.35, "clock_offset_rate": 0.02, "theft_bypass_rate": 0.02}
    faults = preset("clean", **rates)
    write_simulation(Simulation(Options(meters=100, days=3, seed=5, faults=faults)), tmp_path / "input")
    settings = load_settings(environ={}, overrides={"parquet": {"output": tmp_path / "results"}})
    replay_folder(settings, tmp_path / "input", 1)
    rows = pl.read_parquet(tmp_path / "results" / "line_loss").drop("date")
    accused = rows.filter(pl.col("suspects").list.len() > 0).sort("window_start")
    assert accused.height
    row = accused.row(-1, named=True)
    area, start = row["element_id"], row["window_start"]
    evidence = gather(tmp_path / "results", area, start, tmp_path / "input" / NETWORK, None)
    within, out = evidence.put_right_kwh
    head = evidence.meters.filter(pl.col("role") == "head")["import_kwh"].sum()
    assert 0 < max(abs(within), abs(out)) < 0.02 * float(head)
    console = Console(width=120, record=True, file=io.StringIO())
    for part in explained(evidence):
        console.print(part)
    text = console.export_text()
    assert "expected in lines and transformers" in text
    assert f"{row['suspects'][0]['meter_id']}" in text
    clocks = pl.read_parquet(tmp_path / "results" / "meter_energy").filter(pl.col("clock_offset_seconds").is_not_null())
    assert clocks.height
    off = clocks.row(0, named=True)
    places = pl.read_parquet(tmp_path / "input" / "truth" / "meters.parquet")
    where = places.filter(pl.col("meter_id") == off["meter_id"])["transformer_id"].item()
    told = gather(tmp_path / "results", where, off["window_start"], tmp_path / "input" / NETWORK, None)
    assert off["meter_id"] in told.meters.filter(pl.col("clock_offset_seconds").is_not_null())["meter_id"].to_list()


def test_a_revision_says_what_a_study_has_changed() -> None:
    before = {
        "reporting_meters": 3,
        "expected_meters": 3,
        "energy_in_kwh": 9.0,
        "energy_out_kwh": 8.0,
        "completeness": 1.0,
        "status": "COMPLETE",
        "technical_loss_kwh": None,
        "uncertainty_kwh": 0.5,
        "alarm": "NONE",
        "suspects": [],
    }
    after = {
        **before,
        "technical_loss_kwh": 0.25,
        "uncertainty_kwh": 0.2,
        "alarm": "HIGH_LOSS",
        "suspects": [{"meter_id": "M1", "score": 0.9, "missing_kwh": 0.4}],
    }
    frame = pl.DataFrame([before, after], infer_schema_length=None)
    assert causes(frame)[1] == (
        "studied: 0.250 kWh are expected to be lost; ± 0.500 → 0.200 kWh; alarm NONE → HIGH_LOSS; suspects: M1"
    )
