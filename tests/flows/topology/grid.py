"""Readings of a street in which meters move and are re-phased, and the shard run on them in batches at will."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.event_time import SECOND
from flows.topology.identification import PHASES
from flows.topology.rows import Row
from flows.topology.shard import Outcome, TopologyRules, TopologyShard
from schemas import contract
from tests.flows.topology.street import street

INTERVAL = 900 * SECOND
START = 1_790_000_000 * SECOND // (4 * INTERVAL) * (4 * INTERVAL)
LATENESS = 24 * 3600 * SECOND
RULES = TopologyRules(INTERVAL, 120 * SECOND, LATENESS, 0.95)
NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
WINDOWS = 96 * 4


@dataclass(frozen=True)
class Move:
    """From a window on a meter hangs beside another one."""

    meter: int
    beside: int
    window: int


@dataclass(frozen=True)
class Telemetry:
    """What a street sends, and what its record says."""

    readings: pl.DataFrame
    network: pl.DataFrame
    moves: tuple[Move, ...]


def telemetry(seed: int = 5, windows: int = WINDOWS, back: int | None = None) -> Telemetry:
    """Four days of 126 meters of three transformers: one moves, one is re-phased.

    Args:
        seed: of the chance.
        windows: how many.
        back: after so many windows both go back.
    """
    made = street(seed, windows)
    rng = np.random.default_rng(seed)
    transformer = made.transformer
    single = [n for n, phases in enumerate(made.phases) if len(phases) == 1]
    mover = next(n for n in single if transformer[n] == 0)
    rest = [n for n in single if n != mover]
    host = next(n for n in rest if transformer[n] == 1)
    turner = next(n for n in rest if transformer[n] == 2)
    guest = next(n for n in rest if n != turner and transformer[n] == 2 and made.phases[n] != made.phases[turner])
    moves = (Move(mover, host, windows - 130), Move(turner, guest, windows - 110))
    voltages = made.voltages.copy()
    for move in moves:
        own = 0.05 * (made.powers[:, move.beside, 0] - made.powers[:, move.meter, 0])
        there = voltages[:, move.beside, 0] + own + rng.normal(0, 0.08, windows)
        until = windows if back is None else move.window + back
        voltages[move.window : until, move.meter, 0] = np.round(there[move.window : until], 1)
    return Telemetry(_readings(made.powers, voltages, rng), _network(transformer, made.phases), moves)


def _readings(powers: np.ndarray, voltages: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    windows, meters, _ = powers.shape
    register = rng.uniform(0, 1e4, meters) + np.cumsum(powers[:, :, 0], axis=0) * 0.25
    window, meter = np.divmod(np.arange(windows * meters), meters)
    columns = {
        "meter_id": [f"M{n:03d}" for n in meter],
        "time": START + (window + 1) * INTERVAL,
        "import_kwh": np.round(register[window, meter], 3),
        "export_kwh": pl.Series([None] * len(meter), dtype=pl.Float64),
        **{f"voltage_l{k + 1}_v": pl.Series(voltages[window, meter, k]).fill_nan(None) for k in range(3)},
        "reactive_power_kvar": np.round(powers[window, meter, 1], 3),
        "quality": np.zeros(len(meter), np.int32),
    }
    frame = pl.DataFrame(columns).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    return frame.filter(pl.Series(rng.random(len(meter)) > 0.01))  # one in a hundred is never sent


def _network(transformer: np.ndarray, phases: Sequence[tuple[int, ...]]) -> pl.DataFrame:
    rows = [{"element_id": "R", "kind": "SubGeographicalRegion", "container_id": None, "phases": None, "device": None}]
    rows += [
        {"element_id": f"T{n}", "kind": "PowerTransformer", "container_id": "R", "phases": None, "device": None}
        for n in range(int(transformer.max()) + 1)
    ]
    rows += [
        {
            "element_id": f"U{n:03d}",
            "kind": "UsagePoint",
            "container_id": f"T{transformer[n]}",
            "phases": "".join(PHASES[p] for p in sorted(its)) + "N",
            "device": f"M{n:03d}",
        }
        for n, its in enumerate(phases)
    ]
    schema = contract("grid.network.v1").polars
    full = pl.DataFrame(rows, infer_schema_length=None).rename({"device": "measuring_device_id"})
    full = full.with_columns(valid_from=pl.lit(START - 86_400 * SECOND).cast(pl.Datetime("us", "UTC")))
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in full.columns]
    return full.with_columns(missing).select(list(schema)).cast(schema)


def batch_of(frame: pl.DataFrame, topic: str, frontier: int | None, offset: int = 0) -> Batch:
    """Rows as a source emits them."""
    rows = frame.with_columns(_offset=pl.int_range(pl.len(), dtype=pl.Int64) + offset)
    return Batch(topic, 0, 1, offset, offset + frame.height, rows, NO_LETTERS, NO_LETTERS, frame.height, frontier)


@dataclass
class Running:
    """A shard, and what it has said; ``kill`` takes it back to the last snapshot, as a journal lets it."""

    network: pl.DataFrame
    shard: TopologyShard = field(init=False)
    said: list[Row] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"used": 0, "duplicate": 0, "late": 0})
    versions: list[pl.DataFrame] = field(default_factory=list)
    journal: list[Row] = field(default_factory=list)
    newest: int = 0

    def __post_init__(self) -> None:
        self.shard = TopologyShard(RULES)
        self.shard.take([], [batch_of(self.network, "grid.network.v1", None)])
        self.snapshot()

    def take(self, frame: pl.DataFrame) -> None:
        self.newest = max(self.newest, int(frame["time"].to_physical().max()))  # type: ignore[arg-type]
        self._note(self.shard.take([batch_of(frame, "grid.meter.v1", self.newest)]))

    def read_back(self, versions: list[pl.DataFrame]) -> None:
        self._note(self.shard.take([], [batch_of(one, "grid.network.v1", None) for one in versions]))

    def look_ahead(self) -> None:
        outcome = self.shard.look_ahead()
        self.journal += outcome.ahead
        self._note(outcome)

    def snapshot(self) -> None:
        self._kept = self.shard.dump(), self.newest
        self.journal = []

    def restart(self) -> None:
        self.snapshot()
        self.shard = TopologyShard.load(RULES, self._kept[0])

    def kill(self) -> None:
        self.shard = TopologyShard.load(RULES, self._kept[0])
        self.newest = self._kept[1]
        self.shard.remember(self.journal)

    def end(self) -> None:
        self._note(self.shard.flush())

    def _note(self, outcome: Outcome) -> None:
        for name in self.counts:
            self.counts[name] += outcome.counts.get(name, 0)
        self.said += outcome.changes.to_dicts()
        if outcome.versions.height:
            self.versions.append(outcome.versions)

    def standing(self) -> dict[str, Row]:
        """The rows with the highest revisions, those that were taken back left out."""
        best: dict[str, Row] = {}
        for row in self.said:
            if row["change_id"] not in best or row["revision"] >= best[row["change_id"]]["revision"]:
                best[row["change_id"]] = row
        return {key: row for key, row in best.items() if not any(e["key"] == "withdrawn" for e in row["evidence"])}


def disturbed(frame: pl.DataFrame, chance: random.Random, lateness: float, twice: float) -> pl.DataFrame:
    """The rows in the order of arrival: each late by up to so many hours, some of them twice."""
    copies = frame.filter(pl.Series([chance.random() < twice for _ in range(frame.height)]))
    both = pl.concat([frame, copies])
    hours = [chance.random() ** 4 * lateness for _ in range(both.height)]
    arrival = both["time"].to_physical() + pl.Series([int(h * 3600 * SECOND) for h in hours])
    return both[np.argsort(arrival.to_numpy(), kind="stable")]
