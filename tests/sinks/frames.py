"""Frames for the tests of the sinks, and the obvious way to say what must be read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from schemas import contract

ENERGY = contract("grid.meter-energy.v1")
LOSS = contract("grid.line-loss.v1")
DEAD = contract("grid.dead-letter.v1")

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=15)


def energy(rows: Iterable[tuple[str, int, int]], *, start: datetime = START) -> pl.DataFrame:
    """MeterEnergy rows from (meter, window number, revision); the energy is 1000 x window + revision."""
    listed = list(rows)
    begins = [start + window * WINDOW for _, window, _ in listed]
    return pl.DataFrame(
        {
            "meter_id": [meter for meter, _, _ in listed],
            "window_start": begins,
            "window_end": [begin + WINDOW for begin in begins],
            "import_kwh": [1000.0 * window + revision for _, window, revision in listed],
            "export_kwh": [0.0] * len(listed),
            "measured_share": [1.0] * len(listed),
            "clock_offset_seconds": [None] * len(listed),
            "revision": [revision for _, _, revision in listed],
        },
        schema=ENERGY.polars,
    )


def loss(**changes: Any) -> pl.DataFrame:
    """One LineLoss row."""
    row: dict[str, Any] = {
        "element_id": "TA1",
        "element_kind": "PowerTransformer",
        "region_id": "R1",
        "window_start": START,
        "window_end": START + WINDOW,
        "revision": 7,
        "energy_in_kwh": 100.0,
        "energy_out_kwh": 95.5,
        "loss_kwh": 4.5,
        "loss_percent": 4.5,
        "technical_loss_kwh": None,
        "unaccounted_kwh": None,
        "uncertainty_kwh": 0.25,
        "systematic_uncertainty_kwh": 0.1,
        "expected_meters": 20,
        "reporting_meters": 19,
        "completeness": 0.95,
        "status": "PROVISIONAL",
        "alarm": "NONE",
        "suspects": [],
    }
    assert changes.keys() <= row.keys()
    return pl.DataFrame([row | changes], schema=LOSS.polars)


def letters(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Letters, as sources make them; the dead letter's columns but for the time."""
    return pl.DataFrame(list(rows), schema={name: kind for name, kind in DEAD.polars.items() if name != "time"})


def highest(rows: Iterable[dict[str, Any]], identity: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By identity the row with the highest revision, of equals the last: row by row."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in identity)
        if key not in found or row.get("revision", 0) >= found[key].get("revision", 0):
            found[key] = row
    return found
