"""A station of a few devices, its load, and its messages, for the tests of the devices' telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.events import Event, EventKind
from connectors.simulation.ied.description import MEASURANDS, POSITION, Ied, StateChange
from connectors.simulation.ied.telemetry import IedTelemetry
from connectors.simulation.options import Faults, Options

QUARTER = 900_000_000
HOUR = 4 * QUARTER
# The last one guards a busbar: it has no breaker.
IEDS = [
    Ied(f"S01-F{number:02d}-P1", "S01", f"S01-F{number:02d}", None if number == 4 else f"S01-F{number:02d}-XCBR1")
    for number in range(1, 5)
]
SOME_FAULTS = Faults(
    ied_silence_per_day=3,
    ied_restart_per_day=3,
    ied_time_loss_per_day=2,
    ied_false_publisher_per_day=3,
    ied_config_change_per_day=3,
    ied_outage_per_day=4,
)


def options(faults: Faults | None = None, **changed: Any) -> Options:
    """Six hours."""
    return Options(**{"days": 0.25, "faults": faults or Faults(), **changed})


def position_change(ied: int, time: int, value: str) -> StateChange:
    return StateChange(time, IEDS[ied].ied_id, {POSITION: value})


def load(start: int, end: int) -> pl.DataFrame:
    """Measurements of all devices in whole quarters of an hour that touch a span: the same whoever asks."""
    quarters = np.arange(start // QUARTER, -(-end // QUARTER)) * QUARTER
    rows = {
        "ied_id": np.repeat([ied.ied_id for ied in IEDS], len(quarters)),
        "begin": np.tile(quarters, len(IEDS)),
        "end": np.tile(quarters + QUARTER, len(IEDS)),
    }
    devices = np.repeat(np.arange(len(IEDS)), len(quarters))
    seeds = rows["begin"] // QUARTER + 1000 * devices
    for place, (column, _, _) in enumerate(MEASURANDS):
        rows[column] = np.round(np.sin(seeds + place) * 1000, 4)
    return pl.DataFrame(rows)


def telemetry(chosen: Options, changes: Sequence[StateChange] = (), seed: int = 1) -> IedTelemetry:
    return IedTelemetry(IEDS, changes, chosen, Chance(seed), 1)


def in_blocks(source: IedTelemetry, start: int, ends: Sequence[int]) -> pl.DataFrame:
    """All messages up to the last of the ends, asked for piece by piece."""
    frames = []
    for end in ends:
        # A caller gives what lies in the block, cut at its ends.
        block = load(start, end).with_columns(pl.col("begin").clip(start), pl.col("end").clip(upper_bound=end))
        frames.append(source.messages(end, block))
        start = end
    return pl.concat(frames)


def whole(chosen: Options, changes: Sequence[StateChange] = (), seed: int = 1) -> pl.DataFrame:
    """All messages at once, times as integers."""
    return plain(in_blocks(telemetry(chosen, changes, seed), chosen.start_us, [chosen.end_us]))


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as integers, µs since 1970."""
    return frame.with_columns(pl.col("time", "received_time").to_physical())


def streams(frame: pl.DataFrame, kind: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a kind by device."""
    rows = frame.filter(pl.col("kind") == kind)
    return {ied.ied_id: rows.filter(pl.col("ied_id") == ied.ied_id).to_dicts() for ied in IEDS}


def of_kind(source: IedTelemetry, kind: EventKind) -> list[Event]:
    found = [event for event in source.events() if event.kind is kind]
    assert found, f"no {kind} to test with"
    return found


def values(row: dict[str, Any]) -> dict[str, str]:
    """The data set by reference; all of it is of good quality."""
    assert row["num_entries"] == len(row["data"])
    assert {entry["quality"] for entry in row["data"]} == {0}
    return {entry["reference"]: entry["value"] for entry in row["data"]}
