"""Meter readings for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from schemas import contract

METER = contract("grid.meter.v1")
NETWORK = contract("grid.network.v1")
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MICROS = int(START.timestamp()) * 1_000_000
STEP = timedelta(minutes=15)


def readings(meters: int, steps: int, *, first: int = 0, prefix: str = "m") -> pl.DataFrame:
    """Rows of ``meters`` meters at ``steps`` times, time by time, in the contract's columns."""
    rows = [
        {
            "meter_id": f"{prefix}{meter}",
            "time": START + step * STEP,
            "import_kwh": 100.0 * meter + step,
            "quality": 0,
            "received_time": START + step * STEP + timedelta(seconds=meter % 60 + 1),
        }
        for step in range(first, first + steps)
        for meter in range(meters)
    ]
    return pl.DataFrame(rows, schema=METER.polars)
