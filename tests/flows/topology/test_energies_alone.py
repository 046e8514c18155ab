"""Meters that measure no voltage, through the shard: what moves is found by the energy balances of transformers."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.topology.rows import Row
from schemas import contract
from tests.flows.topology.balances import loads
from tests.flows.topology.grid import INTERVAL, LATENESS, START, Running, disturbed

DAYS = 6
MOVED, WRONG = (4, 2, 96 * 4), (25, 0, 0)
"""Meter, where it truly is, and since which window."""


@cache
def scene() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Readings and the record: one meter moves on the fourth day, one never was where the record says."""
    made = loads(6, windows=96 * DAYS, moves=(MOVED, WRONG))
    power = np.concatenate([made.power, made.heads])
    register = 1000 + np.cumsum(np.pad(power, ((0, 0), (1, 0))), axis=1) / 4
    names = [f"M{n:03d}" for n in range(len(made.power))] + [f"H{n}" for n in range(len(made.heads))]
    meters, windows = register.shape
    readings = pl.DataFrame(
        {
            "meter_id": np.repeat(names, windows),
            "time": np.tile(START + np.arange(windows) * INTERVAL, meters),
            "import_kwh": np.round(register.ravel(), 3),
            "export_kwh": pl.Series([0.0] * meters * windows),
            **{f"voltage_l{n}_v": pl.Series([None] * meters * windows, dtype=pl.Float64) for n in (1, 2, 3)},
            "reactive_power_kvar": pl.Series([None] * meters * windows, dtype=pl.Float64),
            "quality": np.zeros(meters * windows, np.int32),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    rng = np.random.default_rng(6)
    return readings.filter(pl.Series(rng.random(readings.height) > 0.01)), _record(made.recorded)


def _record(recorded: np.ndarray) -> pl.DataFrame:
    region = {"element_id": "R", "kind": "SubGeographicalRegion"}
    stations = [
        {"element_id": f"T{n}", "kind": "PowerTransformer", "container_id": "R", "measuring_device_id": f"H{n}"}
        for n in range(recorded.max() + 1)
    ]
    points = [
        {
            "element_id": f"U{n:03d}",
            "kind": "UsagePoint",
            "container_id": f"T{where}",
            "phases": "AN",
            "measuring_device_id": f"M{n:03d}",
        }
        for n, where in enumerate(recorded.tolist())
    ]
    schema = contract("grid.network.v1").polars
    begin = pl.lit(START - 86_400_000_000).cast(pl.Datetime("us", "UTC"))
    full = pl.DataFrame([region, *stations, *points], infer_schema_length=None).with_columns(valid_from=begin)
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in full.columns]
    return full.with_columns(missing).select(list(schema)).cast(schema)


@cache
def in_order() -> Running:
    readings, record = scene()
    run = Running(record)
    run.take(readings)
    run.end()
    return run


def _standing(run: Running) -> dict[str, Row]:
    return {row["element_id"]: row for row in run.standing().values()}


def test_who_moved_and_whose_record_is_wrong_and_nobody_else() -> None:
    found = _standing(in_order())
    assert set(found) == {"U004", "U025"}
    moved, wrong = found["U004"], found["U025"]
    assert (moved["kind"], moved["previous"], moved["current"]) == ("METER_TRANSFORMER_CHANGED", "T0", "T2")
    assert (wrong["kind"], wrong["previous"], wrong["current"]) == ("RECORD_MISMATCH", "T1", "T0")
    assert moved["state"] == wrong["state"] == "ACCEPTED"
    at = START + MOVED[2] * INTERVAL
    off = abs(moved["effective_time"].timestamp() * 1_000_000 - at) / 60_000_000
    stated = next(float(one["value"]) for one in moved["evidence"] if one["key"] == "effective_within_minutes")
    assert off <= max(2 * stated, 60)
    assert 0 < moved["detected_time"].timestamp() * 1_000_000 - at <= 36 * 3600 * 1_000_000


def test_its_place_becomes_a_version_of_the_network() -> None:
    versions = pl.concat(in_order().versions)
    assert {(row["element_id"], row["container_id"]) for row in versions.iter_rows(named=True)} == {
        ("U004", "T2"),
        ("U025", "T0"),
    }


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000), lateness=st.floats(0, 20))
def test_order_duplicates_and_restarts_change_nothing(seed: int, lateness: float) -> None:
    chance = random.Random(seed)
    readings, record = scene()
    arriving = disturbed(readings, chance, min(lateness, LATENESS / 3.6e9 - 1), 0.05)
    run = Running(record)
    begin = 0
    while begin < arriving.height:
        end = begin + chance.randint(2000, 12000)
        run.take(arriving[begin:end])
        if chance.random() < 0.3:
            run.restart()
        begin = end
    run.end()
    expected = in_order().standing()
    plain = {key: {**row, "revision": 0} for key, row in run.standing().items()}
    assert plain == {key: {**row, "revision": 0} for key, row in expected.items()}
    assert run.counts["late"] == 0
