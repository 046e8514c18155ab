"""What ``line-loss`` finds on a simulated grid is what the simulated cables and transformers lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import Simulation
from connectors.simulation.write import write_simulation
from ops.run_cli import Flow, replay_folder
from ops.settings import load_settings

METERS = 250


def found_and_true(folder: Path, **changes: Any) -> pl.DataFrame:
    """Of every element and window what was found, and the truth."""
    write_simulation(Simulation(Options(meters=METERS, days=0.5, seed=2, **changes)), folder / "input")
    settings = load_settings(environ={}, overrides={"parquet": {"output": folder / "results"}})
    counts = replay_folder(settings, folder / "input", 1)[Flow.LINE_LOSS]
    assert counts["in"] == counts["used"] + counts["duplicate"]
    truth = pl.read_parquet(folder / "input" / "truth" / "areas.parquet")
    window = pl.col("window_start").dt.truncate("15m")  # the truth is by interval of reading
    truth = truth.group_by("element_id", window).agg(pl.col("^.*_kwh$").sum())
    rows = pl.read_parquet(folder / "results" / "line_loss").filter(pl.col("element_kind") != "BusbarSection")
    pairs = truth.join(rows, on=["element_id", "window_start"], how="full", coalesce=True, suffix="_found")
    assert pairs.height == truth.height == rows.height
    return pairs.with_columns(
        off=pl.col("loss_kwh") - pl.col("technical_loss_kwh") - pl.col("unregistered_kwh"),
        energy_off=pl.col("energy_in_kwh_found") - pl.col("energy_in_kwh"),
    )


@pytest.mark.parametrize("step", [0.001, 0.000_001])
def test_clean_data_give_the_simulated_loss_to_the_registers_step(tmp_path: Path, step: float) -> None:
    pairs = found_and_true(tmp_path, register_step_kwh=step)
    assert set(pairs["status"]) == {"COMPLETE"}
    assert set(pairs["completeness"]) == {1.0}
    # Each register is cut to its step twice in a window; in a sum of windows only at its ends.
    most = step * (pl.col("expected_meters") + 2) + 1e-9
    assert pairs.filter(pl.col("off").abs() > most).is_empty()
    assert pairs.filter(pl.col("energy_off").abs() > most).is_empty()
    sums = pairs.group_by("element_id").agg(pl.col("off", "loss_kwh").sum(), pl.col("expected_meters").max())
    assert sums.filter(pl.col("off").abs() > most).is_empty()
    assert sums["loss_kwh"].min() > 0  # type: ignore[operator]


def test_delivery_in_any_order_changes_nothing_and_thefts_are_in_the_loss(tmp_path: Path) -> None:
    rates = {"late_rate": 0.1, "duplicate_rate": 0.1, "out_of_order_rate": 0.1, "theft_bypass_rate": 0.02}
    pairs = found_and_true(tmp_path, faults=preset("clean", **rates))
    assert pairs["unregistered_kwh"].sum() > 1
    most = 0.001 * (pl.col("expected_meters") + 2)
    assert pairs.filter(pl.col("off").abs() > most).is_empty()


def test_meters_that_are_read_every_five_minutes_give_the_same_windows(tmp_path: Path) -> None:
    pairs = found_and_true(tmp_path, interval_minutes=5)
    assert pairs.filter(pl.col("off").abs() > 0.001 * (pl.col("expected_meters") + 2)).is_empty()
