"""``gridflow replay`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from ops.cli import app
from tests.ops.simulated import simulate

IDENTITY = ["element_id", "window_start"]


def final(folder: Path, dataset: str, identity: list[str]) -> pl.DataFrame:
    files = sorted((folder / dataset).glob("date=*/*.parquet"))
    rows = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
    return rows.sort("revision").unique(identity, keep="last").sort(identity)


def test_any_number_of_workers_gives_the_same_files_of_results(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "input", seed=3)
    for workers in ("1", "2"):
        result = CliRunner().invoke(
            app,
            ["replay", "line-loss", "-i", str(tmp_path / "input"), "-o", str(tmp_path / workers), "--workers", workers],
        )
        assert result.exit_code == 0, result.output
        assert "not accounted for" not in result.output
    for dataset, identity in (("line_loss", IDENTITY), ("meter_energy", ["meter_id", "window_start"])):
        assert final(tmp_path / "1", dataset, identity).equals(final(tmp_path / "2", dataset, identity))
    rows = final(tmp_path / "1", "line_loss", IDENTITY)
    for area in truth["element_id"].unique():
        found = rows.filter(pl.col("element_id") == area)["loss_kwh"].sum()
        # The last quarter hours of meters that lack their last readings are estimates.
        assert found == pytest.approx(truth.filter(pl.col("element_id") == area)["technical_loss_kwh"].sum(), abs=0.7)
    assert (tmp_path / "1" / "dead_letter").is_dir()


def test_wrong_input_is_one_line_and_status_2(tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["replay", "line-loss", "-i", str(tmp_path / "none"), "-o", str(tmp_path)])
    assert missing.exit_code == 2
    (tmp_path / "input").mkdir()
    pl.DataFrame({"meter_id": ["A"], "time": ["soon"], "import_kwh": [1.0], "quality": [0]}).write_parquet(
        tmp_path / "input" / "grid.meter.v1.parquet"
    )
    wrong = CliRunner().invoke(app, ["replay", "line-loss", "-i", str(tmp_path / "input"), "-o", str(tmp_path / "o")])
    assert wrong.exit_code == 2
    assert "grid.meter.v1.parquet" in wrong.output
    assert "time" in wrong.output


def test_a_wrong_setting_names_its_key(tmp_path: Path) -> None:
    file = tmp_path / "gridflow.toml"
    file.write_text("[event_time]\nwindow_seconds = 700\n")
    result = CliRunner().invoke(app, ["check-config", "--config", str(file)])
    assert result.exit_code == 2
    assert "window_seconds" in result.output
    file.write_text('[influxdb]\ntoken = "very-secret"\n')
    result = CliRunner().invoke(app, ["check-config", "--config", str(file)])
    assert result.exit_code == 2
    assert "very-secret" not in result.output
    for rule, wrong in (
        ('kind = "silence"\nmute = true', "kind: no rule 'silence'; did you mean SILENCE?; there are BEH"),
        ('kind = "COMMON_CAUSE"\ncontrol_block = "S01*"\nmute = true', "control_block: COMMON_CAUSE is a substation's"),
        ('kind = "REPEATED"\nlimit = 5', "limit: REPEATED has no limit (got 5)"),
        ('kind = "BEH"\nhold_seconds = 5', "hold_seconds: BEH ends by itself (got 5)"),
        ('kind = "RETRANSMISSION"\nlimit = 1', "limit: must be more than 1 time what is usual (got 1)"),
    ):
        file.write_text(f"[[ied_supervision.rules]]\n{rule}\n")
        result = CliRunner().invoke(app, ["check-config", "--config", str(file)])
        assert result.exit_code == 2
        assert f"error: settings file {file}: ied_supervision.rules.0.{wrong}" in " ".join(result.output.split())


def test_why_there_are_no_losses_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "input"
    simulate(folder, seed=1)
    network = pl.read_parquet(folder / "grid.network.v1.parquet")

    def warning(network: pl.DataFrame | None) -> str:
        (folder / "grid.network.v1.parquet").unlink(missing_ok=True)
        if network is not None:
            network.write_parquet(folder / "grid.network.v1.parquet")
        result = CliRunner().invoke(app, ["replay", "line-loss", "-i", str(folder), "-o", str(tmp_path / "output")])
        assert result.exit_code == 0, result.output
        assert list((tmp_path / "output" / "meter_energy").glob("date=*/*.parquet"))
        assert bool(list((tmp_path / "output" / "line_loss").glob("date=*/*.parquet"))) is (
            "no line" not in result.stderr
        )
        return result.stderr

    assert "no line losses" not in warning(network)
    missing = warning(None)
    assert "no line losses" in missing
    for named in ("grid.network.v1.parquet", str(folder), "network_file"):
        assert named in missing
    of_heads = pl.when(pl.col("kind") != "UsagePoint")
    device = pl.col("measuring_device_id")
    unmeasured = warning(network.with_columns(measuring_device_id=of_heads.then(None).otherwise(device)))
    assert "measuring_device_id is set for no element" in unmeasured
    others = warning(network.with_columns(measuring_device_id=of_heads.then("other-" + device).otherwise(device)))
    assert "other-H-S01" in others


def test_refused_readings_lie_by_their_date(tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    good = [
        {"meter_id": meter, "time": f"2026-03-0{day}T00:00:00Z", "import_kwh": 1.0 * day, "quality": 0}
        for day in range(1, 8)
        for meter in "ABC"
    ]
    wrong = [
        {**good[0], "import_kwh": -1.0},
        {**good[0], "meter_id": "", "time": "0000-01-01T00:00:00Z"},
        {**good[0], "time": "2126-01-01T00:00:00Z"},
        {**good[0], "meter_id": "D"},  # too late
    ]
    lines = [json.dumps(row) for row in good + wrong]
    (folder / "grid.meter.v1.ndjson").write_text("\n".join([*lines, "{broken"]))

    def replayed(name: str) -> list[tuple[object, ...]]:
        output = tmp_path / name
        result = CliRunner().invoke(app, ["replay", "line-loss", "-i", str(folder), "-o", str(output)])
        assert result.exit_code == 0, result.output
        letters = pl.read_parquet(output / "dead_letter").sort("offset")
        assert letters.schema["date"] == pl.Date
        query = f"SELECT count(*) FROM read_parquet('{output}/dead_letter/*/*.parquet') WHERE date = DATE '2026-03-01'"
        with duckdb.connect() as duck:
            assert duck.execute(query).fetchall() == [(2,)]
        return letters.select("offset", "stage", pl.col("date").cast(pl.String)).rows()

    found = replayed("once")
    assert found == [
        (21, "validate", "2026-03-01"),
        (22, "validate", None),
        (23, "event-time", None),
        (24, "event-time", "2026-03-01"),
        (25, "decode", None),
    ]
    assert replayed("again") == found
